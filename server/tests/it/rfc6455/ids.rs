//! The suite's list of cases, so that none is missing.

use super::case::Case;
use super::{close, compression, fragments, frames, limits, utf8};

/// How many cases each group has.
const GROUPS: &[(&str, usize)] = &[
    ("1.1", 8),
    ("1.2", 8),
    ("2", 11),
    ("3", 7),
    ("4.1", 5),
    ("4.2", 5),
    ("5", 20),
    ("6.1", 3),
    ("6.2", 4),
    ("6.3", 2),
    ("6.4", 4),
    ("6.5", 5),
    ("6.6", 11),
    ("6.7", 4),
    ("6.8", 2),
    ("6.9", 4),
    ("6.10", 3),
    ("6.11", 5),
    ("6.12", 8),
    ("6.13", 5),
    ("6.14", 10),
    ("6.15", 1),
    ("6.16", 3),
    ("6.17", 5),
    ("6.18", 5),
    ("6.19", 5),
    ("6.20", 7),
    ("6.21", 8),
    ("6.22", 34),
    ("6.23", 7),
    ("7.1", 6),
    ("7.3", 6),
    ("7.5", 1),
    ("7.7", 13),
    ("7.9", 9),
    ("7.13", 2),
    ("9.1", 6),
    ("9.2", 6),
    ("9.3", 9),
    ("9.4", 9),
    ("9.5", 6),
    ("9.6", 6),
    ("9.7", 6),
    ("9.8", 6),
    ("10.1", 1),
    ("12.1", 18),
    ("12.2", 18),
    ("12.3", 18),
    ("12.4", 18),
    ("12.5", 18),
    ("13.1", 18),
    ("13.2", 18),
    ("13.3", 18),
    ("13.4", 18),
    ("13.5", 18),
    ("13.6", 18),
    ("13.7", 18),
];

#[test]
fn every_case_of_the_suite_is_there() {
    let listed = GROUPS
        .iter()
        .flat_map(|(group, count)| (1..=*count).map(move |number| format!("{group}.{number}")));
    let listed: Vec<String> = listed.collect();
    let small = [
        frames::messages(),
        frames::pings(),
        frames::reserved_bits(),
        frames::opcodes(),
        fragments::cases(),
        utf8::cases(),
        close::cases(),
    ];
    let large = [
        limits::messages(),
        limits::fragments(),
        limits::chops_and_round_trips(),
        limits::auto_fragmentation(),
    ];
    let ids = |cases: Vec<Case>| cases.into_iter().map(|case| case.id);
    let mut played: Vec<String> = small.into_iter().chain(large).flat_map(ids).collect();
    assert_eq!(played.len(), 301);
    played.extend(compression::sections().into_iter().map(|case| case.id));
    assert_eq!(played, listed);
    assert_eq!(played.len(), 517);
}
