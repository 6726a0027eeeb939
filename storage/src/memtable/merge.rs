//! Concatenates chunks into one, keeping their order.

use std::sync::Arc;

use arrow::array::{ArrayRef, new_null_array};
use arrow::buffer::ScalarBuffer;
use arrow::compute::concat as concat_arrays;

use super::Chunk;
use crate::error::{Error, Result};
use crate::model::{ColumnId, FieldColumn, SequenceRange, TableBatch, TimeRange};

/// One chunk with the rows of all `chunks`, in their order. All must be of one table.
pub(super) fn concat(chunks: &[Arc<Chunk>]) -> Result<Chunk> {
    let (Some(first), Some(last)) = (chunks.first(), chunks.last()) else {
        return Err(Error::Internal("nothing to merge".into()));
    };
    let rows = chunks.iter().map(|c| c.batch.rows()).sum();
    let mut series = Vec::with_capacity(rows);
    let mut times = Vec::with_capacity(rows);
    for chunk in chunks {
        series.extend_from_slice(&chunk.batch.series);
        times.extend_from_slice(&chunk.batch.times);
    }
    let mut fields = Vec::new();
    for column in columns(chunks) {
        fields.push(FieldColumn { column, values: concat_column(chunks, column)? });
    }
    let batch = TableBatch {
        table: first.batch.table,
        series: ScalarBuffer::from(series),
        times: ScalarBuffer::from(times),
        fields,
    };
    Ok(Chunk {
        batch,
        sequences: SequenceRange { min: first.sequences.min, max: last.sequences.max },
        times: chunks.iter().map(|c| c.times).reduce(TimeRange::union).unwrap_or(first.times),
    })
}

/// The physical columns that any chunk has, in order of their ids.
pub(super) fn columns(chunks: &[Arc<Chunk>]) -> Vec<ColumnId> {
    let mut columns: Vec<_> = chunks.iter().flat_map(|c| c.batch.fields.iter().map(|f| f.column)).collect();
    columns.sort_unstable();
    columns.dedup();
    columns
}

/// The values of one column over all chunks; null where a chunk does not have it.
fn concat_column(chunks: &[Arc<Chunk>], column: ColumnId) -> Result<ArrayRef> {
    let find =
        |chunk: &Arc<Chunk>| chunk.batch.fields.iter().find(|f| f.column == column).map(|f| f.values.clone());
    let data_type = chunks.iter().find_map(find).map(|values| values.data_type().clone());
    let data_type = data_type.ok_or_else(|| Error::Internal(format!("column {column} has no values")))?;
    let parts: Vec<_> = chunks
        .iter()
        .map(|chunk| find(chunk).unwrap_or_else(|| new_null_array(&data_type, chunk.batch.rows())))
        .collect();
    let parts: Vec<_> = parts.iter().map(AsRef::as_ref).collect();
    Ok(concat_arrays(&parts)?)
}
