//! Sorts the rows of memtables by series and time and lets the last write win.
//!
//! 1. The series that occur get a *rank*: their order by all tags in schema order, bytes ascending, missing last.
//! 2. Each row becomes a [`RowRef`]; they are sorted by (rank, time, arrival).
//! 3. Rows with equal (rank, time) are one point. Per *field* the last row with a value wins, and gives both
//!    physical columns of the field, since writing one clears the other.
//! 4. The columns are gathered.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, new_null_array};
use arrow::compute::interleave;
use hashbrown::HashMap;

use super::{Chunk, Memtable};
use crate::error::{Error, Result};
use crate::model::{FieldColumn, FieldSchema, TableSchema, TimeRange};
use crate::rows::SortedRows;
use crate::series::{Series, SeriesIndex};

/// Which rows are wanted. It may keep rows that the caller must still filter, never drop a wanted one.
#[derive(Clone, Copy)]
pub struct RowFilter<'a> {
    /// Only rows in this range.
    pub times: TimeRange,
    /// Only rows of series for which this holds; it is asked once per series.
    pub series: &'a dyn Fn(&Series) -> bool,
}

impl RowFilter<'static> {
    /// Keeps every row.
    pub const ALL: Self = Self { times: TimeRange::ALL, series: &|_| true };
}

/// A row of one of the chunks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct RowRef {
    rank: u32,
    time: i64,
    chunk: u32,
    row: u32,
}

/// Sorts the rows of `memtables` (oldest first) that pass `filter`, and lets the last write win.
///
/// # Errors
/// [`Error::Internal`] when a series is not defined; [`Error::Arrow`] when columns cannot be gathered.
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
    let (series, rank_of) = rank_series(&chunks, index, filter)?;
    let mut rows = collect_rows(&chunks, &rank_of, filter.times);
    rows.sort_unstable();
    let points = Points::of(&rows);
    let mut fields = Vec::new();
    for field in &schema.fields {
        fields.extend(gather_field(&chunks, &rows, &points, field)?);
    }
    let (mut keys, mut ends) = (Vec::new(), Vec::new());
    let mut times = Vec::with_capacity(points.len());
    let mut last = None;
    for point in (0..points.len()).filter_map(|p| points.rows(&rows, p).first()) {
        if last != Some(point.rank) {
            last = Some(point.rank);
            keys.extend(series.get(point.rank as usize).map(|s| s.key().clone()));
            ends.push(0);
        }
        times.push(point.time);
        if let Some(end) = ends.last_mut() {
            *end = u32::try_from(times.len())
                .map_err(|_| Error::Internal("a memtable beyond 2^32 rows".into()))?;
        }
    }
    Ok(SortedRows { keys, ends, times: times.into(), fields })
}

/// The wanted series in order, and the rank of each by its id.
type Ranking = (Vec<Arc<Series>>, HashMap<u32, u32>);

fn rank_series(chunks: &[Arc<Chunk>], index: &SeriesIndex, filter: RowFilter<'_>) -> Result<Ranking> {
    let mut ids: Vec<u32> = Vec::new();
    for chunk in chunks {
        let mut of_chunk = chunk.batch.series.to_vec();
        of_chunk.dedup();
        ids.extend(of_chunk);
    }
    ids.sort_unstable();
    ids.dedup();
    let mut series = index.get_all(&ids)?;
    series.retain(|s| (filter.series)(s));
    series.sort_unstable_by(|a, b| a.key().cmp(b.key()));
    let ranks = (0..).zip(&series).map(|(rank, s)| (s.id.get(), rank)).collect();
    Ok((series, ranks))
}

