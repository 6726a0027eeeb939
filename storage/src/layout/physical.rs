//! From columns in memory to the columns of a file.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int16Array, TimestampMicrosecondArray};
use arrow::datatypes::{Decimal128Type, Field, Schema, UInt64Type};
use arrow::record_batch::RecordBatch;

use super::{UNSIGNED_DIGITS, field_field, remainder_field, tag_field, time_field};
use crate::error::{Error, Result};
use crate::model::{FieldColumn, TableSchema};

/// The rows as a file holds them, but that floats with a scale are in one column: `tags` are dictionaries of text, one for each tag of the schema in order,
/// `times` nanoseconds since 1970, `fields` the physical columns that any row has a value for, in any order.
///
/// # Errors
/// [`Error::Internal`] when the tags are not those of the schema, or a field is not in it; [`Error::Arrow`]
/// when columns differ in length or have another type than the schema says.
pub fn physical_batch(
    schema: &TableSchema,
    tags: Vec<ArrayRef>,
    times: &[i64],
    fields: &[FieldColumn],
) -> Result<RecordBatch> {
    if tags.len() != schema.tags.len() {
        let (given, known) = (tags.len(), schema.tags.len());
        return Err(Error::Internal(format!("{given} tag columns for a table with {known} tags")));
    }
    if let Some(unknown) = fields.iter().find(|field| schema.column(field.column).is_none()) {
        return Err(Error::Internal(format!("the table has no column {}", unknown.column)));
    }
    let mut columns: Vec<(Field, ArrayRef)> = schema.tags.iter().map(tag_field).zip(tags).collect();
    columns.push((time_field(), stored_times(times)));
    if times.iter().any(|time| time.rem_euclid(1_000) != 0) {
        columns.push((remainder_field(), stored_remainders(times.iter().copied())));
    }
    for column in schema.fields.iter().flat_map(|field| field.columns()) {
        if let Some(given) = fields.iter().find(|field| field.column == column.id) {
            columns.push((field_field(column), stored_values(&given.values)?));
        }
    }
    let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}

/// Times (nanoseconds) as the microseconds that a file holds.
#[must_use]
pub fn stored_times(times: &[i64]) -> ArrayRef {
    let micros = times.iter().map(|time| time.div_euclid(1_000));
    Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC"))
}

/// The nanoseconds below the microsecond of each time.
#[must_use]
pub fn stored_remainders(times: impl Iterator<Item = i64>) -> ArrayRef {
    let remainders = times.map(|time| i16::try_from(time.rem_euclid(1_000)).unwrap_or_default());
    Arc::new(Int16Array::from_iter_values(remainders))
}

/// The values of a field as a file holds them.
///
/// # Errors
/// [`Error::Arrow`] when the decimal of unsigned integers cannot be made.
pub fn stored_values(values: &ArrayRef) -> Result<ArrayRef> {
    let Some(unsigned) = values.as_primitive_opt::<UInt64Type>() else { return Ok(Arc::clone(values)) };
    let decimals = unsigned.unary::<_, Decimal128Type>(i128::from);
    Ok(Arc::new(decimals.with_precision_and_scale(UNSIGNED_DIGITS, 0)?))
}
