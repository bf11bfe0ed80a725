//! Two charts in one SVG file: how latencies are distributed, and deliveries over time.

use std::path::Path;

use anyhow::{Result, anyhow};
use hdrhistogram::Histogram;
use plotters::coord::Shift;
use plotters::prelude::*;

use super::session::TICK;
use crate::report::thousands;

const SIZE: (u32, u32) = (900, 800);
const FONT: (&str, u32) = ("sans-serif", 18);
const MARGIN: u32 = 24;
const X_LABELS: u32 = 40;
const Y_LABELS: u32 = 90;

/// Draws latencies in microseconds and the deliveries of each [`TICK`].
pub(super) fn draw(
    path: &Path,
    title: &str,
    latency: &Histogram<u64>,
    series: &[u64],
) -> Result<()> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    // Its errors hold what can't be passed on.
    let fail = |error: &dyn std::fmt::Display| anyhow!("cannot draw {}: {error}", path.display());
    root.fill(&WHITE).map_err(|e| fail(&e))?;
    let (above, below) = root.split_vertically(SIZE.1 / 2);
    distribution(&above, title, latency).map_err(|e| fail(&e))?;
    over_time(&below, series).map_err(|e| fail(&e))?;
    root.present().map_err(|e| fail(&e))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

/// Latency by percentile. Each step to the right is one more nine.
#[expect(clippy::cast_precision_loss, reason = "microseconds stay far below 2^53")]
fn distribution<'a>(area: &Area<'a>, title: &str, latency: &Histogram<u64>) -> Drawn<'a> {
    let points = latency
        .iter_quantiles(4)
        .filter(|step| step.quantile() < 1.0)
        .map(|step| (1.0 / (1.0 - step.quantile()), step.value_iterated_to() as f64 / 1000.0))
        .collect::<Vec<_>>();
    let rarest = points.last().map_or(10.0, |(rarity, _)| rarity.max(10.0));
    let slowest = (latency.max() as f64 / 1000.0).max(0.001);
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{title}: latency by percentile"), FONT)
        .margin(MARGIN)
        .x_label_area_size(X_LABELS)
        .y_label_area_size(Y_LABELS)
        .build_cartesian_2d((1.0..rarest).log_scale(), 0.0..slowest * 1.05)?;
    chart
        .configure_mesh()
        .max_light_lines(0)
        .x_label_formatter(&|rarity| format!("{} %", percent(*rarity)))
        .y_desc("milliseconds")
        .y_label_formatter(&|milliseconds| format!("{milliseconds:.1}"))
        .draw()?;
    chart.draw_series(LineSeries::new(points, &BLUE))?;
    Ok(())
}

/// Deliveries a second over time.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn over_time<'a>(area: &Area<'a>, series: &[u64]) -> Drawn<'a> {
    let tick = TICK.as_secs_f64();
    let points =
        (0_u32..).zip(series).map(|(nth, count)| (f64::from(nth) * tick, *count as f64 / tick));
    let most = points.clone().map(|(_, rate)| rate).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption("deliveries a second over time", FONT)
        .margin(MARGIN)
        .x_label_area_size(X_LABELS)
        .y_label_area_size(Y_LABELS)
        .build_cartesian_2d(0.0..series.len() as f64 * tick, 0.0..most * 1.05)?;
    chart
        .configure_mesh()
        .x_desc("seconds")
        .max_light_lines(0)
        .x_label_formatter(&|seconds| format!("{seconds:.1}"))
        .y_label_formatter(&|rate| thousands(*rate))
        .draw()?;
    chart.draw_series(LineSeries::new(points, &BLUE))?;
    Ok(())
}

/// The percentile above which one of so many lies.
fn percent(one_of: f64) -> f64 {
    let percent = 100.0 * (1.0 - 1.0 / one_of);
    (percent * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::microseconds;

    #[test]
    fn percentiles_are_named_as_people_do() {
        for (one_of, expected) in [(1.0, "0"), (2.0, "50"), (100.0, "99"), (10_000.0, "99.99")] {
            assert_eq!(percent(one_of).to_string(), expected);
        }
    }

    #[test]
    fn nothing_can_be_drawn_too() {
        let file = tempfile::NamedTempFile::new().unwrap();
        draw(file.path(), "nothing", &microseconds(), &[]).unwrap();
        assert!(std::fs::read_to_string(file.path()).unwrap().starts_with("<svg"));
    }
}
