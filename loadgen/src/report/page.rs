//! A run as one HTML page with plots over time; it loads nothing from elsewhere.

use crate::error::LoadError;
use crate::report::summary::{Summary, append};
use crate::report::timeline::Second;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use std::error::Error;
use std::ops::Range;
use std::path::Path;

/// Size of a plot in pixels.
const SIZE: (u32, u32) = (1_000, 320);
/// Beside a plot, for the names of its curves.
const LEGEND_WIDTH: u32 = 110;
const FONT: &str = "sans-serif";
/// The smallest latency that a plot shows, in milliseconds.
const LEAST_MS: f64 = 0.01;

const STYLE: &str = "body{font:15px/1.5 sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222}\
pre{background:#f3f3f3;padding:1em;overflow:auto}svg{max-width:100%;height:auto}";

/// What a page tells.
#[derive(Debug)]
pub struct Page<'a> {
    /// What was run.
    pub title: &'a str,
    /// What it shows, for people.
    pub about: &'a str,
    /// How it ended.
    pub summary: &'a Summary,
    /// When phases began, in seconds, and their names.
    pub phases: &'a [(f64, String)],
    /// Rows that were due until the end of each second, if there was a schedule.
    pub due: &'a [f64],
}

/// A curve: its name, its color, and its points.
struct Curve {
    name: &'static str,
    color: RGBColor,
    points: Vec<(f64, f64)>,
}

const GREY: RGBColor = RGBColor(170, 170, 170);
const BLUE: RGBColor = RGBColor(20, 110, 180);
const ORANGE: RGBColor = RGBColor(220, 130, 20);
const RED: RGBColor = RGBColor(200, 40, 40);

impl Page<'_> {
    /// Writes the page into a file.
    ///
    /// # Errors
    /// [`LoadError::File`] when it cannot be written, or a plot not be drawn.
    pub fn write(&self, path: &Path) -> Result<(), LoadError> {
        let html = self.html().map_err(|error| LoadError::file(path, error))?;
        std::fs::write(path, html).map_err(|error| LoadError::file(path, error))
    }

    fn html(&self) -> Result<String, Box<dyn Error>> {
        let title = escaped(self.title);
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
             <style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n<p>{}</p>\n",
            escaped(self.about)
        );
        append(&mut page, format_args!("<pre>{}</pre>", escaped(&self.summary.text())));
        append(&mut page, format_args!("<h2>Rows per second</h2>"));
        page.push_str(&self.rates()?);
        append(&mut page, format_args!("<h2>From due to acknowledged, milliseconds</h2>"));
        page.push_str(&self.latencies()?);
        let trouble: u64 =
            self.summary.timeline.iter().map(|second| second.retries + second.failed_rows).sum();
        if trouble > 0 {
            append(&mut page, format_args!("<h2>Retries, and rows refused or given up, per second</h2>"));
            page.push_str(&self.trouble()?);
        }
        page.push_str("</body></html>\n");
        Ok(page)
    }

    fn rates(&self) -> Result<String, Box<dyn Error>> {
        let mut before = 0.0;
        let due = self.summary.timeline.iter().zip(self.due).map(|(second, due)| {
            let rows = due - std::mem::replace(&mut before, *due);
            (second.at, rows / second.seconds.max(1e-3))
        });
        let due = Curve { name: "due", color: GREY, points: due.collect() };
        let acknowledged = self.curve("acknowledged", BLUE, |second| per_second(second.rows, second));
        let mut curves = vec![due, acknowledged];
        if self.summary.unconfirmed_rows > 0 {
            let sent = |second: &Second| per_second(second.unconfirmed_rows, second);
            curves.push(self.curve("sent, QoS 0", ORANGE, sent));
        }
        self.plot(&curves)
    }

    fn trouble(&self) -> Result<String, Box<dyn Error>> {
        let retries = self.curve("retries", ORANGE, |second| per_second(second.retries, second));
        let failed = self.curve("rows failed", RED, |second| per_second(second.failed_rows, second));
        self.plot(&[retries, failed])
    }

    fn latencies(&self) -> Result<String, Box<dyn Error>> {
        // A second without an acknowledgement has no latency.
        let curves = [
            ("max", RED, (|second| second.max_ms) as fn(&Second) -> f64),
            ("p99", ORANGE, |second| second.p99_ms),
            ("p50", BLUE, |second| second.p50_ms),
        ];
        let curves = curves.map(|(name, color, value)| {
            let mut curve = self.curve(name, color, value);
            curve.points.retain(|(_, value)| *value > 0.0);
            curve.points.iter_mut().for_each(|(_, value)| *value = value.max(LEAST_MS));
            curve
        });
        let values = || curves.iter().flat_map(|curve| curve.points.iter().map(|(_, value)| *value));
        let least = values().fold(1.0, f64::min);
        let most = values().fold(least * 10.0, f64::max) * 1.5;
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        draw(&area, self.length(), (least..most).log_scale(), least..most, &curves, self.phases)?;
        drop(area);
        Ok(svg)
    }

    fn plot(&self, curves: &[Curve]) -> Result<String, Box<dyn Error>> {
        let values = curves.iter().flat_map(|curve| curve.points.iter().map(|(_, value)| *value));
        let most = values.fold(1.0, f64::max) * 1.15;
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        draw(&area, self.length(), 0.0..most, 0.0..most, curves, self.phases)?;
        drop(area);
        Ok(svg)
    }

    fn curve(&self, name: &'static str, color: RGBColor, value: impl Fn(&Second) -> f64) -> Curve {
        Curve {
            name,
            color,
            points: self.summary.timeline.iter().map(|second| (second.at, value(second))).collect(),
        }
    }

    fn length(&self) -> f64 {
        self.summary.timeline.last().map_or(1.0, |second| second.at)
    }
}

/// Curves over the seconds of a run, with a line where a phase begins.
fn draw<Y>(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    length: f64,
    scale: Y,
    values: Range<f64>,
    curves: &[Curve],
    phases: &[(f64, String)],
) -> Result<(), Box<dyn Error>>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .margin_right(LEGEND_WIDTH)
        .x_label_area_size(30)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..length.max(1e-3), scale)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("seconds")
        .x_label_formatter(&figure)
        .y_label_formatter(&figure)
        .draw()?;
    for (start, name) in phases {
        let line = vec![(*start, values.start), (*start, values.end)];
        chart.draw_series(std::iter::once(PathElement::new(line, GREY)))?;
        let (x, y) = chart.backend_coord(&(*start, values.end));
        area.draw(&Text::new(name.clone(), (x + 4, y + 2), (FONT, 12)))?;
    }
    for (place, curve) in (0..).zip(curves) {
        chart.draw_series(std::iter::once(PathElement::new(
            curve.points.clone(),
            curve.color.stroke_width(2),
        )))?;
        let (x, y) = chart.backend_coord(&(length, values.end));
        let style = (FONT, 13).into_font().color(&curve.color);
        area.draw(&Text::new(curve.name, (x + 10, y + 16 * place), style))?;
    }
    area.present()?;
    Ok(())
}

/// Whole, unless it is small.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "as plots call it")]
fn figure(value: &f64) -> String {
    let digits = if *value >= 10.0 || value.fract() == 0.0 { 0 } else { 2 };
    format!("{value:.digits$}")
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn per_second(count: u64, second: &Second) -> f64 {
    count as f64 / second.seconds.max(1e-3)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
