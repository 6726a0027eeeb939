//! From the columns of a file to the columns that SQL shows.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, TimestampNanosecondArray, UInt64Array, new_null_array,
};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{cast, is_not_null};
use arrow::datatypes::{
    DataType, Decimal128Type, Float64Type, Int16Type, Int64Type, TimestampMicrosecondType, UInt64Type,
};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use super::{REMAINDER_COLUMN, parts_of, scaled};
use crate::error::{Error, Result};
use crate::model::{ColumnId, FieldSchema, FieldType, PhysicalColumn, TIME_COLUMN, TableSchema};

/// Microseconds whose nanoseconds fit into 64 bits: the first and the last.
const MICROS: std::ops::RangeInclusive<i64> = i64::MIN.div_euclid(1_000)..=i64::MAX / 1_000;

/// A column of `TableSchema::logical_arrow`, by what it is made of.
pub(super) enum Logical<'a> {
    Tag(&'a str),
    Time,
    Field(&'a FieldSchema),
}

impl<'a> Logical<'a> {
    pub(super) fn at(schema: &'a TableSchema, position: usize) -> Result<Self> {
        if let Some(tag) = schema.tags.get(position) {
            return Ok(Self::Tag(&tag.stored_name));
        }
        match position.checked_sub(schema.tags.len() + 1) {
            None => Ok(Self::Time),
            Some(field) => {
                let field = schema.fields.get(field);
                field.map(Self::Field).ok_or_else(|| Error::Internal(format!("no column at {position}")))
            }
        }
    }

    fn stored_names(&self) -> Vec<String> {
        match self {
            Self::Tag(name) => vec![(*name).to_owned()],
            Self::Time => vec![TIME_COLUMN.to_owned(), REMAINDER_COLUMN.to_owned()],
            Self::Field(field) => {
                let stored = field.columns().flat_map(parts_of);
                stored.map(|stored| stored.field.name().clone()).collect()
            }
        }
    }
}

/// The stored names of the columns that [`logical_batch`] needs for the same `projection` (positions in
/// `schema.logical_arrow()`; `None` is all), in the order of the projection.
///
/// # Errors
/// [`Error::Internal`] when a position is out of bounds.
pub fn stored_columns(schema: &TableSchema, projection: Option<&[usize]>) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for position in positions(schema, projection) {
        names.extend(Logical::at(schema, position)?.stored_names());
    }
    Ok(names)
}

/// The rows of a file as `schema.logical_arrow()` shows them, or only the columns at the positions
/// `projection`, in its order. A column that `physical` lacks is null; text may come in any Arrow encoding.
///
/// # Errors
/// [`Error::Damaged`] when a column has a type or value that Busbar never writes there, or `time` is missing;
/// [`Error::Internal`] when a position is out of bounds.
pub fn logical_batch(
    schema: &TableSchema,
    physical: &RecordBatch,
    projection: Option<&[usize]>,
) -> Result<RecordBatch> {
    let logical = schema.logical_arrow();
    let mut columns = Vec::new();
    for position in positions(schema, projection) {
        let column = Logical::at(schema, position)?;
        let array = match column {
            Logical::Tag(name) => tag(physical, name)?,
            Logical::Time => time(physical)?,
            Logical::Field(field) => field_values(physical, field)?,
        };
        columns.push(array);
    }
    let logical = match projection {
        Some(projection) => Arc::new(logical.project(projection)?),
        None => logical,
    };
    let rows = RecordBatchOptions::new().with_row_count(Some(physical.num_rows()));
    Ok(RecordBatch::try_new_with_options(logical, columns, &rows)?)
}

pub(super) fn positions(schema: &TableSchema, projection: Option<&[usize]>) -> Vec<usize> {
    let all = || (0..=schema.tags.len() + schema.fields.len()).collect();
    projection.map_or_else(all, <[usize]>::to_vec)
}

fn tag(physical: &RecordBatch, name: &str) -> Result<ArrayRef> {
    text(physical, name, &super::tag_type())
}

pub(super) fn text(physical: &RecordBatch, name: &str, wanted: &DataType) -> Result<ArrayRef> {
    match physical.column_by_name(name) {
        None => Ok(new_null_array(wanted, physical.num_rows())),
        Some(column) if column.data_type() == wanted => Ok(Arc::clone(column)),
        Some(column) => Ok(cast(column, wanted)?),
    }
}

