//! Which files are merged next.
//!
//! Files of one day stand in the order of their sequences, and only neighbours are merged (SEQ-2).
//!
//! 1. While a day is being filled: at least [`fan_in`](super::CompactionConfig::fan_in) neighbours become one, if the
//!    largest of them does not outweigh the others. So a row is written again only into a file at least twice as
//!    large, and files whose sizes fall or rise by more than that are left, of which there are few.
//! 2. Once it has settled: neighbours are merged up to the target size. A large file is written again only if
//!    what it is merged with is a good part of it, or the day has too many files: a trickle of late rows must not
//!    have a whole day rewritten every hour.
//! 3. When a day has nothing of that to do, a file that holds deleted rows is written again without them, alone
//!    (DEL-1). A merge leaves them out anyway.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::CompactionConfig;
use crate::model::{DataFile, FilePlace, Sequence, TableId};
use crate::tombstone::{Tombstone, Tombstones, last_of};

/// A settled day may keep so many files below the target size.
const FILES_OF_A_SETTLED_DAY: usize = 4;

/// A large file is written again when the others are at least this part of it.
const WORTHWHILE_PART: u64 = 8;

/// Files of one table and day to be merged, oldest first.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) table: TableId,
    pub(super) date: i32,
    pub(super) inputs: Vec<Arc<DataFile>>,
    /// The deletes of the table that are applied.
    pub(super) tombstones: Tombstones,
}

impl Job {
    /// The deletes that may hide rows of an input.
    pub(super) fn tombstones_of(&self, input: &DataFile) -> Tombstones {
        self.tombstones.iter().filter(|tombstone| tombstone.touches(input)).cloned().collect()
    }

    /// The last delete that the output has had applied.
    pub(super) fn deleted_up_to(&self) -> Sequence {
        let before = self.inputs.iter().map(|input| input.deleted_up_to);
        before.fold(last_of(&self.tombstones), Sequence::max)
    }

    /// Whether the output may lack rows that the inputs have.
    pub(super) fn deletes(&self) -> bool {
        self.inputs.iter().any(|input| self.tombstones.iter().any(|tombstone| tombstone.touches(input)))
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// What is due.
    Due,
    /// Everything, as if all days had settled.
    All,
    /// What deletes up to this one hide rows of.
    Deleted(Sequence),
}

/// The next job of a table whose files are `files`, oldest first, and of which `tombstones` hide rows.
pub(super) fn next_job(
    table: TableId,
    files: &[Arc<DataFile>],
    tombstones: &[Arc<Tombstone>],
    now_ms: u64,
    want: Want,
    config: &CompactionConfig,
) -> Option<Job> {
    let mut days: BTreeMap<i32, Vec<&Arc<DataFile>>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.place == FilePlace::Table) {
        days.entry(file.date).or_default().push(file);
    }
    days.into_iter().rev().find_map(|(date, files)| {
        let merged = match want {
            Want::All => all(&files, config),
            Want::Deleted(_) => None,
            Want::Due if is_settled(&files, now_ms, config.settle) => settled(&files, config),
            Want::Due => filling(&files, config),
        };
        let asked = match want {
            Want::Deleted(last) => tombstones.partition_point(|tombstone| tombstone.sequence <= last),
            Want::Due | Want::All => tombstones.len(),
        };
        let asked = tombstones.get(..asked).unwrap_or_default();
        let inputs = merged.or_else(|| touched(&files, asked))?;
        let inputs = inputs.iter().map(|file| Arc::clone(file)).collect();
        Some(Job { table, date, inputs, tombstones: tombstones.to_vec() })
    })
}

type Files<'a> = [&'a Arc<DataFile>];

/// A sequence carries the time of its write.
fn is_settled(files: &Files<'_>, now_ms: u64, settle: Duration) -> bool {
    let newest = files.iter().map(|file| file.sequences.max.unix_millis()).max().unwrap_or_default();
    u128::from(now_ms.saturating_sub(newest)) >= settle.as_millis()
}

/// Enough neighbours of which none outweighs the others; of several choices the one whose largest file is smallest,
/// and of these the longest.
fn filling<'a>(files: &'a Files<'a>, config: &CompactionConfig) -> Option<&'a Files<'a>> {
    let windows = (0..files.len()).flat_map(|start| {
        let rest = files.get(start..).unwrap_or_default();
        let longest = fitting(rest, config);
        (config.fan_in.max(2)..=longest).filter_map(|length| rest.get(..length))
    });
    windows
        .map(|window| (largest(window), window))
        .filter(|(largest, window)| bytes(window) - largest >= *largest)
        .min_by_key(|(largest, window)| (*largest, Reverse(window.len())))
        .map(|(_, window)| window)
}

/// Neighbours that fit into one file of the target size, if it is worthwhile.
fn settled<'a>(files: &'a Files<'a>, config: &CompactionConfig) -> Option<&'a Files<'a>> {
    groups(files, config).find(|group| {
        let largest = largest(group);
        bytes(group) - largest >= largest / WORTHWHILE_PART || files.len() > FILES_OF_A_SETTLED_DAY
    })
}

/// Neighbours that fit into one file of the target size.
fn all<'a>(files: &'a Files<'a>, config: &CompactionConfig) -> Option<&'a Files<'a>> {
    groups(files, config).next()
}

/// The first file that holds deleted rows, alone.
fn touched<'a>(files: &'a Files<'a>, tombstones: &[Arc<Tombstone>]) -> Option<&'a Files<'a>> {
    files
        .chunks(1)
        .find(|file| file.iter().any(|file| tombstones.iter().any(|tombstone| tombstone.touches(file))))
}

/// Groups of at least two neighbours that together do not exceed the target size.
fn groups<'a>(files: &'a Files<'a>, config: &CompactionConfig) -> impl Iterator<Item = &'a Files<'a>> {
    let mut rest = files;
    std::iter::from_fn(move || {
        while rest.len() > 1 {
            let length = fitting(rest, config);
            let (group, others) = rest.split_at(length.clamp(1, rest.len()));
            rest = others;
            if group.len() > 1 {
                return Some(group);
            }
        }
        None
    })
}

/// How many of the first files together do not exceed the target size, nor the number of inputs.
fn fitting(files: &Files<'_>, config: &CompactionConfig) -> usize {
    let mut sum = 0_u64;
    let fits = |file: &&&Arc<DataFile>| {
        sum = sum.saturating_add(file.bytes);
        sum <= config.target_bytes
    };
    files.iter().take(config.inputs_at_once()).take_while(fits).count()
}

fn largest(files: &Files<'_>) -> u64 {
    files.iter().map(|file| file.bytes).max().unwrap_or_default()
}

fn bytes(files: &Files<'_>) -> u64 {
    files.iter().map(|file| file.bytes).sum()
}
