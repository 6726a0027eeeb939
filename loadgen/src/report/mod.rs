//! What happened: counters while it runs, a summary at the end.
//!
//! Invariants:
//! - Every batch taken from the source ends in exactly one of: acknowledged, refused, unknown, not sent, unconfirmed.
//! - Latencies are recorded for acknowledged batches only, from the moment they were due; what was not
//!   acknowledged is counted beside them, never dropped.

pub mod page;
pub mod progress;
pub mod summary;
pub mod timeline;

use crate::error::LoadError;
use crate::protocol::Batch;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One hour in µs: longer than any timeout times the retries of a sane run.
const LONGEST_LATENCY_US: u64 = 3_600_000_000;
/// Three digits: 0.1 % is below what two runs differ by.
const LATENCY_DIGITS: u8 = 3;
/// Distinct messages kept for the report.
const KEPT_MESSAGES: usize = 10;
/// Batches that are remembered by number as not acknowledged: 24 MB. Beyond it nothing can be compared.
const KEPT_UNSETTLED: usize = 1_000_000;

/// How a batch ended that was not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// A 4xx: the server kept some of its rows or none.
    Refused,
    /// Given up without an answer: its rows may be there.
    Unknown,
    /// Taken, but never put on the wire.
    NotSent,
    /// Sent with MQTT's QoS 0, to which nobody answers: its rows may be there.
    Unconfirmed,
}

/// How many endings there are.
const ENDINGS: usize = 4;

/// Counters of one run, shared by its connections.
#[derive(Debug)]
pub struct Stats {
    acknowledged_batches: AtomicU64,
    acknowledged_rows: AtomicU64,
    acknowledged_bytes: AtomicU64,
    unsettled_rows: [AtomicU64; ENDINGS],
    retries: AtomicU64,
    reconnects: AtomicU64,
    latencies_us: Mutex<Histogram<u64>>,
    /// Those since they were taken last.
    recent_us: Mutex<Histogram<u64>>,
    unsettled: Mutex<Vec<(u64, Ending)>>,
    /// Batches that are not among them for want of room.
    forgotten: AtomicU64,
    messages: Mutex<BTreeMap<String, u64>>,
}

/// Counters at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Batches with 2xx or PUBACK.
    pub batches: u64,
    /// Rows in them.
    pub rows: u64,
    /// Their bytes as sent (compressed, without HTTP or MQTT headers).
    pub bytes: u64,
    /// Rows in batches answered with 4xx.
    pub refused_rows: u64,
    /// Rows in batches given up.
    pub unknown_rows: u64,
    /// Rows in batches taken but not sent.
    pub unsent_rows: u64,
    /// Rows in batches that nobody answers to.
    pub unconfirmed_rows: u64,
    /// Tries after the first one.
    pub retries: u64,
    /// Connections opened again.
    pub reconnects: u64,
}

/// Percentiles in milliseconds.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub struct Latencies {
    /// Half of the batches were acknowledged within this.
    pub p50_ms: f64,
    /// 90 %.
    pub p90_ms: f64,
    /// 99 %.
    pub p99_ms: f64,
    /// 99.9 %.
    pub p999_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

impl Default for Stats {
    fn default() -> Self {
        Self::new()
    }
}

impl Stats {
    /// All zero.
    #[must_use]
    pub fn new() -> Self {
        Self {
            acknowledged_batches: AtomicU64::new(0),
            acknowledged_rows: AtomicU64::new(0),
            acknowledged_bytes: AtomicU64::new(0),
            unsettled_rows: [const { AtomicU64::new(0) }; ENDINGS],
            retries: AtomicU64::new(0),
            reconnects: AtomicU64::new(0),
            latencies_us: Mutex::new(histogram()),
            recent_us: Mutex::new(histogram()),
            unsettled: Mutex::new(Vec::new()),
            forgotten: AtomicU64::new(0),
            messages: Mutex::new(BTreeMap::new()),
        }
    }

