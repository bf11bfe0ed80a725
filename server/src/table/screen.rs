//! The table on a terminal of any size.

use std::iter::zip;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Paragraph, Row, Table, Wrap};

use super::column::{Cells, Column, GAP};
use super::server::Object;
use super::summary::Summary;

/// Lines that are not objects: the counts, a blank one, the titles, the footer.
const OTHER_LINES: u16 = 4;

/// How many objects a terminal of this height shows.
pub(super) fn rows_in(height: u16) -> usize {
    height.saturating_sub(OTHER_LINES).max(1).into()
}

/// Draws everything. `problem` says why the table is not of now.
pub(super) fn draw(frame: &mut Frame, summary: &Summary, problem: Option<&str>) {
    let lines =
        [Constraint::Length(1), Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)];
    let [head, _, body, foot] = Layout::vertical(lines).areas(frame.area());
    let url = Line::from(summary.url.as_str()).dim().right_aligned();
    let counts = Line::from(summary.counts()).bold();
    if counts.width() + GAP + url.width() <= head.width.into() {
        frame.render_widget(url, head);
    }
    frame.render_widget(counts, head);
    if summary.objects.rows.is_empty() {
        frame.render_widget(Paragraph::new(summary.nothing()).wrap(Wrap { trim: true }), body);
    } else {
        draw_table(frame, body, summary, problem.is_some());
    }
    let foot_text = match (problem, summary.more()) {
        (Some(problem), _) => Line::from(problem.to_owned()).fg(Color::Red),
        (None, Some(more)) => Line::from(format!("{more} · q quits")).dim(),
        (None, None) => Line::from("q quits").dim(),
    };
    frame.render_widget(foot_text, foot);
}

fn draw_table(frame: &mut Frame, area: Rect, summary: &Summary, is_old: bool) {
    let objects = &summary.objects;
    let cells = Cells::fitting(objects, area.width.into());
    let titles = cells.columns.iter().map(|column| cell(column.title, column).underlined());
    let rows = zip(&objects.rows, &cells.rows).map(|(object, texts)| {
        let row = Row::new(zip(texts, &cells.columns).map(|(text, column)| cell(text, column)));
        row.style(if is_old { Style::new().dim() } else { style_of(object) })
    });
    let widths = cells.widths.iter().map(|width| u16::try_from(*width).unwrap_or(u16::MAX));
    let table = Table::new(rows, widths).header(Row::new(titles)).column_spacing(GAP as u16);
    frame.render_widget(table, area);
}

fn cell<'a>(text: &'a str, column: &Column) -> Cell<'a> {
    let alignment = if column.is_number { Alignment::Right } else { Alignment::Left };
    Cell::from(Text::from(text).alignment(alignment))
}

fn style_of(object: &Object) -> Style {
    match object.state.as_str() {
        "awake" => Style::new().fg(Color::Green),
        "asleep" => Style::new(),
        _ => Style::new().fg(Color::Yellow),
    }
}

#[cfg(test)]
mod tests;
