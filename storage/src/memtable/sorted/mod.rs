//! Sorts the rows of memtables by series and time and lets the last write win.
//!
//! 1. The rows of each series are counted; the series are ordered by their keys, which gives each its place.
//! 2. Each row gets its *place* in the result, by series and in order of arrival: a counting sort ([`order`]).
//! 3. Where the times of a series do not ascend, its rows change places; rows of equal times get the same one.
//! 4. Values are put at their places in order of arrival ([`scatter`]), so of several the last one stays. That is
//!    per *field*: a value also clears the other physical column of its field.
//!
//! The usual memtable, in which each series ascends, is never compared row by row.

mod order;
mod scatter;
mod slots;

use std::collections::BTreeSet;
use std::sync::Arc;

use self::order::Places;
use self::slots::PagePool;
use super::{Chunk, Memtable};
use crate::error::Result;
use crate::model::{ColumnId, FieldColumn, FieldSchema, TableSchema, TimeRange};
use crate::rows::SortedRows;
use crate::series::{KeyRef, SeriesIndex};
use crate::tombstone::Tombstone;

/// Which rows are wanted. It may keep rows that the caller must still filter, never drop a wanted one.
#[derive(Clone, Copy)]
pub struct RowFilter<'a> {
    /// Only rows in this range.
    pub times: TimeRange,
    /// Only rows of series for which this holds; it is asked once per series.
    pub series: &'a dyn Fn(KeyRef<'_>) -> bool,
    /// Asked for the bytes of the wanted rows before they are copied (MEM-1). Its refusal ends the sort.
    pub room: &'a dyn Fn(usize) -> Result<()>,
}

impl RowFilter<'static> {
    /// Keeps every row.
    pub const ALL: Self = Self { times: TimeRange::ALL, series: &|_| true, room: &|_| Ok(()) };
}

/// Rows of memtables whose order is known, and whose fields are put into it one by one: whoever needs one after the
/// other never has the memory of all.
#[derive(Debug)]
pub struct OrderedRows {
    chunks: Vec<Arc<Chunk>>,
    /// Without fields.
    rows: SortedRows,
    places: Places,
    /// Has the pages of a column that is not needed any more, for the next one.
    pool: PagePool,
}

impl OrderedRows {
    /// Those rows of `memtables` (oldest first) that pass `filter`.
    ///
    /// # Errors
    /// [`Error::Internal`](crate::Error::Internal) when a series is not defined, or there are 4 billion rows; the
    /// refusal of [`RowFilter::room`].
    pub fn of<'a>(
        memtables: impl Iterator<Item = &'a Memtable>,
        index: &SeriesIndex,
        filter: RowFilter<'_>,
    ) -> Result<Self> {
        let chunks: Vec<Arc<Chunk>> = memtables
            .flat_map(Memtable::chunks)
            .filter(|chunk| chunk.times.overlaps(&filter.times))
            .cloned()
            .collect();
        let (rows, places) = order::order(&chunks, index, filter)?;
        Ok(Self { chunks, rows, places, pool: PagePool::default() })
    }

    /// Those that none of `tombstones` hides, all of which are younger than the rows.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`](crate::Error::LimitExceeded) when there are 4 billion rows.
    pub fn without(mut self, tombstones: &[Arc<Tombstone>], schema: &TableSchema) -> Result<Self> {
        if let Some(left) = self.rows.left(tombstones, schema)? {
            self.rows = self.rows.pick(&left)?;
            self.places.keep(&left);
        }
        Ok(self)
    }

    /// The series and the times, without fields.
    #[must_use]
    pub fn rows(&self) -> &SortedRows {
        &self.rows
    }

    /// The physical columns that some row may have a value for, in order of their ids.
    #[must_use]
    pub fn columns(&self) -> Vec<ColumnId> {
        let fields = self.chunks.iter().flat_map(|chunk| &chunk.batch.fields);
        let present = fields.filter(|field| field.values.null_count() < field.values.len());
        let columns: BTreeSet<ColumnId> = present.map(|field| field.column).collect();
        columns.into_iter().collect()
    }

    /// The physical columns of a field that any row has a value for.
    ///
    /// # Errors
    /// [`Error::Internal`](crate::Error::Internal) when a column is not of its type;
    /// [`Error::Arrow`](crate::Error::Arrow) when values cannot be gathered.
    pub fn field(&self, field: &FieldSchema) -> Result<Vec<FieldColumn>> {
        scatter::field(&self.chunks, &self.places, &self.pool, field)
    }

    /// All of them, with the fields of `schema`.
    ///
    /// # Errors
    /// Those of [`field`](Self::field).
    pub fn into_rows(mut self, schema: &TableSchema) -> Result<SortedRows> {
        for field in &schema.fields {
            // Each stays for as long as somebody has it: then its pages are for nobody.
            let columns = scatter::field(&self.chunks, &self.places, &PagePool::default(), field)?;
            self.rows.fields.extend(columns);
        }
        Ok(self.rows)
    }
}
