//! The most telling figures over time: small charts in one SVG file.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::sample::Sample;
use super::trend::WARM_UP;
use crate::report::thousands;

const SIZE: (u32, u32) = (1_200, 860);
const HEAD: u32 = 56;
const TITLE: (&str, u32) = ("sans-serif", 20);
const CAPTION: (&str, u32) = ("sans-serif", 16);
const LABELS: (&str, u32) = ("sans-serif", 13);
const MARGIN: u32 = 14;
const X_LABELS: u32 = 32;
const Y_LABELS: u32 = 64;
/// Lines of one chart, the first one in front.
const COLORS: [RGBColor; 2] = [RGBColor(31, 98, 168), RGBColor(224, 146, 58)];
const GRID: RGBColor = RGBColor(226, 228, 232);
const INK: RGBColor = RGBColor(60, 64, 72);
const WARM: RGBColor = RGBColor(244, 245, 247);
const MIB: f64 = 1_048_576.0;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;
type Line = (&'static str, Vec<(f64, f64)>);

/// Draws samples; the time that is warm-up has a grey ground.
pub(super) fn draw(path: &Path, title: &str, samples: &[Sample]) -> Result<()> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    // Its errors hold what can't be passed on.
    let fail = |error: &dyn std::fmt::Display| anyhow!("cannot draw {}: {error}", path.display());
    root.fill(&WHITE).map_err(|e| fail(&e))?;
    let (head, body) = root.split_vertically(HEAD);
    let style = TITLE.into_font().color(&INK);
    head.draw_text(title, &style, (MARGIN.cast_signed() * 2, 20)).map_err(|e| fail(&e))?;
    let line = |name: &'static str, unit: f64| -> Line {
        let points = samples.iter().map(|s| (minutes(s), s.value(name) / unit));
        (name, points.collect())
    };
    let charts: [(&str, Vec<Line>); 6] = [
        ("memory (PSS), MiB", vec![line("pss_bytes", MIB)]),
        ("open descriptors", vec![line("open_others", 1.0), line("open_files", 1.0)]),
        ("tasks, and objects awake", vec![line("tasks", 1.0), line("instances", 1.0)]),
        ("files in the data directory", vec![line("data_files", 1.0)]),
        ("bytes in the data directory, MiB", vec![line("data_bytes", MIB)]),
        ("deliveries a second", vec![("deliveries", rates(samples))]),
    ];
    let end = samples.last().map_or(1.0, minutes);
    for (area, (caption, lines)) in body.split_evenly((3, 2)).iter().zip(&charts) {
        chart(area, caption, end, lines).map_err(|e| fail(&e))?;
    }
    root.present().map_err(|e| fail(&e))
}

fn chart<'a>(area: &Area<'a>, caption: &str, end: f64, lines: &[Line]) -> Drawn<'a> {
    let values = lines.iter().flat_map(|(_, points)| points).map(|(_, value)| *value);
    // With room for the legend.
    let most = values.fold(1.0, f64::max) * if lines.len() > 1 { 1.35 } else { 1.15 };
    let mut chart = ChartBuilder::on(area)
        .caption(caption, CAPTION.into_font().color(&INK))
        .margin(MARGIN)
        .margin_right(MARGIN * 2)
        .x_label_area_size(X_LABELS)
        .y_label_area_size(Y_LABELS)
        .build_cartesian_2d(0.0..end, 0.0..most)?;
    let warm_up = [(0.0, 0.0), (end / WARM_UP as f64, most)];
    chart.draw_series([Rectangle::new(warm_up, WARM.filled())])?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .max_light_lines(0)
        .bold_line_style(GRID)
        .axis_style(GRID)
        .label_style(LABELS.into_font().color(&INK))
        .x_labels(7)
        .y_labels(5)
        .x_label_formatter(&|minutes| format!("{} min", (minutes * 10.0).round() / 10.0))
        .y_label_formatter(&|value| {
            if most < 5.0 { format!("{value:.1}") } else { thousands(*value) }
        })
        .draw()?;
    for ((name, points), color) in lines.iter().zip(COLORS).rev() {
        let drawn =
            chart.draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(1)))?;
        if lines.len() > 1 {
            drawn.label(label(name)).legend(move |(x, y)| {
                PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2))
            });
        }
    }
    if lines.len() > 1 {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .label_font(LABELS.into_font().color(&INK))
            .background_style(WHITE.mix(0.7))
            .draw()?;
    }
    Ok(())
}

/// What a line is called where there are two.
fn label(name: &'static str) -> &'static str {
    match name {
        "open_others" => "sockets, pollers",
        "open_files" => "files",
        "instances" => "objects awake",
        name => name,
    }
}

/// Between two samples each.
fn rates(samples: &[Sample]) -> Vec<(f64, f64)> {
    let rate = |pair: &[Sample]| {
        let passed = pair[1].at.saturating_sub(pair[0].at).as_secs_f64().max(1e-3);
        (minutes(&pair[1]), (pair[1].deliveries - pair[0].deliveries) as f64 / passed)
    };
    samples.windows(2).map(rate).collect()
}

fn minutes(sample: &Sample) -> f64 {
    sample.at.as_secs_f64() / 60.0
}
