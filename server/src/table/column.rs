//! The columns: what each says of an object, in text, and which of them fit.

use bytesize::ByteSize;

use super::server::{Object, Objects};

/// Between two columns.
pub(super) const GAP: usize = 2;

/// What is left of an object's name where there is no room for it.
const MIN_NAME: usize = 16;

const UNKNOWN: &str = "–";

/// One column.
pub(super) struct Column {
    pub(super) title: &'static str,
    /// Numbers end under one another, words begin so.
    pub(super) is_number: bool,
    /// Where there is no room for all, those with the highest rank go first.
    rank: u8,
    say: fn(&Object, u64) -> String,
}

/// All of them, from the left. The first is the only one that can be cut.
pub(super) const COLUMNS: [Column; 11] = [
    word("object", 0, |object, _| object.name.clone()),
    word("state", 1, |object, _| readable(&object.state)),
    number("for", 2, |object, now| elapsed(object.since, now)),
    word("cause", 5, |object, _| object.cause.clone().unwrap_or_else(unknown)),
    number("sleeps in", 4, |object, now| match object.sleeps_at {
        Some(at) => duration(at.saturating_sub(now)),
        None if object.pinned => "never".to_owned(),
        None => unknown(),
    }),
    number("wakes", 8, |object, _| object.wakes.to_string()),
    number("last wake", 6, |object, _| {
        object.last_wake.map_or_else(unknown, |wake| microseconds(wake.took_us))
    }),
    number("members", 3, |object, _| count(object.members)),
    number("at rest", 7, |object, _| count(object.connections_at_rest)),
    number("head", 10, |object, _| object.log.head.to_string()),
    number("memory", 9, |object, _| ByteSize(object.memory_bytes).to_string()),
];

const fn word(title: &'static str, rank: u8, say: fn(&Object, u64) -> String) -> Column {
    Column { title, is_number: false, rank, say }
}

const fn number(title: &'static str, rank: u8, say: fn(&Object, u64) -> String) -> Column {
    Column { title, is_number: true, rank, say }
}

/// Some columns with the texts of all objects.
pub(super) struct Cells {
    pub(super) columns: Vec<&'static Column>,
    /// How many characters each column takes.
    pub(super) widths: Vec<usize>,
    /// A row for each object, a text for each column.
    pub(super) rows: Vec<Vec<String>>,
}

impl Cells {
    /// Everything, however wide.
    pub(super) fn all(objects: &Objects) -> Self {
        let texts = |object: &Object| {
            COLUMNS.iter().map(|column| (column.say)(object, objects.now)).collect()
        };
        let rows: Vec<Vec<String>> = objects.rows.iter().map(texts).collect();
        let width_of = |(index, column): (usize, &Column)| {
            let texts = rows.iter().map(|row| row[index].chars().count());
            texts.chain([column.title.len()]).max().unwrap_or(0)
        };
        let widths = COLUMNS.iter().enumerate().map(width_of).collect();
        Self { columns: COLUMNS.iter().collect(), widths, rows }
    }

    /// What fits into a line of `width`: names are cut first, then the least important columns left out.
    pub(super) fn fitting(objects: &Objects, width: usize) -> Self {
        let mut cells = Self::all(objects);
        let full_name = cells.widths[0];
        while cells.columns.len() > 1 && cells.width_with(full_name.min(MIN_NAME)) > width {
            cells.remove_least();
        }
        let others = cells.width_with(0);
        cells.widths[0] = full_name.min(width.saturating_sub(others));
        cells
    }

    fn width_with(&self, name: usize) -> usize {
        name + self.widths[1..].iter().map(|width| GAP + width).sum::<usize>()
    }

    fn remove_least(&mut self) {
        let ranks = self.columns.iter().enumerate().map(|(index, column)| (column.rank, index));
        let Some((_, least)) = ranks.max() else { return };
        self.columns.remove(least);
        self.widths.remove(least);
        for row in &mut self.rows {
            row.remove(least);
        }
    }
}

/// As people write it.
pub(super) fn readable(state: &str) -> String {
    state.replace('_', " ")
}

fn unknown() -> String {
    UNKNOWN.to_owned()
}

fn count(count: Option<u64>) -> String {
    count.map_or_else(unknown, |count| count.to_string())
}

fn elapsed(since: Option<u64>, now: u64) -> String {
    since.map_or_else(unknown, |since| duration(now.saturating_sub(since)))
}

fn duration(ms: u64) -> String {
    match ms / 1_000 {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} min", seconds / 60),
        seconds @ 3_600..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

fn microseconds(us: u64) -> String {
    match us {
        0..10_000 => format!("{us} µs"),
        10_000..10_000_000 => format!("{} ms", us / 1_000),
        _ => format!("{} s", us / 1_000_000),
    }
}
