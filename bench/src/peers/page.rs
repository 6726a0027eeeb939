//! The report as one HTML page, with a plot of each set; it loads nothing from elsewhere.

use std::fmt::Write;

use plotters::prelude::*;

use super::report::{COLUMNS, PROFILE, Report, Spread, TITLE};
use super::run::Outcome;
use super::server::Server;
use crate::error::{Error, Result};

/// Size of a plot in pixels, and of each of its bars.
const WIDTH: u32 = 820;
const BAR_HEIGHT: u32 = 26;
const FRAME_HEIGHT: u32 = 90;
const NAMES_WIDTH: u32 = 250;

const FONT: &str = "sans-serif";

const STYLE: &str = "body{font:15px/1.5 sans-serif;max-width:80em;margin:2em auto;padding:0 1em;color:#222}\
table{border-collapse:collapse;font-size:13px;margin:1em 0}th,td{border:1px solid #ccc;padding:.3em .6em;text-align:right}\
th{background:#f3f3f3}td:nth-child(2){text-align:left}tr.own td{font-weight:bold}svg{max-width:100%;height:auto}";

/// A bar of a plot.
struct Bar {
    name: String,
    server: Server,
    value: f64,
}

/// The page.
pub(super) fn html(report: &Report) -> Result<String> {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{TITLE}</title><style>{STYLE}</style></head>\n\
         <body><h1>{TITLE}</h1>\n<p>{}</p>\n<ul>",
        escaped(&report.preface())
    );
    for server in report.servers() {
        add(&mut page, format_args!("<li>{}</li>", escaped(&server)));
    }
    add(&mut page, format_args!("</ul>"));
    for set in report.sets() {
        add(&mut page, format_args!("<h2>{}</h2>", escaped(&report.heading(set))));
        let cpu = bars(report, set, |outcome| outcome.cpu);
        page.push_str(&plot("processor seconds of the server per million rows: less is better", &cpu)?);
        let rate = bars(report, set, |outcome| outcome.rows_per_second / 1e3);
        page.push_str(&plot("thousand rows per second: more is better", &rate)?);
        push_table(&COLUMNS, &report.table(set), &mut page);
    }
    if let Some((head, rows)) = report.profile_table() {
        add(&mut page, format_args!("<h2>{PROFILE}</h2>\n<p>{}</p>", escaped(&report.profile_preface())));
        push_table(&head.iter().map(String::as_str).collect::<Vec<_>>(), &rows, &mut page);
    }
    page.push_str("</body></html>\n");
    Ok(page)
}

fn push_table(head: &[&str], rows: &[Vec<String>], page: &mut String) {
    let cells = |tag: &str, cells: &mut dyn Iterator<Item = &str>| -> String {
        cells.map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell))).collect()
    };
    add(page, format_args!("<table><tr>{}</tr>", cells("th", &mut head.iter().copied())));
    for row in rows {
        let own = row.iter().any(|cell| cell == Server::Busbar.name());
        let class = if own { " class=\"own\"" } else { "" };
        add(page, format_args!("<tr{class}>{}</tr>", cells("td", &mut row.iter().map(String::as_str))));
    }
    add(page, format_args!("</table>"));
}

fn bars(report: &Report, set: &str, figure: fn(&Outcome) -> f64) -> Vec<Bar> {
    let groups = report.groups(set);
    let bar = |((connections, server), outcomes): (&(u32, Server), &Vec<&Outcome>)| Bar {
        name: format!("{}, {connections} connections", server.name()),
        server: *server,
        value: Spread::of(outcomes, figure).median,
    };
    groups.iter().map(bar).collect()
}

/// Bars beside each other, from the top, each with its value.
fn plot(title: &str, bars: &[Bar]) -> Result<String> {
    let mut svg = String::new();
    draw(title, bars, &mut svg).map_err(|error| Error::Peer(format!("a plot cannot be drawn: {error}")))?;
    Ok(svg)
}

fn draw(title: &str, bars: &[Bar], svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let count = u32::try_from(bars.len())?;
    let area = SVGBackend::with_string(svg, (WIDTH, FRAME_HEIGHT + BAR_HEIGHT * count)).into_drawing_area();
    let most = bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max) * 1.15;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, (FONT, 16))
        .margin(8)
        .x_label_area_size(28)
        .y_label_area_size(NAMES_WIDTH)
        .build_cartesian_2d(0.0..most, f64::from(count)..0.0)?;
    chart.configure_mesh().disable_y_mesh().y_labels(0).light_line_style(TRANSPARENT).draw()?;
    for (place, bar) in (0_u32..).zip(bars) {
        let top = f64::from(place);
        let color =
            if bar.server == Server::Busbar { RGBColor(20, 110, 180) } else { RGBColor(170, 170, 170) };
        let corners = [(0.0, top + 0.15), (bar.value, top + 0.85)];
        chart.draw_series(std::iter::once(Rectangle::new(corners, color.filled())))?;
        let (left, middle) = chart.backend_coord(&(0.0, top + 0.3));
        area.draw(&Text::new(
            bar.name.clone(),
            (left - i32::try_from(NAMES_WIDTH)? + 8, middle),
            (FONT, 14),
        ))?;
        let (right, _) = chart.backend_coord(&(bar.value, top));
        area.draw(&Text::new(figure(bar.value), (right + 5, middle), (FONT, 13)))?;
    }
    area.present()?;
    Ok(())
}

fn figure(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Writing into a `String` does not fail.
fn add(text: &mut String, line: std::fmt::Arguments<'_>) {
    let _infallible = writeln!(text, "{line}");
}
