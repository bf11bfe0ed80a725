//! `CONFORMANCE.md` tells the truth: it has every check, and the tests that it names are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The checks that are about sockets of objects that sleep.
const CHECKS: std::ops::RangeInclusive<u32> = 17..=53;
const DOES_NOT_APPLY: &str = "does not apply: ";

/// One line of the table.
struct Row {
    check: u32,
    answer: String,
}

fn tests_dir() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests"))
}

fn rows() -> Vec<Row> {
    let table = fs::read_to_string(tests_dir().join("CONFORMANCE.md")).unwrap();
    let cells = table.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = cells.filter_map(|line| {
        let mut cells = line.split(" | ");
        let check = cells.next()?.parse().ok()?;
        let answer = cells.nth(1).expect("a row says what is checked and where").to_owned();
        assert_eq!(cells.next(), None, "{line}");
        Some(Row { check, answer })
    });
    rows.collect()
}

/// The tests that a text names: `module::test`, or `module::submodule::test`.
fn named(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).filter(|quoted| quoted.contains("::"))
}

/// The tests of a source.
fn tests_in(source: &str) -> BTreeSet<String> {
    let lines: Vec<&str> = source.lines().collect();
    let is_test = |line: &str| line.starts_with("#[tokio::test") || line == "#[test]";
    let pairs = lines.windows(2).filter(|pair| is_test(pair[0]));
    let names = pairs.filter_map(|pair| {
        let name = pair[1].trim_start_matches("async ").strip_prefix("fn ")?;
        Some(name.split_once('(')?.0.to_owned())
    });
    names.collect()
}

#[test]
fn every_check_stands_in_the_table_with_its_tests_or_the_reason_why_not() {
    let rows = rows();
    assert!(rows.iter().map(|row| row.check).eq(CHECKS));
    for Row { check, answer } in &rows {
        let has_tests = named(answer).next().is_some();
        assert_ne!(has_tests, answer.starts_with(DOES_NOT_APPLY), "{check}: {answer}");
    }
}

#[test]
fn every_test_that_the_table_names_is_there() {
    for Row { check, answer } in rows() {
        for path in named(&answer) {
            let (module, test) = path.rsplit_once("::").unwrap();
            let file = tests_dir().join("it").join(module.replace("::", "/")).with_extension("rs");
            let source = fs::read_to_string(&file);
            let source = source.unwrap_or_else(|error| panic!("{check}: `{path}`: {error}"));
            assert!(tests_in(&source).contains(test), "{check}: there is no `{path}`");
        }
    }
}

#[test]
fn every_test_that_is_named_after_a_check_stands_in_its_row() {
    let rows = rows();
    let mut found = 0;
    for entry in fs::read_dir(tests_dir().join("it/conformance")).unwrap() {
        let path = entry.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap();
        for test in tests_in(&fs::read_to_string(&path).unwrap()) {
            let Some((check, _)) = test.strip_prefix('c').and_then(|test| test.split_once('_'))
            else {
                continue;
            };
            let Ok(check) = check.parse::<u32>() else { continue };
            let row = rows.iter().find(|row| row.check == check);
            let path = format!("conformance::{module}::{test}");
            let is_named = row.is_some_and(|row| named(&row.answer).any(|named| named == path));
            assert!(is_named, "{check} does not name `{path}`");
            found += 1;
        }
    }
    assert!(found > 30, "the scan sees {found} tests");
}
