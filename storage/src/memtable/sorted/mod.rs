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

use std::sync::Arc;

use super::{Chunk, Memtable};
use crate::error::Result;
use crate::model::{TableSchema, TimeRange};
use crate::rows::SortedRows;
use crate::series::{Series, SeriesIndex};

/// Which rows are wanted. It may keep rows that the caller must still filter, never drop a wanted one.
#[derive(Clone, Copy)]
pub struct RowFilter<'a> {
    /// Only rows in this range.
    pub times: TimeRange,
    /// Only rows of series for which this holds; it is asked once per series.
    pub series: &'a dyn Fn(&Series) -> bool,
    /// Asked for the bytes of the wanted rows before they are copied (MEM-1). Its refusal ends the sort.
    pub room: &'a dyn Fn(usize) -> Result<()>,
}

impl RowFilter<'static> {
    /// Keeps every row.
    pub const ALL: Self = Self { times: TimeRange::ALL, series: &|_| true, room: &|_| Ok(()) };
}

/// Sorts the rows of `memtables` (oldest first) that pass `filter`, and lets the last write win.
///
/// # Errors
/// [`Error::Internal`](crate::Error::Internal) when a series is not defined, or there are 4 billion rows;
/// [`Error::Arrow`](crate::Error::Arrow) when columns cannot be gathered; the refusal of [`RowFilter::room`].
pub fn sort_rows<'a>(
    memtables: impl Iterator<Item = &'a Memtable>,
    schema: &TableSchema,
    index: &SeriesIndex,
    filter: RowFilter<'_>,
) -> Result<SortedRows> {
    let chunks: Vec<Arc<Chunk>> = memtables
        .flat_map(Memtable::chunks)
        .filter(|chunk| chunk.times.overlaps(&filter.times))
        .cloned()
        .collect();
    let order = order::order(&chunks, index, filter)?;
    let mut fields = Vec::new();
    for field in &schema.fields {
        fields.extend(scatter::field(&chunks, &order, field)?);
    }
    let (keys, ends, times) = order.into_rows();
    Ok(SortedRows { keys, ends, times, fields })
}
