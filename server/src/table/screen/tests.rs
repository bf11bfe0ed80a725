use std::collections::BTreeMap;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::*;
use crate::table::plain;
use crate::table::server::{LastWake, Log, Objects};

fn object(name: &str, state: &str) -> Object {
    let is_awake = state == "awake";
    Object {
        name: name.to_owned(),
        state: state.to_owned(),
        since: Some(1_000_000),
        cause: is_awake.then(|| "publish".to_owned()),
        sleeps_at: is_awake.then_some(1_050_000),
        last_wake: Some(LastWake { took_us: 154 }),
        wakes: 3,
        pinned: false,
        log: Log { head: 1_234 },
        memory_bytes: 2_048,
        members: Some(7),
        connections_at_rest: Some(6),
    }
}

fn summary(rows: Vec<Object>, asleep: u64) -> Summary {
    let counts = [("awake", 1), ("waking", 0), ("falling_asleep", 0), ("asleep", asleep)];
    let counts: BTreeMap<_, _> = counts.map(|(state, count)| (state.to_owned(), count)).into();
    let objects = Objects { now: 1_012_000, counts, rows };
    Summary { objects, url: "http://127.0.0.1:7700".to_owned(), state: None }
}

fn lobby_and_attic() -> Summary {
    summary(vec![object("room/lobby", "awake"), object("room/attic", "asleep")], 1)
}

fn drawn(
    summary: &Summary,
    problem: Option<&str>,
    width: u16,
    height: u16,
) -> (Vec<String>, TestBackend) {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, summary, problem)).unwrap();
    let backend = terminal.backend().clone();
    let lines = backend.to_string();
    let lines = lines.lines().map(|line| line.trim_matches('"').trim_end().to_owned()).collect();
    (lines, backend)
}

#[test]
fn every_column_is_shown_where_there_is_room() {
    let (lines, backend) = drawn(&lobby_and_attic(), None, 110, 8);
    assert_eq!(
        lines,
        [
            "1 awake · 0 waking · 0 falling asleep · 1 asleep                                         http://127.0.0.1:7700",
            "",
            "object      state    for  cause    sleeps in  wakes  last wake  members  at rest  head   memory",
            "room/lobby  awake   12 s  publish       38 s      3     154 µs        7        6  1234  2.0 KiB",
            "room/attic  asleep  12 s  –                –      3     154 µs        7        6  1234  2.0 KiB",
            "",
            "",
            "q quits",
        ]
    );
    assert_eq!(backend.buffer()[(0, 3)].fg, Color::Green);
}

#[test]
fn a_narrow_terminal_shows_what_matters_most() {
    let mut summary = lobby_and_attic();
    summary.objects.rows[0].name = format!("room/{}", "x".repeat(100));
    for width in [200, 100, 80, 60, 40, 30, 20, 5, 1] {
        let (lines, _) = drawn(&summary, None, width, 8);
        let titles: Vec<_> = lines[2].split_whitespace().collect();
        assert_eq!(titles.first().copied(), Some(&"object"[..6.min(width.into())]), "{width}");
        assert!(!lines[2].contains("memory") || lines[2].contains("members"), "{lines:#?}");
        let is_whole = lines[3].contains('7') || width < 50;
        assert!(is_whole, "{width}: {lines:#?}");
    }
    let (lines, _) = drawn(&summary, None, 40, 8);
    assert_eq!(lines[2], "object             state    for  members");
    assert_eq!(lines[3], "room/xxxxxxxxxxxx  awake   12 s        7");
}

#[test]
fn what_does_not_fit_is_counted() {
    let rows = rows_in(10);
    assert_eq!(rows, 6);
    let objects = (0..rows).map(|n| object(&format!("room/{n}"), "asleep")).collect();
    let (lines, _) = drawn(&summary(objects, 1_000_000), None, 100, 10);
    assert!(lines[8].starts_with("room/5"), "{lines:#?}");
    assert_eq!(lines[9], "… and 999995 more · q quits");
    let (lines, _) = drawn(&summary(vec![], 0), None, 100, 3);
    assert_eq!(lines.len(), 3);
}

#[test]
fn a_server_that_went_away_is_told_over_what_was_last_known() {
    let (lines, backend) = drawn(&lobby_and_attic(), Some("no server answers"), 100, 8);
    assert!(lines[3].starts_with("room/lobby"), "{lines:#?}");
    assert_eq!(lines[7], "no server answers");
    assert_ne!(backend.buffer()[(0, 3)].fg, Color::Green);
}

#[test]
fn without_objects_it_says_how_to_get_one() {
    let (lines, _) = drawn(&summary(vec![], 0), None, 100, 8);
    assert_eq!(
        lines[2],
        "No object is in use: open http://127.0.0.1:7700 in a browser, and one is."
    );
    let mut none = summary(vec![], 0);
    none.state = Some("falling_asleep".to_owned());
    assert!(plain::text(&none).ends_with("No object is falling asleep.\n"));
}

#[test]
fn plain_text_has_the_same_table() {
    let mut summary = lobby_and_attic();
    summary.objects.counts.insert("asleep".to_owned(), 5);
    assert_eq!(
        plain::text(&summary),
        "\
1 awake · 0 waking · 0 falling asleep · 5 asleep

object      state    for  cause    sleeps in  wakes  last wake  members  at rest  head   memory
room/lobby  awake   12 s  publish       38 s      3     154 µs        7        6  1234  2.0 KiB
room/attic  asleep  12 s  –                –      3     154 µs        7        6  1234  2.0 KiB
… and 4 more
"
    );
}