    /// The batch was acknowledged `latency` after it was due.
    pub fn acknowledged(&self, batch: &Batch, latency: Duration) {
        self.acknowledged_batches.fetch_add(1, Relaxed);
        self.acknowledged_rows.fetch_add(batch.rows, Relaxed);
        self.acknowledged_bytes.fetch_add(batch.body.len() as u64, Relaxed);
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1);
        lock(&self.latencies_us).saturating_record(micros);
        lock(&self.recent_us).saturating_record(micros);
    }

    /// The batch ended without an acknowledgement.
    pub fn unsettled(&self, batch: &Batch, ending: Ending) {
        if let Some(rows) = self.unsettled_rows.get(ending as usize) {
            rows.fetch_add(batch.rows, Relaxed);
        }
        if ending == Ending::Unconfirmed {
            // So do all that are sent with QoS 0.
            return;
        }
        let mut unsettled = lock(&self.unsettled);
        if unsettled.len() < KEPT_UNSETTLED {
            unsettled.push((batch.number, ending));
        } else {
            self.forgotten.fetch_add(1, Relaxed);
        }
    }

    /// One more try.
    pub fn retried(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    /// So many connections were opened again.
    pub fn reconnected(&self, connections: u64) {
        self.reconnects.fetch_add(connections, Relaxed);
    }

    /// Keeps what the server or network said, once per distinct text.
    pub fn message(&self, text: &str) {
        let mut messages = lock(&self.messages);
        if let Some(count) = messages.get_mut(text) {
            *count += 1;
        } else if messages.len() < KEPT_MESSAGES {
            messages.insert(text.to_owned(), 1);
        }
    }

    /// The counters now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let [refused, unknown, unsent, unconfirmed] = &self.unsettled_rows;
        Counts {
            batches: self.acknowledged_batches.load(Relaxed),
            rows: self.acknowledged_rows.load(Relaxed),
            bytes: self.acknowledged_bytes.load(Relaxed),
            refused_rows: refused.load(Relaxed),
            unknown_rows: unknown.load(Relaxed),
            unsent_rows: unsent.load(Relaxed),
            unconfirmed_rows: unconfirmed.load(Relaxed),
            retries: self.retries.load(Relaxed),
            reconnects: self.reconnects.load(Relaxed),
        }
    }

    /// The latencies so far.
    #[must_use]
    pub fn latencies(&self) -> Latencies {
        Latencies::of(&lock(&self.latencies_us))
    }

    /// The latencies since this was called last.
    #[must_use]
    pub fn take_recent_latencies(&self) -> Latencies {
        let mut recent = lock(&self.recent_us);
        let latencies = Latencies::of(&recent);
        recent.reset();
        latencies
    }

    /// The batches that were not acknowledged, by number, but those that nobody answers to.
    ///
    /// # Errors
    /// [`LoadError::Network`] when they were too many to remember.
    pub fn unsettled_batches(&self) -> Result<BTreeMap<u64, Ending>, LoadError> {
        match self.forgotten.load(Relaxed) {
            0 => Ok(lock(&self.unsettled).iter().copied().collect()),
            more => Err(LoadError::Network(format!(
                "{} batches were not acknowledged: too many to compare without them",
                more + KEPT_UNSETTLED as u64
            ))),
        }
    }

    /// What was said, and how often.
    #[must_use]
    pub fn messages(&self) -> BTreeMap<String, u64> {
        lock(&self.messages).clone()
    }
}

impl Latencies {
    fn of(histogram: &Histogram<u64>) -> Self {
        let millis = |quantile| micros_to_millis(histogram.value_at_quantile(quantile));
        Self {
            p50_ms: millis(0.5),
            p90_ms: millis(0.9),
            p99_ms: millis(0.99),
            p999_ms: millis(0.999),
            max_ms: micros_to_millis(histogram.max()),
        }
    }
}

#[expect(
    clippy::expect_used,
    reason = "the bounds are constants that the histogram accepts; a test makes one"
)]
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_LATENCY_US, LATENCY_DIGITS).expect("valid bounds")
}

#[expect(clippy::cast_precision_loss, reason = "below 2^53 by the histogram's bound")]
fn micros_to_millis(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}

/// Counters stay usable when another thread panicked: they hold no broken state.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
    use super::*;
    use bytes::Bytes;

    #[test]
    fn every_ending_is_counted_in_its_place() {
        let stats = Stats::new();
        let batch = |number| Batch { number, body: Bytes::from_static(b"12345"), rows: 10, due: None };
        stats.acknowledged(&batch(0), Duration::from_millis(20));
        stats.acknowledged(&batch(1), Duration::from_secs(7200));
        stats.unsettled(&batch(2), Ending::Refused);
        stats.unsettled(&batch(3), Ending::Unknown);
        stats.unsettled(&batch(4), Ending::NotSent);
        stats.unsettled(&batch(5), Ending::Unconfirmed);
        stats.message("no");
        stats.message("no");
        let counts = stats.counts();
        assert_eq!((counts.batches, counts.rows, counts.bytes), (2, 20, 10));
        assert_eq!((counts.refused_rows, counts.unknown_rows), (10, 10));
        assert_eq!((counts.unsent_rows, counts.unconfirmed_rows), (10, 10));
        assert!((stats.latencies().p50_ms - 20.0).abs() < 0.1);
        assert!(stats.latencies().max_ms > 3_500_000.0, "cut to the greatest, not dropped");
        let unsettled = stats.unsettled_batches().unwrap();
        assert_eq!(unsettled.keys().copied().collect::<Vec<_>>(), [2, 3, 4], "to 5 nobody answers");
        assert_eq!(stats.messages().get("no"), Some(&2));
        assert!(stats.take_recent_latencies().p50_ms > 0.0);
        assert!(stats.take_recent_latencies().max_ms < 1e-9, "they are taken once");
    }
}
