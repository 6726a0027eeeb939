//! From columns in memory to the columns of a file.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int16Array, TimestampMicrosecondArray};
use arrow::datatypes::{Decimal128Type, Field, Schema, UInt64Type};
use arrow::record_batch::RecordBatch;

use super::{UNSIGNED_DIGITS, field_field, remainder_field, tag_field, time_field};
use crate::error::{Error, Result};
use crate::model::{FieldColumn, FieldType, TableSchema};

/// The rows as a file holds them: `tags` are dictionaries of text, one for each tag of the schema in order,
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
    let micros = times.iter().map(|time| time.div_euclid(1_000));
    let micros = TimestampMicrosecondArray::from_iter_values(micros);
    columns.push((time_field(), Arc::new(micros.with_timezone("UTC"))));
    if let Some(remainder) = remainder(times) {
        columns.push((remainder_field(), Arc::new(remainder)));
    }
    for column in schema.fields.iter().flat_map(|field| field.columns()) {
        if let Some(given) = fields.iter().find(|field| field.column == column.id) {
            let values = match column.field_type {
                FieldType::Unsigned => decimal(&given.values)?,
                _ => Arc::clone(&given.values),
            };
            columns.push((field_field(column), values));
        }
    }
    let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}

/// The nanoseconds below the microsecond of each time, unless all are 0.
fn remainder(times: &[i64]) -> Option<Int16Array> {
    let of = |time: &i64| i16::try_from(time.rem_euclid(1_000)).unwrap_or_default();
    times.iter().any(|time| of(time) != 0).then(|| times.iter().map(of).collect::<Vec<_>>().into())
}

fn decimal(values: &ArrayRef) -> Result<ArrayRef> {
    let values = values
        .as_primitive_opt::<UInt64Type>()
        .ok_or_else(|| Error::Internal(format!("an unsigned column holds {}", values.data_type())))?;
    let decimals = values.unary::<_, Decimal128Type>(i128::from);
    Ok(Arc::new(decimals.with_precision_and_scale(UNSIGNED_DIGITS, 0)?))
}
