//! Files of one folder import each other in one direction. Where they do not, the cycle stands in a short list, with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Modules of a folder that import each other, and why that is so.
const CYCLES: &[(&str, &[&str], &str)] = &[
    (
        "log",
        &["queue", "retention", "shared", "store", "trim", "watch"],
        "what the log's threads share knows each of them, and each works on it",
    ),
    (
        "object",
        &[
            "awake_limit",
            "class",
            "delivery",
            "handle",
            "input",
            "instance",
            "lifecycle",
            "mailbox",
            "metrics",
            "presence",
            "registry",
            "reply",
            "task",
        ],
        "a handle, its roster and the task of its instances are one state with one owner",
    ),
    ("table", &["column", "server", "summary"], "what is shown of a list, and the list"),
];

/// The modules of a folder: files and subfolders, without the folder's own `mod.rs`.
type Imports = BTreeMap<String, BTreeSet<String>>;

/// Code that is there for tests only is not looked at.
fn is_for_tests(path: &Path) -> bool {
    let names = ["tests", "tests.rs", "sim", "stepped.rs", "fuzz.rs"];
    path.iter().any(|part| names.iter().any(|name| part == *name))
}

/// A source without comments, and without the tests at its end. Tests in a file of their own are only declared here, at any place.
fn code(path: &Path) -> String {
    let source = fs::read_to_string(path).unwrap();
    let lines = source.lines().map(|line| line.split("//").next().unwrap_or_default());
    let code = lines.collect::<Vec<_>>().join("\n");
    code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned()
}

/// The words behind each `prefix` that does not stand behind other words.
fn named<'a>(code: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    code.match_indices(prefix).filter_map(move |(at, _)| {
        let rest = &code[at + prefix.len()..];
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        (!code[..at].ends_with(|c| is_word(c) || c == ':')).then_some(&rest[..end])
    })
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !is_for_tests(&path) {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.extend(Some(path).filter(|path| !is_for_tests(path)));
        }
    }
}

/// What the modules of a folder import of each other.
fn imports(root: &Path, dir: &Path) -> Imports {
    let mut files = Vec::new();
    sources(dir, &mut files);
    let own = |path: &Path| {
        let first = path.strip_prefix(dir).unwrap().iter().next().unwrap().to_str().unwrap();
        first.trim_end_matches(".rs").to_owned()
    };
    let modules: BTreeSet<_> = files.iter().map(|path| own(path)).collect();
    let mut absolute = "crate::".to_owned();
    for part in dir.strip_prefix(root).unwrap() {
        absolute.push_str(part.to_str().unwrap());
        absolute.push_str("::");
    }
    let mut imports = Imports::new();
    for path in files {
        let module = own(&path);
        if ["mod", "lib", "main"].contains(&&*module) {
            continue;
        }
        let inside = path.strip_prefix(dir).unwrap();
        let is_folder = inside.file_name().unwrap() == "mod.rs";
        let depth = inside.iter().count() - usize::from(is_folder);
        let code = code(&path);
        let relative = "super::".repeat(depth);
        let found = named(&code, &relative).chain(named(&code, &absolute)).map(str::to_owned);
        let others = found.filter(|name| *name != module && modules.contains(name));
        imports.entry(module.clone()).or_default().extend(others);
    }
    imports
}

fn reachable(imports: &Imports, from: &str) -> BTreeSet<String> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(module) = next.pop() {
        for other in imports.get(&module).into_iter().flatten() {
            if seen.insert(other.clone()) {
                next.push(other.clone());
            }
        }
    }
    seen
}

/// The groups of modules in which each imports every other one, perhaps through others.
fn cycles(imports: &Imports) -> BTreeSet<Vec<String>> {
    let reach: BTreeMap<_, _> =
        imports.keys().map(|module| (module, reachable(imports, module))).collect();
    let group = |module: &String| -> Vec<String> {
        let mutual =
            |other: &&String| reach[module].contains(*other) && reach[*other].contains(module);
        imports.keys().filter(mutual).cloned().collect()
    };
    imports.keys().map(group).filter(|group| group.len() > 1).collect()
}

fn folders(dir: &Path, found: &mut Vec<PathBuf>) {
    found.push(dir.to_owned());
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !is_for_tests(&path) {
            folders(&path, found);
        }
    }
}

#[test]
fn cycles_of_imports_are_few_and_have_a_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut dirs = Vec::new();
    folders(&root, &mut dirs);
    let (mut found, mut edges) = (BTreeSet::new(), 0);
    for dir in dirs {
        let imports = imports(&root, &dir);
        edges += imports.values().map(BTreeSet::len).sum::<usize>();
        let name = dir.strip_prefix(&root).unwrap().display().to_string();
        found.extend(cycles(&imports).into_iter().map(|cycle| (name.clone(), cycle)));
    }
    let listed: BTreeSet<_> = CYCLES
        .iter()
        .map(|(folder, modules, reason)| {
            assert!(!reason.is_empty());
            ((*folder).to_owned(), modules.iter().map(|module| (*module).to_owned()).collect())
        })
        .collect();
    assert_eq!(found, listed, "left: cycles in the sources; right: the list");
    assert!(edges > 100, "the scan sees {edges} imports");
}

#[test]
fn the_scan_finds_a_cycle() {
    let imports: Imports = [("a", "b"), ("b", "c"), ("c", "b"), ("d", "a")]
        .map(|(from, to)| (from.to_owned(), [to.to_owned()].into()))
        .into();
    assert_eq!(cycles(&imports), [vec!["b".to_owned(), "c".to_owned()]].into());
    let code = "use super::one;\nuse super::super::two;\nfn f() { super::three::g(); }";
    assert_eq!(named(code, "super::").collect::<Vec<_>>(), ["one", "super", "three"]);
}
