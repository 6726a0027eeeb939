//! Puts the values of a field at the places of their rows, in order of arrival.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray, new_null_array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::interleave;
use arrow::datatypes::{Float64Type, Int64Type, UInt64Type};
use bytemuck::Pod;

use super::Chunk;
use super::order::Places;
use super::slots::{PagePool, Slots};
use crate::error::{Error, Result};
use crate::model::{FieldColumn, FieldSchema, FieldType, PhysicalColumn};

/// The physical columns of one field, as far as any point has a value, on pages of `pool`.
///
/// # Errors
/// [`Error::Internal`] when a column is not of its type; [`Error::Arrow`] when values cannot be gathered.
pub(super) fn field(
    chunks: &[Arc<Chunk>],
    places: &Places,
    pool: &PagePool,
    field: &FieldSchema,
) -> Result<Vec<FieldColumn>> {
    let of_column = |column: &PhysicalColumn| -> Vec<Option<ArrayRef>> {
        let find = |chunk: &Arc<Chunk>| {
            chunk.batch.fields.iter().find(|f| f.column == column.id).map(|f| Arc::clone(&f.values))
        };
        chunks.iter().map(find).collect()
    };
    let narrow = of_column(&field.narrow);
    let wide = field.wide.as_ref().map(|column| (column, of_column(column)));
    let found = match (&wide, field.narrow.field_type) {
        (None, FieldType::Float) => {
            vec![(&field.narrow, numbers::<Float64Type>(chunks, places, pool, &narrow)?)]
        }
        (None, FieldType::Integer) => {
            vec![(&field.narrow, numbers::<Int64Type>(chunks, places, pool, &narrow)?)]
        }
        (None, FieldType::Boolean) => vec![(&field.narrow, booleans(chunks, places, pool, &narrow)?)],
        (None, FieldType::Unsigned) => {
            vec![(&field.narrow, numbers::<UInt64Type>(chunks, places, pool, &narrow)?)]
        }
        _ => {
            let mut columns = vec![(&field.narrow, narrow)];
            columns.extend(wide);
            winners(chunks, places, columns)?
        }
    };
    let present = found.into_iter().filter_map(|(column, values)| Some((column, values?)));
    Ok(present.map(|(column, values)| FieldColumn { column: column.id, values }).collect())
}

/// A field of one column of numbers. `None` when there is no value.
fn numbers<T: ArrowPrimitiveType<Native: Pod>>(
    chunks: &[Arc<Chunk>],
    places: &Places,
    pool: &PagePool,
    columns: &[Option<ArrayRef>],
) -> Result<Option<ArrayRef>> {
    let scattered = scatter(chunks, places, pool, columns, |array| {
        Some(Cow::Borrowed(&**array.as_primitive_opt::<T>()?.values()))
    })?;
    let array = |(values, nulls): (Slots<T::Native>, _)| PrimitiveArray::<T>::try_new(values.into(), nulls);
    Ok(scattered.map(array).transpose()?.map(|array| Arc::new(array) as ArrayRef))
}

/// A field of booleans. `None` when there is no value.
fn booleans(
    chunks: &[Arc<Chunk>],
    places: &Places,
    pool: &PagePool,
    columns: &[Option<ArrayRef>],
) -> Result<Option<ArrayRef>> {
    let scattered = scatter(chunks, places, pool, columns, |array| {
        Some(array.as_boolean_opt()?.values().iter().map(u8::from).collect())
    })?;
    let array = |(values, nulls): (Slots<u8>, _)| BooleanArray::new(bits(&values), nulls);
    Ok(scattered.map(|scattered| Arc::new(array(scattered)) as ArrayRef))
}

