//! Counters and gauges of alerting, for the composition root to expose.
//!
//! Invariant: counters only rise; reading them stops nobody, so two of them may be a moment apart.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! metrics {
    ($(#[doc = $help:literal] $name:ident,)*) => {
        /// The live counters.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $(#[doc = $help] pub(crate) $name: Metric,)*
        }

        /// The counters at one moment.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct MetricsSnapshot {
            $(#[doc = $help] pub $name: u64,)*
        }

        impl Metrics {
            /// Reads every counter.
            #[must_use]
            pub fn snapshot(&self) -> MetricsSnapshot {
                MetricsSnapshot { $($name: self.$name.get(),)* }
            }
        }

        impl MetricsSnapshot {
            /// Name, meaning and value of each. The meaning of those that may fall begins with `Gauge:`.
            #[must_use]
            pub fn entries(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), $help.trim_ascii(), self.$name),)*]
            }
        }
    };
}

metrics! {
    /// Groups applied, replayed ones too.
    groups,
    /// Rows looked at.
    rows,
    /// Samples that passed the guard and stepped a rule's state.
    samples_evaluated,
    /// Samples that were not newer than their subject's newest.
    samples_late,
    /// Samples further ahead of their arrival than the allowed skew.
    samples_ahead,
    /// Values of watched fields that are not numbers.
    samples_not_numeric,
    /// Series that found no room among the watched ones.
    series_unwatched,
    /// Transitions to firing that were recorded.
    fired,
    /// Transitions to resolved that were recorded.
    resolved,
    /// Transitions that were recorded before, met again in replay or by a repeated sample.
    repeated,
    /// Times that the tap cut the rules off.
    cut_offs,
    /// Times that the log was not kept for the rules any longer, because they hung.
    gaps,
    /// Frames of the log that they have missed so, at most.
    gap_frames,
    /// Failed attempts to read the log.
    log_errors,
    /// Failed attempts to write a stream.
    stream_errors,
    /// Snapshots written.
    snapshots,
    /// Gauge: the log frame that was applied last.
    position,
    /// Gauge: alerts that fire now.
    firing,
    /// Gauge: watched (rule, series) pairs.
    slots,
    /// Gauge: 1 while transitions wait for a stream that takes no records, or the log cannot be read.
    stuck,
    /// Requests to webhooks.
    webhook_requests,
    /// Requests that will be repeated.
    webhook_retries,
    /// Deliveries that a receiver took.
    delivered,
    /// Deliveries given up.
    dead,
    /// Gauge: deliveries not settled.
    undelivered,
}

/// One counter or gauge.
#[derive(Debug, Default)]
pub(crate) struct Metric(AtomicU64);

impl Metric {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
