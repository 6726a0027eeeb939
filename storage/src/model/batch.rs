//! Batches: validated rows as columns, on their way from a source to the log, the memtable and the tap.
//!
//! Invariants: all columns of a [`TableBatch`] have the length of `series`; a row's field is non-null in at
//! most one of the two physical columns of a field; the order of rows is the order of the lines (SEQ-1).

use arrow::array::{Array, ArrayRef};
use arrow::buffer::ScalarBuffer;

use super::{ColumnId, Delete, SeriesId, TableId};

/// One physical column of a [`TableBatch`].
#[derive(Debug, Clone)]
pub struct FieldColumn {
    /// The physical column of the table's schema.
    pub column: ColumnId,
    /// `Float64Array`, `Int64Array`, `UInt64Array`, `BooleanArray` or `StringArray`; null where a row has no
    /// value for it.
    pub values: ArrayRef,
}

/// Rows of one table, as columns.
#[derive(Debug, Clone)]
pub struct TableBatch {
    /// The table.
    pub table: TableId,
    /// The series of each row, as raw [`SeriesId`] numbers.
    pub series: ScalarBuffer<u32>,
    /// The time of each row, in nanoseconds since 1970 UTC.
    pub times: ScalarBuffer<i64>,
    /// The columns that any row has a value for.
    pub fields: Vec<FieldColumn>,
}

impl TableBatch {
    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.series.len()
    }

    /// Bytes that the columns hold in memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let fields: usize = self.fields.iter().map(|f| f.values.get_array_memory_size()).sum();
        self.series.len() * size_of::<SeriesId>() + self.times.len() * size_of::<i64>() + fields
    }
}

/// All rows and deletes of one request: they become durable and visible together.
#[derive(Debug, Clone, Default)]
pub struct WriteBatch {
    /// The rows, by table; a table occurs once.
    pub tables: Vec<TableBatch>,
    /// What is deleted before the rows come; a table occurs once in all of them.
    pub deletes: Vec<Delete>,
}

/// One part of a batch.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// Rows are hidden.
    Delete(&'a Delete),
    /// Rows come.
    Rows(&'a TableBatch),
}

impl WriteBatch {
    /// Rows, and no deletes.
    #[must_use]
    pub fn of(tables: Vec<TableBatch>) -> Self {
        Self { tables, deletes: Vec::new() }
    }

    /// Deletes, and no rows.
    #[must_use]
    pub fn of_deletes(deletes: Vec<Delete>) -> Self {
        Self { tables: Vec::new(), deletes }
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows() == 0 && self.deletes.is_empty()
    }

    /// Its parts in the order in which they count.
    pub fn changes(&self) -> impl Iterator<Item = Change<'_>> {
        self.deletes.iter().map(Change::Delete).chain(self.tables.iter().map(Change::Rows))
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.tables.iter().map(TableBatch::rows).sum()
    }

    /// Bytes that columns and deletes hold in memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let rows: usize = self.tables.iter().map(TableBatch::memory_bytes).sum();
        rows + self.deletes.iter().map(Delete::memory_bytes).sum::<usize>()
    }
}