/// Puts each value at its place, a later one over an earlier one. Gives the values of all points and where there are
/// any, if not everywhere; `None` when there is no value.
fn scatter<V: Pod>(
    chunks: &[Arc<Chunk>],
    places: &Places,
    pool: &PagePool,
    columns: &[Option<ArrayRef>],
    read: impl Fn(&ArrayRef) -> Option<Cow<'_, [V]>>,
) -> Result<Option<(Slots<V>, Option<NullBuffer>)>> {
    if columns.iter().all(Option::is_none) {
        return Ok(None);
    }
    // Kept only when some row has no value: usually every row has one.
    let everywhere = columns.iter().all(|column| column.as_ref().is_some_and(|c| c.null_count() == 0));
    // A table may have a thousand fields of which a row has three: memory without values is never touched.
    let mut slots = if everywhere {
        pool.slots(places.points())
    } else {
        Slots::Small(vec![V::zeroed(); places.points()])
    };
    let mut valid: Vec<u8> = vec![0; if everywhere { 0 } else { places.points() }];
    let (values, is_valid) = (&mut *slots, valid.as_mut_slice());
    for ((_, places), column) in places.of(chunks).zip(columns) {
        let Some(column) = column else { continue };
        let of_chunk = read(column).ok_or_else(wrong_type)?;
        let Some(nulls) = column.nulls().filter(|nulls| nulls.null_count() > 0) else {
            put_all(values, places, &of_chunk);
            if !everywhere {
                places.iter().for_each(|place| put(is_valid, *place, 1));
            }
            continue;
        };
        for ((place, value), _) in places.iter().zip(&*of_chunk).zip(nulls).filter(|(_, is_there)| *is_there)
        {
            put(values, *place, *value);
            put(is_valid, *place, 1);
        }
    }
    if slots.is_empty() || !everywhere && !valid.contains(&1) {
        return Ok(None);
    }
    let nulls = (!everywhere).then(|| NullBuffer::new(bits(&valid))).filter(|nulls| nulls.null_count() > 0);
    Ok(Some((slots, nulls)))
}

/// Ones as bits that are set.
fn bits(values: &[u8]) -> BooleanBuffer {
    BooleanBuffer::collect_bool(values.len(), |at| values.get(at) == Some(&1))
}

/// Where the value of a point stands: which of the field's columns, chunk, row.
type Winner = Option<(u8, u32, u32)>;

/// A field of any columns: first which row gives the value of each point, and in which column it stands, then the
/// values by Arrow's kernel.
fn winners<'a>(
    chunks: &[Arc<Chunk>],
    places: &Places,
    columns: Vec<(&'a PhysicalColumn, Vec<Option<ArrayRef>>)>,
) -> Result<Vec<(&'a PhysicalColumn, Option<ArrayRef>)>> {
    let mut winners: Vec<Winner> = vec![None; places.points()];
    for ((_, places), chunk) in places.of(chunks).zip(0..) {
        let of_chunk =
            |(_, arrays): &'_ (_, Vec<Option<ArrayRef>>)| arrays.get(chunk as usize).cloned().flatten();
        let arrays: Vec<Option<ArrayRef>> = columns.iter().map(of_chunk).collect();
        for (place, row) in places.iter().zip(0_u32..) {
            let has_value =
                |array: &Option<ArrayRef>| array.as_ref().is_some_and(|a| a.is_valid(row as usize));
            // Of the two columns of a field, a row fills at most one.
            if let Some(column) = arrays.iter().position(has_value) {
                put(&mut winners, *place, Some((u8::from(column > 0), chunk, row)));
            }
        }
    }
    let gathered = columns.into_iter().zip(0_u8..);
    gathered.map(|((column, arrays), number)| Ok((column, gather(&arrays, &winners, number)?))).collect()
}

/// The values of the points whose winner stands in column `number`, null elsewhere; `None` when there are none.
fn gather(arrays: &[Option<ArrayRef>], winners: &[Winner], number: u8) -> Result<Option<ArrayRef>> {
    let any = winners.iter().flatten().any(|(column, ..)| *column == number);
    let Some(data_type) = arrays.iter().flatten().next().map(|a| a.data_type().clone()).filter(|_| any)
    else {
        return Ok(None);
    };
    // Source 0 is one null; source n + 1 is the array of chunk n, or again the null where it has none.
    let null = new_null_array(&data_type, 1);
    let mut sources: Vec<&dyn Array> = vec![null.as_ref()];
    sources.extend(arrays.iter().map(|array| array.as_ref().map_or(null.as_ref(), AsRef::as_ref)));
    let indices: Vec<(usize, usize)> = winners
        .iter()
        .map(|winner| match winner {
            Some((column, chunk, row)) if *column == number => (*chunk as usize + 1, *row as usize),
            _ => (0, 0),
        })
        .collect();
    Ok(Some(interleave(&sources, &indices)?))
}

/// Sets the value at each place. On its own, so that all it needs is in registers.
#[inline(never)]
pub(super) fn put_all<T: Copy>(values: &mut [T], places: &[u32], of_places: &[T]) {
    for (place, value) in places.iter().zip(of_places) {
        put(values, *place, *value);
    }
}

/// Sets the value at a place. A row that is not wanted has one that is not there.
fn put<T>(values: &mut [T], place: u32, value: T) {
    if let Some(slot) = values.get_mut(place as usize) {
        *slot = value;
    }
}

fn wrong_type() -> Error {
    Error::Internal("a column is not of the type that its schema says".into())
}
