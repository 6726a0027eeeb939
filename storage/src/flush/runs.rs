//! Runs: what becomes of memtables whose rows fall on many partitions, few on each.
//!
//! A backfill that comes series by series spreads each memtable over years. As one file per partition it would be
//! thousands of files of some kilobytes with every flush, each synced, put, committed and merged again. So it is staged as
//! a *run*, whose files span many partitions each; runs of a table are gathered until they are worth it, and then
//! merged into one file per partition ([`super::gather`]).
//!
//! Invariant: spans are stretches of the calendar that hold whole partitions, the same for every run of a table.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::StagedSet;
use crate::clock;
use crate::engine::Shared;
use crate::layout;
use crate::model::{Partition, TimeRange, Timestamp};
use crate::rows::SortedRows;

/// So many runs are gathered at most: a batch of rows of each is in memory when they are merged.
pub(super) const MAX_RUNS: usize = 64;

/// Which memtables become runs, and how long these are gathered.
#[derive(Debug, Clone)]
pub struct RunsConfig {
    /// Only a memtable with rows in so many partitions becomes a run. Below it, the files are few anyway.
    pub min_partitions: usize,
    /// And only if it has fewer bytes than this for each of them: some ten thousand rows, with which a file is worth
    /// its syncs and its commit.
    pub partition_bytes: usize,
    /// Runs are gathered until the oldest has waited for so long, or the log has become long: until then other readers of the table do not see its rows.
    pub age: Duration,
}

impl Default for RunsConfig {
    fn default() -> Self {
        Self { min_partitions: 32, partition_bytes: 1 << 20, age: Duration::from_secs(3_600) }
    }
}

/// Whether rows of so many partitions and bytes are better staged as a run.
pub(super) fn is_spread(config: &RunsConfig, partitions: usize, bytes: usize) -> bool {
    partitions >= config.min_partitions && bytes / partitions.max(1) < config.partition_bytes
}

/// The runs with which the sets of a table that wait begin, in the order of their seals.
#[derive(Debug, Default)]
pub(super) struct Runs {
    pub(super) sets: Vec<Arc<StagedSet>>,
    /// Whether a set that could go to the table at once waits behind them.
    pub(super) are_waited_for: bool,
}

impl Runs {
    /// Whether they are to be merged now.
    pub(super) fn are_due(&self, shared: &Shared) -> bool {
        let config = &shared.config.runs;
        let Some(first) = self.sets.first() else { return false };
        let waited = clock::now().unix_millis().saturating_sub(first.sealed_at.unix_millis());
        self.are_waited_for
            || self.sets.len() >= MAX_RUNS
            || u128::from(waited) >= config.age.as_millis()
            || shared.log_must_go()
    }
}

/// The stretches of time that the files of a set are cut at. A stretch is named by its first day.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretches {
    unit: Partition,
    are_spans: bool,
}

impl Stretches {
    /// Each partition of a table with these.
    pub(super) fn partitions(unit: Partition) -> Self {
        Self { unit, are_spans: false }
    }

    /// Each span of a table with these partitions.
    pub(super) fn spans(unit: Partition) -> Self {
        Self { unit, are_spans: true }
    }

    /// The times of a stretch.
    pub(super) fn times(self, date: i32) -> TimeRange {
        if self.are_spans {
            layout::span_times(self.unit, date)
        } else {
            layout::partition_times(self.unit, date)
        }
    }

    /// The stretches in which there are rows.
    pub(super) fn of(self, rows: &SortedRows) -> BTreeSet<i32> {
        let mut dates = BTreeSet::new();
        // Series mostly have the stretch of the one before.
        let mut current: Option<TimeRange> = None;
        for (_, run) in rows.runs() {
            let mut times = rows.times.get(run).unwrap_or_default();
            while let Some(first) = times.first().map(|time| Timestamp::from_nanos(*time)) {
                let stretch = current.filter(|stretch| stretch.contains(first)).unwrap_or_else(|| {
                    let date = self.date(first);
                    dates.insert(date);
                    self.times(date)
                });
                current = Some(stretch);
                let end = stretch.max.nanos();
                let inside = if times.last().is_some_and(|last| *last <= end) {
                    times.len()
                } else {
                    times.partition_point(|time| *time <= end)
                };
                times = times.get(inside.max(1)..).unwrap_or_default();
            }
        }
        dates
    }

    fn date(self, time: Timestamp) -> i32 {
        if self.are_spans { layout::span_of(self.unit, time) } else { layout::partition_of(self.unit, time) }
    }
}
