//! From the columns of a file to sorted rows, and from those to the columns that SQL shows.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, StringArray, TimestampNanosecondArray};
use arrow::datatypes::{Int32Type, TimestampNanosecondType};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use super::logical::{Logical, column_values, field_of, positions, text, time};
use super::{StoredColumn, parts_of, tag_type};
use crate::error::{Error, Result};
use crate::model::{FieldColumn, TableSchema};
use crate::rows::SortedRows;
use crate::series::{KeyBuffer, Pushed};

/// The rows of a file, or some of its consecutive rows, with those fields that `physical` has. All its tags must
/// be among the columns.
///
/// # Errors
/// [`Error::Damaged`] when the rows are not in the order of series and time, or a column has a type or value that
/// Busbar never writes there.
pub fn sorted_rows(schema: &TableSchema, physical: &RecordBatch) -> Result<SortedRows> {
    let times = time(physical)?;
    let times = times.as_primitive::<TimestampNanosecondType>().values().clone();
    let tags = tags(schema, physical)?;
    let mut rows = SortedRows { times, ..SortedRows::default() };
    let mut keys = KeyBuffer::default();
    for start in run_starts(&tags, physical.num_rows()) {
        let changed = changed_tags(&tags, start);
        let from = changed.first().map_or(usize::MAX, |tag| tag.position);
        let present = changed.iter().filter_map(|tag| Some((tag.position, tag.value(start)?)));
        match keys.push_tags(from, present)? {
            Pushed::Later if start > 0 => rows.ends.push(row_number(start)?),
            // Two codes of a dictionary may stand for one value.
            Pushed::Later | Pushed::Same => {}
            Pushed::Earlier => return Err(unsorted()),
        }
    }
    rows.keys = keys.finish();
    if !rows.keys.is_empty() {
        rows.ends.push(row_number(physical.num_rows())?);
    }
    let ascends = |run: &[i64]| run.iter().zip(run.iter().skip(1)).all(|(time, next)| time < next);
    if !rows.runs().all(|(_, run)| rows.times.get(run).is_some_and(ascends)) {
        return Err(unsorted());
    }
    for column in schema.fields.iter().flat_map(|field| field.columns()) {
        let is_there = |stored: &StoredColumn| physical.column_by_name(stored.field.name()).is_some();
        if parts_of(column).iter().any(is_there) {
            let values = column_values(physical, column)?;
            if values.null_count() < values.len() {
                rows.fields.push(FieldColumn { column: column.id, values });
            }
        }
    }
    Ok(rows)
}

/// The rows as `schema.logical_arrow()` shows them, or only the columns at the positions `projection`, in its
/// order. A field that the rows lack is null.
///
/// # Errors
/// [`Error::Internal`] when a position is out of bounds.
pub fn logical_rows(
    schema: &TableSchema,
    rows: &SortedRows,
    projection: Option<&[usize]>,
) -> Result<RecordBatch> {
    let mut columns: Vec<ArrayRef> = Vec::new();
    for position in positions(schema, projection) {
        columns.push(match Logical::at(schema, position)? {
            Logical::Tag(_) => Arc::new(rows.tag_column(position)?),
            Logical::Time => Arc::new(TimestampNanosecondArray::new(rows.times.clone(), None)),
            Logical::Field(field) => {
                let values = |id| rows.fields.iter().find(|f| f.column == id).map(|f| Arc::clone(&f.values));
                field_of(field, values, rows.rows())?
            }
        });
    }
    let logical = schema.logical_arrow();
    let logical = match projection {
        Some(projection) => Arc::new(logical.project(projection)?),
        None => logical,
    };
    let options = RecordBatchOptions::new().with_row_count(Some(rows.rows()));
    Ok(RecordBatch::try_new_with_options(logical, columns, &options)?)
}

/// A tag's codes in each row, and what they mean.
struct Tag {
    position: usize,
    column: DictionaryArray<Int32Type>,
    values: StringArray,
}

impl Tag {
    fn value(&self, row: usize) -> Option<&str> {
        let code = self.column.key(row)?;
        self.values.is_valid(code).then(|| self.values.value(code))
    }
}

/// The tags that `physical` has.
fn tags(schema: &TableSchema, physical: &RecordBatch) -> Result<Vec<Tag>> {
    let mut tags = Vec::with_capacity(schema.tags.len());
    for (position, tag) in schema.tags.iter().enumerate() {
        if physical.column_by_name(&tag.stored_name).is_none() {
            continue;
        }
        let column = text(physical, &tag.stored_name, &tag_type())?;
        let damaged =
            || Error::Damaged(format!("the column {:?} of a data file is no text", tag.stored_name));
        let column = column.as_dictionary_opt::<Int32Type>().ok_or_else(damaged)?.clone();
        let values = column.values().as_string_opt::<i32>().ok_or_else(damaged)?.clone();
        tags.push(Tag { position, column, values });
    }
    Ok(tags)
}

/// The rows at which the code of some tag differs from that of the row before.
fn run_starts(tags: &[Tag], rows: usize) -> Vec<usize> {
    let mut is_start = vec![false; rows];
    if let Some(first) = is_start.first_mut() {
        *first = true;
    }
    for tag in tags {
        let codes = tag.column.keys();
        let changes = codes.values().iter().zip(codes.values().iter().skip(1)).map(|(a, b)| a != b);
        for (is_start, changes) in is_start.iter_mut().skip(1).zip(changes) {
            *is_start |= changes;
        }
        // The code of a null is whatever it is.
        if let Some(nulls) = codes.nulls().filter(|nulls| nulls.null_count() > 0) {
            for (row, is_start) in is_start.iter_mut().enumerate().skip(1) {
                *is_start |= nulls.is_valid(row) != nulls.is_valid(row - 1);
            }
        }
    }
    is_start.iter().enumerate().filter_map(|(row, is_start)| is_start.then_some(row)).collect()
}

/// The tags from the first one on of which the code differs from that of the row before: all for the first row.
fn changed_tags(tags: &[Tag], row: usize) -> &[Tag] {
    let same = row.checked_sub(1).map_or(0, |before| {
        tags.iter().take_while(|tag| tag.column.key(before) == tag.column.key(row)).count()
    });
    tags.get(same..).unwrap_or_default()
}

fn row_number(row: usize) -> Result<u32> {
    u32::try_from(row).map_err(|_| Error::LimitExceeded("a batch has more than 4 billion rows".into()))
}

fn unsorted() -> Error {
    Error::Damaged("the rows of a data file are not in the order of their tags and time".into())
}
