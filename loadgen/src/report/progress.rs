//! Shows a run while it lasts: a bar on a terminal, else a plain line every few seconds.

use crate::report::{Counts, Stats};
use crate::{clock, terminal};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Often enough to look alive, seldom enough to cost nothing.
const BAR_EVERY: Duration = Duration::from_millis(200);
/// A line in a log file every 5 s.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Ends its display when dropped.
#[derive(Debug)]
pub struct Progress {
    task: JoinHandle<()>,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Begins to show `stats`; `total_rows` gives the bar an end.
    #[must_use]
    pub fn start(stats: Arc<Stats>, total_rows: Option<u64>) -> Self {
        let bar = terminal::is_interactive().then(|| bar(total_rows));
        let shown = bar.clone();
        let started = clock::now();
        let task = tokio::spawn(async move {
            let mut previous = (started, 0);
            loop {
                let every = if shown.is_some() { BAR_EVERY } else { LINE_EVERY };
                clock::sleep_until(previous.0 + every).await;
                let counts = stats.counts();
                let (at, text) = describe(&stats, &counts, previous);
                previous = (at, counts.rows);
                match &shown {
                    Some(bar) => {
                        bar.set_position(counts.rows);
                        bar.set_message(text);
                    }
                    None => terminal::progress_line(&text),
                }
            }
        });
        Self { task, bar }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn describe(stats: &Stats, counts: &Counts, previous: (Instant, u64)) -> (Instant, String) {
    let at = clock::now();
    let seconds = at.duration_since(previous.0).as_secs_f64().max(1e-3);
    let rate = rows_per_second(counts.rows.saturating_sub(previous.1), seconds);
    let latencies = stats.latencies();
    let text = format!(
        "{} rows acknowledged, {} rows/s, p50 {:.1} ms, p99 {:.1} ms, retries {}, refused {}, given up {}",
        HumanCount(counts.rows),
        HumanCount(rate),
        latencies.p50_ms,
        latencies.p99_ms,
        counts.retries,
        counts.refused_rows,
        counts.unknown_rows,
    );
    (at, text)
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate for display: rows of one run are far below 2^53, and both numbers are positive"
)]
fn rows_per_second(rows: u64, seconds: f64) -> u64 {
    (rows as f64 / seconds) as u64
}

fn bar(total_rows: Option<u64>) -> ProgressBar {
    let (bar, template) = match total_rows {
        Some(rows) => (ProgressBar::new(rows), "{elapsed_precise} {bar:30} {percent}% {msg}"),
        None => (ProgressBar::no_length(), "{elapsed_precise} {spinner} {msg}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
