//! A run second by second.

use crate::clock;
use crate::report::{Counts, Stats};
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const EVERY: Duration = Duration::from_secs(1);

/// What happened within about a second.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Second {
    /// Its end, in seconds from the start of the run.
    pub at: f64,
    /// How long it was.
    pub seconds: f64,
    /// Rows that were acknowledged.
    pub rows: u64,
    /// Rows sent with QoS 0, to which nobody answers.
    pub unconfirmed_rows: u64,
    /// Tries after the first.
    pub retries: u64,
    /// Rows that were refused or given up.
    pub failed_rows: u64,
    /// Half of the batches that were acknowledged took this long at most; 0 if there were none.
    pub p50_ms: f64,
    /// 99 % of them.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

/// Notes what happens until it is finished.
#[derive(Debug)]
pub struct Timeline {
    notes: Arc<Mutex<Notes>>,
    stats: Arc<Stats>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Notes {
    started: Instant,
    last: (Instant, Counts),
    seconds: Vec<Second>,
}

impl Timeline {
    /// The run starts now.
    #[must_use]
    pub fn start(stats: Arc<Stats>) -> Self {
        let started = clock::now();
        let notes = Notes { started, last: (started, stats.counts()), seconds: Vec::new() };
        let notes = Arc::new(Mutex::new(notes));
        let (noted, counted) = (notes.clone(), stats.clone());
        let task = tokio::spawn(async move {
            for number in 1_u32.. {
                clock::sleep_until(started + EVERY * number).await;
                noted.lock().unwrap_or_else(PoisonError::into_inner).add(&counted);
            }
        });
        Self { notes, stats, task }
    }

    /// All seconds; the last has taken in what was left of the run, if that was less than half of one.
    #[must_use]
    pub fn finish(self) -> Vec<Second> {
        self.task.abort();
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.add(&self.stats);
        let mut seconds = std::mem::take(&mut notes.seconds);
        if let Some(rest) = seconds.pop_if(|rest| rest.seconds < EVERY.as_secs_f64() / 2.0) {
            match seconds.last_mut() {
                Some(last) => last.take_in(&rest),
                None => seconds.push(rest),
            }
        }
        seconds
    }
}

impl Second {
    /// A rate of so short a time says nothing, and its median neither.
    fn take_in(&mut self, rest: &Self) {
        self.at = rest.at;
        self.seconds += rest.seconds;
        self.rows += rest.rows;
        self.unconfirmed_rows += rest.unconfirmed_rows;
        self.retries += rest.retries;
        self.failed_rows += rest.failed_rows;
        self.max_ms = self.max_ms.max(rest.max_ms);
    }
}

impl Notes {
    fn add(&mut self, stats: &Stats) {
        let (now, counts, latencies) = (clock::now(), stats.counts(), stats.take_recent_latencies());
        let (before, last) = std::mem::replace(&mut self.last, (now, counts));
        let failed = |counts: &Counts| counts.refused_rows + counts.unknown_rows;
        self.seconds.push(Second {
            at: now.duration_since(self.started).as_secs_f64(),
            seconds: now.duration_since(before).as_secs_f64(),
            rows: counts.rows - last.rows,
            unconfirmed_rows: counts.unconfirmed_rows - last.unconfirmed_rows,
            retries: counts.retries - last.retries,
            failed_rows: failed(&counts) - failed(&last),
            p50_ms: latencies.p50_ms,
            p99_ms: latencies.p99_ms,
            max_ms: latencies.max_ms,
        });
    }
}
