//! Which rows in memory may be the last ones of their series. Usually that is one of many, and to find it first costs one
//! comparison for a row instead of one for each of its fields.
//!
//! Invariants:
//! - Only rows of batches that have the same columns, with a value in each place, make each other old: else an older row
//!   may have the last value of a field that the newer one lacks.
//! - A batch that was folded takes a series to a state that its rows have brought about, or leaves it where it was. So
//!   batches are folded in the order in which they were written, never from the newest on: who reads in between would
//!   see a row come after a newer one.

use arrow::array::Array;

use super::values::row_number;
use crate::error::Result;
use crate::model::TableBatch;
use crate::series::ById;

/// Batches, which are in the order in which they were written, each with its rows that no other one of its series
/// replaces. A batch of which no row is left is left out.
///
/// # Errors
/// [`Error::LimitExceeded`](crate::Error::LimitExceeded) at four billion rows of a batch.
pub(super) fn newest_rows<'a>(batches: &[&'a TableBatch]) -> Result<Vec<(&'a TableBatch, Vec<u32>)>> {
    let mut newest = Newest(ById::of(batches.iter().copied()));
    let mut found = Vec::with_capacity(batches.len());
    for run in batches.chunk_by(|one, next| is_whole(one) && is_whole(next) && have_same_columns(one, next)) {
        let rows = newest.of(run)?;
        found.extend(run.iter().copied().zip(rows).filter(|(_, rows)| !rows.is_empty()));
    }
    Ok(found)
}

/// Whether each row has a value of each column.
pub(super) fn is_whole(batch: &TableBatch) -> bool {
    batch.fields.iter().all(|field| field.values.null_count() == 0)
}

fn have_same_columns(one: &TableBatch, other: &TableBatch) -> bool {
    one.fields.iter().map(|field| field.column).eq(other.fields.iter().map(|field| field.column))
}

/// By series how far the newest row that was met is from the first time there is; 0 also where none was met.
struct Newest(ById<u64>);

impl Newest {
    /// For each of some batches its rows that no other one of their series replaces: those with the greatest time, of
    /// equal times the last. Of rows at the first time there is, more may be among them.
    fn of(&mut self, batches: &[&TableBatch]) -> Result<Vec<Vec<u32>>> {
        let mut found = Vec::with_capacity(batches.len());
        // From the last row on, so that of equal times the first one that is met counts.
        for batch in batches.iter().rev() {
            let mut rows = Vec::new();
            for (row, (series, time)) in batch.series.iter().zip(batch.times.iter()).enumerate().rev() {
                let newness = time.abs_diff(i64::MIN);
                let newest = self.0.get_mut(*series);
                if newness > *newest || *newest == 0 {
                    *newest = newness;
                    rows.push(row_number(row)?);
                }
            }
            rows.reverse();
            found.push(rows);
        }
        found.reverse();
        // Each that was found is newer than those after it, so the first of a series is its newest. That also makes the
        // notes as they were.
        for (batch, rows) in batches.iter().zip(&mut found) {
            rows.retain(|row| {
                let row = *row as usize;
                let Some((series, time)) = batch.series.get(row).zip(batch.times.get(row)) else {
                    return false;
                };
                std::mem::take(self.0.get_mut(*series)) != 0 || *time == i64::MIN
            });
        }
        Ok(found)
    }
}

#[cfg(test)]
#[path = "newest/tests.rs"]
mod tests;
