//! The summary of a run, as text and as JSON.

use crate::delivery::Effort;
use crate::error::LoadError;
use crate::report::timeline::Second;
use crate::report::{Latencies, Stats};
use crate::verify::Verdict;
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// Everything that a run found out.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// True when all rows were acknowledged and the read-back (if made) found exactly them. With QoS 0, when all were
    /// sent, and the read-back found some of them and nothing else.
    pub ok: bool,
    /// Seconds from the first batch to the last answer.
    pub seconds: f64,
    /// CPU seconds of this process in that time (10 ms resolution), where the system tells them.
    pub client_cpu_seconds: Option<f64>,
    /// Rows of all batches that the run had to send, if that number is known beforehand.
    pub planned_rows: Option<u64>,
    /// Rows with 2xx or PUBACK.
    pub acknowledged_rows: u64,
    /// Batches with 2xx or PUBACK.
    pub acknowledged_batches: u64,
    /// Bytes of the acknowledged bodies, as sent.
    pub bytes: u64,
    /// Acknowledged rows per second.
    pub rows_per_second: f64,
    /// Tries after the first.
    pub retries: u64,
    /// Connections opened again.
    pub reconnects: u64,
    /// Rows in batches answered with 4xx.
    pub refused_rows: u64,
    /// Rows in batches given up without an answer.
    pub unknown_rows: u64,
    /// Rows taken but not sent.
    pub unsent_rows: u64,
    /// Rows sent with QoS 0, to which nobody answers.
    pub unconfirmed_rows: u64,
    /// Acknowledgement latency per batch, from the moment it was due.
    pub latency: Latencies,
    /// What servers and network said, with counts.
    pub messages: BTreeMap<String, u64>,
    /// The read-back; `None` when not asked for.
    pub verdict: Option<Verdict>,
    /// What happened, second by second.
    pub timeline: Vec<Second>,
}

impl Summary {
    /// Reads the counters after all connections have ended.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "rows of one run are far below 2^53")]
    pub fn new(stats: &Stats, effort: Effort, planned_rows: Option<u64>, timeline: Vec<Second>) -> Self {
        let counts = stats.counts();
        let seconds = effort.wall.as_secs_f64();
        let all_sent = planned_rows.is_none_or(|planned| counts.rows + counts.unconfirmed_rows == planned);
        Self {
            ok: all_sent && counts.refused_rows == 0 && counts.unknown_rows == 0 && counts.unsent_rows == 0,
            seconds,
            client_cpu_seconds: effort.cpu.map(|cpu| cpu.as_secs_f64()),
            planned_rows,
            acknowledged_rows: counts.rows,
            acknowledged_batches: counts.batches,
            bytes: counts.bytes,
            rows_per_second: counts.rows as f64 / seconds.max(1e-9),
            retries: counts.retries,
            reconnects: counts.reconnects,
            refused_rows: counts.refused_rows,
            unknown_rows: counts.unknown_rows,
            unsent_rows: counts.unsent_rows,
            unconfirmed_rows: counts.unconfirmed_rows,
            latency: stats.latencies(),
            messages: stats.messages(),
            verdict: None,
            timeline,
        }
    }

    /// Adds what the read-back found.
    #[must_use]
    pub fn with_verdict(mut self, verdict: Verdict) -> Self {
        self.ok = self.ok && verdict.ok();
        let found: u64 = verdict.tables.iter().map(|table| table.rows_found).sum();
        if self.unconfirmed_rows > 0 && found == 0 {
            // Any number may be lost, but where none arrives, something is wrong.
            self.ok = false;
        }
        self.verdict = Some(verdict);
        self
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = self.counts_text();
        for (message, count) in &self.messages {
            append(&mut text, format_args!("  {count} x {message}"));
        }
        match &self.verdict {
            Some(verdict) => text.push_str(&verdict.text()),
            None => append(&mut text, format_args!("read-back      not made")),
        }
        append(&mut text, format_args!("result         {}", if self.ok { "ok" } else { "NOT OK" }));
        text
    }

    /// For machines.
    pub fn write_json(&self, path: &Path) -> Result<(), LoadError> {
        let json = serde_json::to_vec_pretty(self).map_err(|error| LoadError::file(path, error))?;
        std::fs::write(path, json).map_err(|error| LoadError::file(path, error))
    }

    fn counts_text(&self) -> String {
        let mut text = String::new();
        let planned = self.planned_rows.map_or_else(String::new, |rows| format!(" of {}", HumanCount(rows)));
        append(
            &mut text,
            format_args!(
                "acknowledged   {}{planned} rows in {} batches, {}, {:.2} s, {:.0} rows/s",
                HumanCount(self.acknowledged_rows),
                HumanCount(self.acknowledged_batches),
                HumanBytes(self.bytes),
                self.seconds,
                self.rows_per_second,
            ),
        );
        if self.unconfirmed_rows > 0 {
            append(
                &mut text,
                format_args!("unconfirmed    {} rows sent with QoS 0", HumanCount(self.unconfirmed_rows)),
            );
        }
        if let Some(cpu) = self.client_cpu_seconds {
            append(&mut text, format_args!("client CPU     {cpu:.2} s while sending"));
        }
        let latency = &self.latency;
        append(
            &mut text,
            format_args!(
                "latency [ms]   p50 {:.3}  p90 {:.3}  p99 {:.3}  p99.9 {:.3}  max {:.3}  (batch due to acknowledged)",
                latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.p999_ms, latency.max_ms
            ),
        );
        append(
            &mut text,
            format_args!(
                "trouble        retries {}, reconnects {}, refused {} rows, given up {} rows, not sent {} rows",
                self.retries, self.reconnects, self.refused_rows, self.unknown_rows, self.unsent_rows
            ),
        );
        text
    }
}

/// One line more; writing into a `String` does not fail.
pub(crate) fn append(text: &mut String, line: std::fmt::Arguments<'_>) {
    let written = writeln!(text, "{line}");
    debug_assert!(written.is_ok());
}