fn collect_rows(chunks: &[Arc<Chunk>], rank_of: &HashMap<u32, u32>, times: TimeRange) -> Vec<RowRef> {
    let mut rows = Vec::with_capacity(chunks.iter().map(|c| c.batch.rows()).sum());
    for (chunk, number) in chunks.iter().zip(0..) {
        let (min, max) = (times.min.nanos(), times.max.nanos());
        for ((&series, &time), row) in chunk.batch.series.iter().zip(chunk.batch.times.iter()).zip(0..) {
            if time < min || time > max {
                continue;
            }
            if let Some(&rank) = rank_of.get(&series) {
                rows.push(RowRef { rank, time, chunk: number, row });
            }
        }
    }
    rows
}

/// Where each point begins in the sorted rows.
struct Points {
    starts: Vec<usize>,
    total: usize,
}

impl Points {
    fn of(rows: &[RowRef]) -> Self {
        let mut starts = Vec::with_capacity(rows.len());
        let mut last = None;
        for (position, row) in rows.iter().enumerate() {
            let point = Some((row.rank, row.time));
            if point != last {
                starts.push(position);
                last = point;
            }
        }
        Self { starts, total: rows.len() }
    }

    fn len(&self) -> usize {
        self.starts.len()
    }

    /// The rows of one point, in order of arrival.
    fn rows<'a>(&self, rows: &'a [RowRef], point: usize) -> &'a [RowRef] {
        let start = self.starts.get(point).copied().unwrap_or(self.total);
        let end = self.starts.get(point + 1).copied().unwrap_or(self.total);
        rows.get(start..end).unwrap_or_default()
    }
}

/// The physical columns of one field, as far as any point has a value.
fn gather_field(
    chunks: &[Arc<Chunk>],
    rows: &[RowRef],
    points: &Points,
    field: &FieldSchema,
) -> Result<Vec<FieldColumn>> {
    let columns: Vec<Vec<Option<&ArrayRef>>> = field
        .columns()
        .map(|column| {
            let find = |c: &Arc<Chunk>| c.batch.fields.iter().position(|f| f.column == column.id);
            chunks.iter().map(|c| find(c).and_then(|i| c.batch.fields.get(i)).map(|f| &f.values)).collect()
        })
        .collect();
    let value_in = |arrays: &[Option<&ArrayRef>], row: &RowRef| {
        let array = arrays.get(row.chunk as usize).copied().flatten();
        array.is_some_and(|values| values.is_valid(row.row as usize))
    };
    // Per point: which physical column holds its value, and in which row.
    let winners: Vec<Option<(usize, RowRef)>> = (0..points.len())
        .map(|point| {
            points.rows(rows, point).iter().rev().find_map(|row| {
                columns.iter().position(|arrays| value_in(arrays, row)).map(|column| (column, *row))
            })
        })
        .collect();
    let mut gathered = Vec::new();
    for (number, (column, arrays)) in field.columns().zip(&columns).enumerate() {
        if winners.iter().flatten().any(|(winner, _)| *winner == number) {
            let values = gather(arrays, &winners, number)?;
            gathered.push(FieldColumn { column: column.id, values });
        }
    }
    Ok(gathered)
}

/// The values of the points whose winner stands in column `number`, null elsewhere.
fn gather(
    arrays: &[Option<&ArrayRef>],
    winners: &[Option<(usize, RowRef)>],
    number: usize,
) -> Result<ArrayRef> {
    let data_type = arrays.iter().copied().flatten().next().map(|a| a.data_type().clone());
    let data_type = data_type.ok_or_else(|| Error::Internal("a winning column has no array".into()))?;
    // Source 0 is one null; source n + 1 is the array of chunk n, or again the null where it has none.
    let null = new_null_array(&data_type, 1);
    let mut sources: Vec<&dyn Array> = vec![null.as_ref()];
    sources.extend(arrays.iter().map(|array| array.map_or(null.as_ref(), |a| a.as_ref())));
    let indices: Vec<(usize, usize)> = winners
        .iter()
        .map(|winner| match winner {
            Some((column, row)) if *column == number => (row.chunk as usize + 1, row.row as usize),
            _ => (0, 0),
        })
        .collect();
    Ok(interleave(&sources, &indices)?)
}
