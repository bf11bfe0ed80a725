//! The table as plain text, for pipes and files.

use std::fmt::Write as _;

use super::column::{Cells, GAP};
use super::summary::Summary;

/// Counts, a line for each object, and how many there are beyond them.
pub(super) fn text(summary: &Summary) -> String {
    let mut text = format!("{}\n", summary.counts());
    if summary.objects.rows.is_empty() {
        text += &summary.nothing();
        text.push('\n');
        return text;
    }
    text.push('\n');
    let cells = Cells::all(&summary.objects);
    let titles = cells.columns.iter().map(|column| column.title.to_owned()).collect();
    for row in [titles].iter().chain(&cells.rows) {
        text += line(row, &cells).trim_end();
        text.push('\n');
    }
    if let Some(more) = summary.more() {
        text += &more;
        text.push('\n');
    }
    text
}

fn line(row: &[String], cells: &Cells) -> String {
    let mut line = String::new();
    for ((text, width), column) in row.iter().zip(&cells.widths).zip(&cells.columns) {
        // Writing to a string can't fail.
        let _ = if column.is_number {
            write!(line, "{text:>width$}{:GAP$}", "")
        } else {
            write!(line, "{text:<width$}{:GAP$}", "")
        };
    }
    line
}
