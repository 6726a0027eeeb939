//! The memtable: the rows of one table that are durable in the log and not yet in a file.
//!
//! It is a list of immutable chunks, each a [`TableBatch`] with the sequence of its write. Appending adds a
//! pointer; many small chunks are merged into larger ones (a merge of equals, so each row is copied a number
//! of times that grows with the logarithm of the rows). Readers clone the list of pointers.
//!
//! Invariants: chunks are in order of their sequence, and rows within a chunk in order of their lines, so the
//! later of two equal points is always the one that stands later (SEQ-1).

mod merge;
mod sorted;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::model::{Sequence, SequenceRange, TableBatch, TimeRange};
use crate::series::SeriesPin;

pub use sorted::{OrderedRows, RowFilter};

/// Chunks with fewer rows than this are merged with their neighbours: below it, a chunk's overhead (a few
/// hundred bytes and an array per column) is a noticeable part of its size.
const SMALL_CHUNK_ROWS: usize = 16_384;

/// So many chunks of one size class stand side by side before they are merged.
const MERGE_FAN_IN: usize = 8;

/// Rows of one table in memory.
#[derive(Debug, Clone, Default)]
pub struct Memtable {
    chunks: Vec<Arc<Chunk>>,
    rows: usize,
    bytes: usize,
    /// Keeps the series of all rows (KEY-2).
    pin: Option<SeriesPin>,
}

/// Rows that became durable together, or a merge of such.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// The rows, in commit order.
    pub batch: TableBatch,
    /// The sequences of the rows.
    pub sequences: SequenceRange,
    /// The times of the rows.
    pub times: TimeRange,
}

/// A memtable that takes no more rows.
#[derive(Debug)]
pub struct SealedMemtable {
    /// Its rows.
    pub rows: Arc<Memtable>,
    /// The sequence at which it was sealed: it holds every row of its table up to here that no file holds.
    pub sealed_at: Sequence,
}

impl Memtable {
    /// Number of rows, before last-write-wins.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes that the rows held in memory when they came. Merging chunks may save some of them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The chunks in commit order.
    #[must_use]
    pub fn chunks(&self) -> &[Arc<Chunk>] {
        &self.chunks
    }

    /// The times of the rows; `None` when there are none.
    #[must_use]
    pub fn times(&self) -> Option<TimeRange> {
        self.chunks.iter().map(|c| c.times).reduce(TimeRange::union)
    }

    /// The sequences of the rows; `None` when there are none.
    #[must_use]
    pub fn sequences(&self) -> Option<SequenceRange> {
        let (first, last) = (self.chunks.first()?, self.chunks.last()?);
        Some(SequenceRange { min: first.sequences.min, max: last.sequences.max })
    }

    /// Adds the rows of one batch at `sequence`, which is above every earlier one. `pin` keeps their series.
    pub(crate) fn append(&mut self, sequence: Sequence, batch: &TableBatch, pin: Option<&SeriesPin>) {
        let Some(times) = TimeRange::of(&batch.times) else { return };
        let sequences = SequenceRange { min: sequence, max: sequence };
        self.rows += batch.rows();
        self.bytes += batch.memory_bytes();
        if let Some(pin) = pin
            && self.pin.as_ref().is_none_or(|own| pin < own)
        {
            self.pin = Some(pin.clone());
        }
        self.chunks.push(Arc::new(Chunk { batch: batch.clone(), sequences, times }));
        self.merge_small_chunks();
    }

    /// Merges the last chunks while there are [`MERGE_FAN_IN`] of about one size.
    fn merge_small_chunks(&mut self) {
        while let Some(start) = self.mergeable_tail() {
            let tail = self.chunks.split_off(start);
            match merge::concat(&tail) {
                Ok(merged) => self.chunks.push(Arc::new(merged)),
                // Merging saves overhead and is never needed: keep the chunks as they were.
                Err(error) => {
                    tracing::error!(%error, "small chunks of a memtable could not be merged");
                    self.chunks.extend(tail);
                    return;
                }
            }
        }
    }

    /// Where the run of small chunks of the last chunk's size class begins, if the run is long enough.
    fn mergeable_tail(&self) -> Option<usize> {
        let start = self.chunks.len().checked_sub(MERGE_FAN_IN)?;
        let tail = self.chunks.get(start..)?;
        let class = size_class(tail.last()?.batch.rows());
        let mergeable = |c: &Arc<Chunk>| {
            let rows = c.batch.rows();
            rows < SMALL_CHUNK_ROWS && size_class(rows) <= class
        };
        (tail.iter().all(mergeable) && is_dense(tail)).then_some(start)
    }
}

/// Whether at least half of the cells of the chunks, merged, would be of columns that their rows came with. The rest
/// are nulls that take as much as values: a table may have hundreds of fields of which each request has a few, and
/// what was counted when the rows came must bound what they take (MEM-1).
fn is_dense(chunks: &[Arc<Chunk>]) -> bool {
    let rows: usize = chunks.iter().map(|chunk| chunk.batch.rows()).sum();
    let cells: usize = chunks.iter().map(|chunk| chunk.batch.rows() * chunk.batch.fields.len()).sum();
    merge::columns(chunks).len() * rows <= 2 * cells
}

/// Size classes are powers of the fan-in, so that a merge makes a chunk of the next class.
fn size_class(rows: usize) -> u32 {
    rows.max(1).ilog(MERGE_FAN_IN)
}
