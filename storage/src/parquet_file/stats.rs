//! Delta Lake's per-file statistics: number of rows, and per column the least and greatest value and the
//! number of nulls.
//!
//! Invariant: a bound may be wider than the values, never narrower. The greatest time is raised by a
//! microsecond when some row has nanoseconds below it, so that a reader who thinks in nanoseconds may use it.

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, StringArray};
use arrow::compute::{max, min};
use arrow::datatypes::{
    DataType, Decimal128Type, Float64Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow::record_batch::RecordBatch;
use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value, json};

use crate::error::Result;
use crate::layout::REMAINDER_COLUMN;

/// Characters of a text bound, as other writers of Delta Lake keep.
const TEXT_BOUND_CHARS: usize = 32;

/// The statistics of a file with these rows.
///
/// # Errors
/// [`Error::Internal`](crate::Error::Internal) when JSON cannot be written.
pub(super) fn json(batch: &RecordBatch) -> Result<String> {
    let (mut least, mut greatest, mut nulls) = (Map::new(), Map::new(), Map::new());
    let remainder = i64::from(batch.column_by_name(REMAINDER_COLUMN).is_some());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        nulls.insert(field.name().clone(), json!(column.null_count()));
        if let Some((low, high)) = bounds(column, remainder) {
            least.insert(field.name().clone(), low);
            greatest.insert(field.name().clone(), high);
        }
    }
    let stats = json!({
        "numRecords": batch.num_rows(),
        "minValues": least,
        "maxValues": greatest,
        "nullCount": nulls,
    });
    Ok(stats.to_string())
}

/// The bounds of a column, `None` when it has no values or is of a type that gets no bounds: booleans, and
/// the text of fields, which nobody looks for by range.
fn bounds(column: &ArrayRef, remainder: i64) -> Option<(Value, Value)> {
    match column.data_type() {
        DataType::Int16 => primitive::<Int16Type>(column).map(|(low, high)| (json!(low), json!(high))),
        DataType::Int64 => primitive::<Int64Type>(column).map(|(low, high)| (json!(low), json!(high))),
        DataType::Float64 => {
            let (low, high) = primitive::<Float64Type>(column)?;
            (low.is_finite() && high.is_finite()).then(|| (json!(low), json!(high)))
        }
        DataType::Decimal128(_, 0) => {
            let (low, high) = primitive::<Decimal128Type>(column)?;
            Some((json!(u64::try_from(low).ok()?), json!(u64::try_from(high).ok()?)))
        }
        DataType::Timestamp(..) => {
            let (low, high) = primitive::<TimestampMicrosecondType>(column)?;
            Some((time(low)?, time(high.saturating_add(remainder))?))
        }
        DataType::Dictionary(..) => tag(column),
        _ => None,
    }
}

fn primitive<T: ArrowPrimitiveType>(column: &ArrayRef) -> Option<(T::Native, T::Native)>
where
    T::Native: arrow::array::ArrowNativeTypeOp,
{
    let column: &PrimitiveArray<T> = column.as_primitive_opt()?;
    min(column).zip(max(column))
}

fn time(micros: i64) -> Option<Value> {
    let time = DateTime::from_timestamp_micros(micros)?;
    Some(Value::String(time.to_rfc3339_opts(SecondsFormat::Micros, true)))
}

/// The bounds of the values that rows use; a dictionary may hold others.
fn tag(column: &ArrayRef) -> Option<(Value, Value)> {
    let column = column.as_dictionary_opt::<Int32Type>()?;
    let values: &StringArray = column.values().as_string_opt()?;
    let mut used = vec![false; values.len()];
    for key in column.keys_iter().flatten() {
        if let Some(used) = used.get_mut(key) {
            *used = true;
        }
    }
    let values = || values.iter().zip(&used).filter_map(|(value, used)| value.filter(|_| *used));
    let (low, high) = values().min().zip(values().max())?;
    Some((Value::String(low.chars().take(TEXT_BOUND_CHARS).collect()), Value::String(text_above(high))))
}

/// A short text that is not below `text`: its beginning, then the greatest character. Characters that are
/// themselves the greatest are kept, or the result would be below.
fn text_above(text: &str) -> String {
    let mut bound: String = text.chars().take(TEXT_BOUND_CHARS).collect();
    if bound.len() < text.len() {
        bound.extend(text.chars().skip(TEXT_BOUND_CHARS).take_while(|c| *c == char::MAX));
        bound.push(char::MAX);
    }
    bound
}

#[cfg(test)]
mod tests {
    use super::text_above;

    #[test]
    fn a_text_bound_is_short_and_never_below_the_text() {
        let long = "ä".repeat(40);
        let top = format!("{}{}z", "x".repeat(32), char::MAX);
        for text in ["", "short", &"y".repeat(32), &long, &top] {
            let bound = text_above(text);
            assert!(bound.as_str() >= text && bound.chars().count() <= 34, "{text} {bound}");
        }
        assert_eq!(text_above("short"), "short");
    }
}