/// The times of rows in nanoseconds.
pub(super) fn time(physical: &RecordBatch) -> Result<ArrayRef> {
    let column = physical.column_by_name(TIME_COLUMN);
    let micros = column.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    let micros = micros.filter(|micros| micros.null_count() == 0).ok_or_else(|| damaged(TIME_COLUMN))?;
    if !micros.values().iter().all(|micros| MICROS.contains(micros)) {
        return Err(damaged(TIME_COLUMN));
    }
    // The product of the very first microsecond alone does not fit, but together with its remainder it does.
    let nanos = |micros: i64, remainder: i16| micros.wrapping_mul(1_000).wrapping_add(i64::from(remainder));
    let Some(remainder) = physical.column_by_name(REMAINDER_COLUMN) else {
        let times: TimestampNanosecondArray = micros.unary(|micros| nanos(micros, 0));
        return Ok(Arc::new(times));
    };
    let remainder = remainder.as_primitive_opt::<Int16Type>().ok_or_else(|| damaged(REMAINDER_COLUMN))?;
    // Null where a reader filled in a file that has no such column.
    let pairs = micros.values().iter().zip(remainder.iter());
    let times = pairs.map(|(&micros, remainder)| nanos(micros, remainder.unwrap_or(0)));
    Ok(Arc::new(TimestampNanosecondArray::from_iter_values(times)))
}

fn field_values(physical: &RecordBatch, field: &FieldSchema) -> Result<ArrayRef> {
    let narrow = column_values(physical, &field.narrow)?;
    let Some(wide) = &field.wide else { return Ok(narrow) };
    if physical.column_by_name(&wide.stored_name).is_none() {
        return as_float(&narrow);
    }
    widened(&narrow, &column_values(physical, wide)?)
}

/// The values of a field, given those of its physical columns as far as there are any.
pub(super) fn field_of(
    field: &FieldSchema,
    column: impl Fn(ColumnId) -> Option<ArrayRef>,
    rows: usize,
) -> Result<ArrayRef> {
    let narrow =
        column(field.narrow.id).unwrap_or_else(|| new_null_array(&in_memory(field.narrow.field_type), rows));
    let Some(wide) = &field.wide else { return Ok(narrow) };
    match column(wide.id) {
        None => as_float(&narrow),
        Some(wide) => widened(&narrow, &wide),
    }
}

/// The floats of a field that was widened: those of its wide column, else those of its narrow one.
fn widened(narrow: &ArrayRef, wide: &ArrayRef) -> Result<ArrayRef> {
    Ok(zip(&is_not_null(wide)?, wide, &as_float(narrow)?)?)
}

/// The type of a field's values in memory.
fn in_memory(field_type: FieldType) -> DataType {
    match field_type {
        FieldType::Text => DataType::Utf8,
        FieldType::Float => DataType::Float64,
        FieldType::Integer => DataType::Int64,
        FieldType::Unsigned => DataType::UInt64,
        FieldType::Boolean => DataType::Boolean,
    }
}

/// The values of one physical column in the type that its field has in memory.
pub(super) fn column_values(physical: &RecordBatch, column: &PhysicalColumn) -> Result<ArrayRef> {
    let wanted = in_memory(column.field_type);
    if column.field_type == FieldType::Text {
        return text(physical, &column.stored_name, &wanted);
    }
    let Some(values) = stored_values(physical, column)? else {
        return Ok(new_null_array(&wanted, physical.num_rows()));
    };
    if *values.data_type() == wanted {
        return Ok(values);
    }
    match values.as_primitive_opt::<Decimal128Type>() {
        Some(decimals) if column.field_type == FieldType::Unsigned => {
            let unsigned = |decimal: Option<i128>| decimal.map(u64::try_from).transpose();
            let integers: Result<UInt64Array, _> = decimals.iter().map(unsigned).collect();
            Ok(Arc::new(integers.map_err(|_| damaged(&column.stored_name))?))
        }
        _ => Err(damaged(&column.stored_name)),
    }
}

/// The column of a file that has a physical column's values; of one with a scale, its two parts as one.
fn stored_values(physical: &RecordBatch, column: &PhysicalColumn) -> Result<Option<ArrayRef>> {
    let values = physical.column_by_name(&column.stored_name);
    match column.scale {
        Some(scale) if values.is_none_or(|values| *values.data_type() != DataType::Float64) => {
            scaled::join(scale, values, physical.column_by_name(&scaled::other_name(column)))
        }
        // Rows that were never in a file are not taken apart.
        _ => Ok(values.cloned()),
    }
}

/// Integers as floats: the nearest float, as SQL casts.
fn as_float(integers: &ArrayRef) -> Result<ArrayRef> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a widened field is a float, wide integers are quarantined"
    )]
    let floats: Float64Array = match integers.data_type() {
        DataType::UInt64 => integers.as_primitive::<UInt64Type>().unary::<_, Float64Type>(|v| v as f64),
        DataType::Int64 => integers.as_primitive::<Int64Type>().unary::<_, Float64Type>(|v| v as f64),
        other => return Err(Error::Internal(format!("a field of type {other} cannot be widened"))),
    };
    Ok(Arc::new(floats))
}

fn damaged(column: &str) -> Error {
    Error::Damaged(format!("the column {column:?} of a data file holds what no writer put there"))
}
