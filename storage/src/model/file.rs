//! What is known of a data file without opening it.

use object_store::path::Path;

use super::{Sequence, TimeRange};

/// Where a data file lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FilePlace {
    /// Staged on the local disk, fsynced, not yet part of the Delta table.
    Staged,
    /// In the table's folder of the object store, committed to its Delta log.
    Table,
}

/// The sequences whose rows a file holds (SEQ-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SequenceRange {
    /// The lowest.
    pub min: Sequence,
    /// The highest: of two files that hold the same point, the one with the greater upper end wins.
    pub max: Sequence,
}

impl SequenceRange {
    /// The smallest range that holds both.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

/// One Parquet file of a table. Its rows are sorted by all tags in schema order (ascending by bytes, missing
/// last) and then by time, and each point stands in it once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFile {
    /// Where it lies.
    pub place: FilePlace,
    /// Its path within that place's object store.
    pub path: Path,
    /// Its partition: the first day of it, in days since 1970-01-01 UTC. Of a staged file that spans several: the first day
    /// of the month or year.
    pub date: i32,
    /// Number of rows.
    pub rows: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// CRC-32C of the whole file.
    pub checksum: u32,
    /// The times of its rows.
    pub times: TimeRange,
    /// The sequences of its rows.
    pub sequences: SequenceRange,
    /// The last delete that was applied to its rows: what an earlier or this one hides is not in it (DEL-1). Zero when
    /// none was.
    pub deleted_up_to: Sequence,
    /// Per-column statistics as Delta Lake's `stats` JSON.
    pub stats: String,
}
