//! Imports point one way: `http` → `socket` → `object` → `log`; `room` knows objects only.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Which parts a part may use besides itself; what is not named here may use nothing.
const MAY_USE: &[(&str, &[&str])] = &[
    (
        "server",
        &[
            "auth",
            "clock",
            "config",
            "descriptors",
            "http",
            "limits",
            "log",
            "metrics",
            "object",
            "probe",
            "rates",
            "room",
            "session",
            "socket",
            "tls",
        ],
    ),
    ("auth", &["periodic", "recent_map", "session"]),
    ("tls", &["limits", "periodic"]),
    ("rates", &["recent_map"]),
    ("config", &["auth", "rates", "tls"]),
    ("descriptors", &["config"]),
    ("fuzz", &["auth", "http", "log", "object", "socket"]),
    (
        "http",
        &[
            "auth", "clock", "config", "limits", "log", "metrics", "object", "rates", "session",
            "socket", "tls",
        ],
    ),
    ("socket", &["auth", "limits", "log", "memory", "object", "rates", "session", "tls"]),
    ("object", &["clock", "limits", "log", "session"]),
    ("log", &["clock", "memory"]),
    ("sim", &["auth", "clock", "limits", "log", "object", "room", "session", "socket"]),
    ("room", &["object"]),
    ("api_keys", &["logging", "operators"]),
    ("cli", &["api_keys", "revoke", "table", "tokens"]),
    ("main", &["api_keys", "cli", "logging", "restart", "revoke", "table", "tokens"]),
    ("revoke", &["operators"]),
    ("table", &["operators"]),
    ("operators", &["unix_connector"]),
];

/// The parts that are named by `crate::` paths in a source, with `crate::{a, b::c}` taken apart.
fn used_parts(source: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let code: Vec<&str> =
        source.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let code = code.join("\n");
    let mut parts = BTreeSet::new();
    for (at, found) in code.match_indices("crate::") {
        if code[..at].ends_with(|c| is_word(c) || c == '$') {
            continue;
        }
        let rest = &code[at + found.len()..];
        match rest.strip_prefix('{') {
            None => {
                parts.insert(rest.chars().take_while(|c| is_word(*c)).collect());
            }
            Some(list) => {
                let (mut depth, mut starts) = (0, true);
                for (index, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => starts = true,
                        c if starts && is_word(c) => {
                            starts = false;
                            parts.insert(
                                list[index..].chars().take_while(|c| is_word(*c)).collect(),
                            );
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    parts
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn imports_point_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let (mut wrong, mut uses) = (Vec::new(), 0);
    for path in files {
        let inside = path.strip_prefix(&root).unwrap();
        let part = inside.components().next().unwrap().as_os_str().to_str().unwrap();
        let part = part.trim_end_matches(".rs");
        let allowed = MAY_USE.iter().find(|(name, _)| *name == part).map_or(&[][..], |(_, m)| m);
        for used in used_parts(&fs::read_to_string(&path).unwrap()) {
            uses += 1;
            if used != part && !allowed.contains(&&*used) {
                wrong.push(format!("{} uses `{used}`", inside.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(uses > 20, "the scan sees {uses} imports");
}

#[test]
fn the_scan_sees_every_form_of_import() {
    let source = "use crate::one;\npub(super) use crate::two::{Three, four};\n\
                  use crate::{five, six::{Seven, eight},\n    nine::Ten};\nfn f(_: crate::ten::T) {}\n\
                  // use crate::eleven;\nuse mycrate::twelve;";
    let parts = used_parts(source);
    assert_eq!(parts, ["one", "two", "five", "six", "nine", "ten"].map(String::from).into());
}
