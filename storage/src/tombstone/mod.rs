//! Tombstones: deletes that some source of rows has not had applied.
//!
//! A delete is a record of the log (see [`crate::model::Delete`]). When it becomes visible it seals the memtable of each
//! of its tables, so that every source of rows is as a whole older or newer than it, and stands in the table's view
//! as a tombstone. Whoever reads an older source leaves out what it hides ([`SortedRows::without`]): queries as long as
//! they must, flushes and compactions for good.
//!
//! Invariants (DEL-1):
//! - a tombstone hides rows of lower sequences and no others, before the last write wins between sources;
//! - a file says which delete was applied to it last, and all before that one were; what a compaction makes of files
//!   on both sides of a delete has had it applied;
//! - before its record in the log may be trimmed a tombstone is an object in the table's folder ([`stored`]);
//! - it goes when no source older than it is left that may hold a row of its times and has not had it applied.
//!
//! Between nodes ([`crate::cluster`]): a delete is an object at once, also one that hides nothing of its own node. Another node
//! that *hears* of it seals what it has in memory, and hides of that what is older; so rows that it took between the delete
//! and the hearing may go with them. A file stands as a whole before or after a delete, by its upper end. Its object goes
//! when every node has said that no older row is left on it ([`swept`]).

pub(crate) mod stored;
pub(crate) mod swept;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::buffer::ScalarBuffer;

use crate::error::Result;
use crate::memtable::SealedMemtable;
use crate::model::{DataFile, Delete, Sequence, TableSchema, TagTest, TimeRange};
use crate::rows::SortedRows;
use crate::series::KeyRef;

/// A delete, as one table sees it.
#[derive(Debug)]
pub struct Tombstone {
    /// The sequence of the delete: rows of lower ones are hidden.
    pub sequence: Sequence,
    /// The times of the hidden rows.
    pub times: TimeRange,
    /// What the tags of the hidden rows are.
    pub tags: Vec<TagTest>,
    /// The sequence before which this node had sealed its rows when it heard of another node's delete.
    heard_at: Sequence,
    /// Whether other nodes must hear of it, whatever it hides here.
    is_for_others: bool,
    /// Whether it is an object in the table's folder.
    is_stored: AtomicBool,
}

/// Tombstones of one table, oldest first.
pub type Tombstones = Vec<Arc<Tombstone>>;

impl Tombstone {
    /// The tombstone of a delete that is in the log and nowhere else.
    #[must_use]
    pub fn new(sequence: Sequence, delete: &Delete) -> Self {
        let (times, tags) = (delete.times, delete.tags.clone());
        let is_stored = AtomicBool::new(false);
        Self { sequence, times, tags, heard_at: Sequence::ZERO, is_for_others: false, is_stored }
    }

    /// As it is where nodes share the table, if they do.
    pub(crate) fn for_others(self, is_for_others: bool) -> Self {
        Self { is_for_others, ..self }
    }

    /// As this node hears of it, which has sealed all rows before `heard_at`.
    pub(crate) fn heard_at(&self, heard_at: Sequence) -> Self {
        let (sequence, times, tags) = (self.sequence, self.times, self.tags.clone());
        Self { sequence, times, tags, heard_at, is_for_others: false, is_stored: AtomicBool::new(true) }
    }

    /// Whether it was heard of rather than given here.
    pub(crate) fn is_heard(&self) -> bool {
        self.heard_at > Sequence::ZERO
    }

    /// Whether it is this delete, and not another of the same sequence.
    pub(crate) fn is(&self, other: &Self) -> bool {
        (self.sequence, self.times) == (other.sequence, other.times) && self.tags == other.tags
    }

    /// Whether it must be put before it may go.
    pub(crate) fn is_owed(&self) -> bool {
        self.is_for_others && !self.is_stored()
    }

    /// Whether it may hide rows of a file.
    #[must_use]
    pub fn touches(&self, file: &DataFile) -> bool {
        file.sequences.max < self.sequence
            && file.deleted_up_to < self.sequence
            && file.times.overlaps(&self.times)
    }

    /// Whether it hides every row of a file that it touches.
    #[must_use]
    pub fn covers(&self, file: &DataFile) -> bool {
        self.tags.is_empty() && self.times.covers(&file.times)
    }

    /// Whether it may hide rows of a memtable.
    #[must_use]
    pub fn touches_sealed(&self, sealed: &SealedMemtable) -> bool {
        sealed.sealed_at < self.sequence.max(self.heard_at)
            && sealed.rows.sequences().is_some_and(|sequences| sequences.min < self.sequence)
            && sealed.rows.times().is_some_and(|times| times.overlaps(&self.times))
    }

    /// Whether it hides rows of a series.
    #[must_use]
    pub fn covers_series(&self, schema: &TableSchema, key: KeyRef<'_>) -> bool {
        let value = |tag: &str| schema.tag(tag).and_then(|position| key.tag(position));
        self.tags.iter().all(|test| test.holds(value(&test.tag)))
    }

    fn is_stored(&self) -> bool {
        self.is_stored.load(Ordering::Acquire)
    }
}

/// The last delete of a table that is known: what reads with these tombstones has had all deletes up to it applied.
#[must_use]
pub fn last_of(tombstones: &[Arc<Tombstone>]) -> Sequence {
    tombstones.last().map(|last| last.sequence).unwrap_or_default()
}

impl SortedRows {
    /// The rows that none of `tombstones` hides, all of which are younger than the rows.
    ///
    /// # Errors
    /// [`Error::Arrow`](crate::Error::Arrow) when columns are not as long as the times.
    pub fn without(self, tombstones: &[Arc<Tombstone>], schema: &TableSchema) -> Result<Self> {
        match self.left(tombstones, schema)? {
            Some(left) => self.pick(&left),
            None => Ok(self),
        }
    }

    /// Where the rows stand that none of `tombstones` hides; `None` when they are all.
    pub(crate) fn left(
        &self,
        tombstones: &[Arc<Tombstone>],
        schema: &TableSchema,
    ) -> Result<Option<ScalarBuffer<u32>>> {
        if tombstones.is_empty() {
            return Ok(None);
        }
        self.positions(|key, times| {
            let covering = tombstones.iter().filter(|tombstone| tombstone.covers_series(schema, key));
            let mut kept: Vec<_> = std::iter::once(0..times.len()).collect();
            for tombstone in covering {
                let from = times.partition_point(|time| *time < tombstone.times.min.nanos());
                let to = from.max(times.partition_point(|time| *time <= tombstone.times.max.nanos()));
                let cut =
                    |range: Range<usize>| [range.start..range.end.min(from), range.start.max(to)..range.end];
                kept = kept.into_iter().flat_map(cut).filter(|range| !range.is_empty()).collect();
            }
            kept
        })
    }
}
