//! SVG plots of the figures in the report.

use std::path::Path;

use plotters::prelude::*;

use crate::Result;

const SIZE: (u32, u32) = (860, 480);
const FONT: &str = "sans-serif";
const PERCENTILES: [&str; 5] = ["p50", "p90", "p99", "p99.9", "max"];
const COLOURS: [RGBColor; 5] = [
    RGBColor(127, 127, 127),
    RGBColor(31, 119, 180),
    RGBColor(214, 104, 0),
    RGBColor(44, 140, 44),
    RGBColor(148, 80, 170),
];

/// What can be drawn.
pub(crate) enum Plot {
    /// One line for each hop, from p50 to the maximum, on a logarithmic axis of milliseconds.
    Percentiles { file: String, title: String, lines: Vec<(String, [f64; 5])> },
    /// One bar for each subject up to the median of its runs, and a dot for each run.
    Bars { file: String, title: String, unit: &'static str, bars: Vec<(String, Vec<f64>)> },
}

impl Plot {
    /// Writes the file.
    pub(crate) fn draw(&self, folder: &Path) -> Result<()> {
        match self {
            Self::Percentiles { file, title, lines } => percentiles(&folder.join(file), title, lines),
            Self::Bars { file, title, unit, bars } => draw_bars(&folder.join(file), title, unit, bars),
        }
    }
}

fn percentiles(path: &Path, title: &str, lines: &[(String, [f64; 5])]) -> Result<()> {
    let all = || lines.iter().flat_map(|(_, values)| values.iter().copied()).filter(|value| *value > 0.0);
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
    if high == 0.0 {
        return Ok(());
    }
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, (FONT, 20))
        .margin(14)
        .x_label_area_size(34)
        .y_label_area_size(64)
        .build_cartesian_2d(-0.2..4.2, (low * 0.7..high * 1.4).log_scale())?;
    let percentile = |x: &f64| {
        let index = PERCENTILES.iter().enumerate().find(|(index, _)| (place(*index) - x).abs() < 1e-6);
        index.map(|(_, name)| (*name).to_owned()).unwrap_or_default()
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(PERCENTILES.len())
        .x_label_formatter(&percentile)
        .y_desc("milliseconds from the scheduled time")
        .y_label_formatter(&|value| format!("{value}"))
        .label_style((FONT, 14))
        .draw()?;
    for ((name, values), colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let points = || values.iter().enumerate().map(|(index, value)| (place(index), value.max(low)));
        chart
            .draw_series(LineSeries::new(points(), colour.stroke_width(2)))?
            .label(name)
            .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        chart.draw_series(points().map(|point| Circle::new(point, 4, colour.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.9))
        .label_font((FONT, 14))
        .draw()?;
    root.present()?;
    Ok(())
}

fn draw_bars(path: &Path, title: &str, unit: &str, bars: &[(String, Vec<f64>)]) -> Result<()> {
    let high = bars.iter().flat_map(|(_, runs)| runs.iter().copied()).fold(0.0, f64::max);
    if high == 0.0 {
        return Ok(());
    }
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, (FONT, 20))
        .margin(14)
        .x_label_area_size(34)
        .y_label_area_size(190)
        .build_cartesian_2d(0.0..high * 1.08, -0.6..place(bars.len()) - 0.4)?;
    let name = |y: &f64| {
        let found = bars.iter().enumerate().find(|(index, _)| (place(*index) - y).abs() < 1e-6);
        found.map(|(_, (name, _))| name.clone()).unwrap_or_default()
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .x_desc(unit)
        .x_labels(8)
        .x_label_formatter(&|value| format!("{value:.0}"))
        .y_labels(bars.len() * 2)
        .y_label_formatter(&name)
        .label_style((FONT, 14))
        .draw()?;
    for (index, (name, runs)) in bars.iter().enumerate() {
        let Some((_, middle, _)) = crate::report::median(runs) else { continue };
        let colour = colour_of(name, bars);
        let (bottom, top) = (place(index) - 0.3, place(index) + 0.3);
        chart.draw_series([Rectangle::new([(0.0, bottom), (middle, top)], colour.mix(0.6).filled())])?;
        chart.draw_series(runs.iter().map(|run| Circle::new((*run, place(index)), 4, BLACK.filled())))?;
    }
    root.present()?;
    Ok(())
}

/// The same for all bars of a subject, whose name stands before the comma.
fn colour_of(name: &str, bars: &[(String, Vec<f64>)]) -> RGBColor {
    let subject = |name: &str| name.split(',').next().map(str::to_owned);
    let mut subjects: Vec<_> = bars.iter().map(|(name, _)| subject(name)).collect();
    subjects.sort_unstable();
    subjects.dedup();
    let place = subjects.iter().position(|known| *known == subject(name)).unwrap_or_default();
    COLOURS.iter().cycle().nth(place).copied().unwrap_or(BLACK)
}

/// Where a category stands on its axis.
fn place(index: usize) -> f64 {
    f64::from(u16::try_from(index).unwrap_or(u16::MAX))
}
