//! Delta Lake's per-file statistics: number of rows, and per column the least and greatest value and the
//! number of nulls.
//!
//! Invariant: a bound may be wider than the values, never narrower. The greatest time is raised by a
//! microsecond when some row has nanoseconds below it, so that a reader who thinks in nanoseconds may use it.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{max, min};
use arrow::datatypes::Decimal128Type;
use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value, json};

use crate::layout::REMAINDER_COLUMN;
use crate::model::{TIME_COLUMN, TimeRange};

/// Characters of a text bound in the table log, as other writers of Delta Lake keep.
const TEXT_BOUND_CHARS: usize = 32;

/// The statistics of one column.
#[derive(Debug, Clone, Default)]
pub(super) struct ColumnStats {
    nulls: usize,
    bounds: Option<Bounds>,
}

/// The least and the greatest value, in the order of the type.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Bounds {
    Integers(i64, i64),
    Unsigned(u64, u64),
    /// Infinite when a value is no number.
    Floats(f64, f64),
    Text(Vec<u8>, Vec<u8>),
    /// Whole numbers, and by how many digits they stand before their point.
    Decimals(i64, i64, i8),
}

impl ColumnStats {
    /// Adds rows of a tag.
    pub(super) fn add_tag(&mut self, bounds: Option<(&[u8], &[u8])>, nulls: usize) {
        self.nulls += nulls;
        self.add_bounds(bounds.map(|(low, high)| Bounds::Text(low.to_vec(), high.to_vec())));
    }

    /// Adds rows of a column of numbers.
    pub(super) fn add_numbers(&mut self, bounds: Option<Bounds>, nulls: usize) {
        self.nulls += nulls;
        self.add_bounds(bounds);
    }

    /// Adds rows of another field as the file holds them. Text, which nobody looks for by range, gets no bounds.
    pub(super) fn add_stored(&mut self, values: &ArrayRef) {
        self.nulls += values.null_count();
        let unsigned = values.as_primitive_opt::<Decimal128Type>();
        self.add_bounds(unsigned.and_then(|decimals| {
            let (low, high) = (min(decimals)?, max(decimals)?);
            Some(Bounds::Unsigned(u64::try_from(low).ok()?, u64::try_from(high).ok()?))
        }));
    }

    fn add_bounds(&mut self, other: Option<Bounds>) {
        self.bounds = match (self.bounds.take(), other) {
            (Some(bounds), Some(other)) => Some(bounds.union(other)),
            (bounds, other) => bounds.or(other),
        };
    }

    fn values(&self) -> Option<(Value, Value)> {
        match self.bounds.as_ref()? {
            Bounds::Integers(low, high) => Some((json!(low), json!(high))),
            Bounds::Unsigned(low, high) => Some((json!(low), json!(high))),
            Bounds::Floats(low, high) => {
                (low.is_finite() && high.is_finite()).then(|| (json!(low), json!(high)))
            }
            Bounds::Decimals(low, high, scale) => decimal(*low, *scale).zip(decimal(*high, *scale)),
            Bounds::Text(low, high) => {
                let low: String = std::str::from_utf8(low).ok()?.chars().take(TEXT_BOUND_CHARS).collect();
                Some((json!(low), json!(short_text_above(std::str::from_utf8(high).ok()?))))
            }
        }
    }
}

impl Bounds {
    fn union(self, other: Self) -> Self {
        let float = |a: f64, b: f64, order: std::cmp::Ordering| if a.total_cmp(&b) == order { a } else { b };
        match (self, other) {
            (Self::Integers(a, b), Self::Integers(c, d)) => Self::Integers(a.min(c), b.max(d)),
            (Self::Unsigned(a, b), Self::Unsigned(c, d)) => Self::Unsigned(a.min(c), b.max(d)),
            (Self::Floats(a, b), Self::Floats(c, d)) => {
                Self::Floats(float(a, c, std::cmp::Ordering::Less), float(b, d, std::cmp::Ordering::Greater))
            }
            (Self::Text(a, b), Self::Text(c, d)) => Self::Text(a.min(c), b.max(d)),
            (Self::Decimals(a, b, scale), Self::Decimals(c, d, _)) => {
                Self::Decimals(a.min(c), b.max(d), scale)
            }
            // A column has one type.
            (bounds, _) => bounds,
        }
    }
}

/// The statistics of a file with `rows` rows of these times, and the named columns beside them. `remainders` are
/// the bounds of the nanoseconds below the microsecond, where the file has them.
pub(super) fn json<'a>(
    rows: u64,
    times: TimeRange,
    remainders: Option<(i16, i16)>,
    columns: impl Iterator<Item = (&'a str, &'a ColumnStats)>,
) -> String {
    let (mut least, mut greatest, mut nulls) = (Map::new(), Map::new(), Map::new());
    for (name, column) in columns {
        nulls.insert(name.to_owned(), json!(column.nulls));
        if let Some((low, high)) = column.values() {
            least.insert(name.to_owned(), low);
            greatest.insert(name.to_owned(), high);
        }
    }
    let micros = |nanos: i64| nanos.div_euclid(1_000);
    let raised = i64::from(remainders.is_some());
    nulls.insert(TIME_COLUMN.to_owned(), json!(0));
    if let Some((low, high)) = time(micros(times.min.nanos())).zip(time(micros(times.max.nanos()) + raised)) {
        least.insert(TIME_COLUMN.to_owned(), low);
        greatest.insert(TIME_COLUMN.to_owned(), high);
    }
    if let Some((low, high)) = remainders {
        nulls.insert(REMAINDER_COLUMN.to_owned(), json!(0));
        least.insert(REMAINDER_COLUMN.to_owned(), json!(low));
        greatest.insert(REMAINDER_COLUMN.to_owned(), json!(high));
    }
    json!({ "numRecords": rows, "minValues": least, "maxValues": greatest, "nullCount": nulls }).to_string()
}

/// A decimal as JSON's number: the float nearest to it, which JSON writes as the shortest decimal that it is nearest
/// to. With 15 digits that is the decimal itself.
#[expect(clippy::cast_precision_loss, reason = "decimals have 15 digits")]
fn decimal(number: i64, scale: i8) -> Option<Value> {
    let value = number as f64 / 10_f64.powi(scale.into());
    serde_json::Number::from_f64(value).map(Value::Number)
}

fn time(micros: i64) -> Option<Value> {
    let time = DateTime::from_timestamp_micros(micros)?;
    Some(Value::String(time.to_rfc3339_opts(SecondsFormat::Micros, true)))
}

/// A short text that is not below `text`: its beginning, then the greatest character. Characters that are
/// themselves the greatest are kept, or the result would be below.
fn short_text_above(text: &str) -> String {
    let mut bound: String = text.chars().take(TEXT_BOUND_CHARS).collect();
    if bound.len() < text.len() {
        bound.extend(text.chars().skip(TEXT_BOUND_CHARS).take_while(|c| *c == char::MAX));
        bound.push(char::MAX);
    }
    bound
}

/// Bytes of a text bound in a file: what the Parquet crate keeps for other columns.
const TEXT_BOUND_BYTES: usize = 64;

/// A beginning of `text` (UTF-8) of at most [`TEXT_BOUND_BYTES`], which is not above it.
pub(super) fn text_below(text: &[u8]) -> &[u8] {
    let Some(next) = text.get(TEXT_BOUND_BYTES) else { return text };
    let mut end = TEXT_BOUND_BYTES;
    // Not within a character: its later bytes begin with the bits 10.
    let mut byte = *next;
    while byte & 0xc0 == 0x80 && end > 0 {
        end -= 1;
        byte = text.get(end).copied().unwrap_or_default();
    }
    text.get(..end).unwrap_or(text)
}

/// A text that is not below `text` (UTF-8): itself, or a beginning of it whose last character is raised.
pub(super) fn text_above(text: &[u8]) -> Vec<u8> {
    let start = text_below(text);
    let Some(mut kept) = std::str::from_utf8(start).ok().filter(|kept| kept.len() < text.len()) else {
        return text.to_vec();
    };
    while let Some(last) = kept.chars().next_back() {
        kept = kept.strip_suffix(last).unwrap_or_default();
        // No character has the number after U+D7FF: the next is U+E000.
        let next = if last == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            return format!("{kept}{next}").into_bytes();
        }
    }
    text.to_vec()
}

#[cfg(test)]
mod tests {
    use super::{short_text_above, text_above, text_below};

    #[test]
    fn a_text_bound_is_short_and_never_below_the_text() {
        let long = "ä".repeat(40);
        let top = format!("{}{}z", "x".repeat(32), char::MAX);
        for text in ["", "short", &"y".repeat(32), &long, &top] {
            let bound = short_text_above(text);
            assert!(bound.as_str() >= text && bound.chars().count() <= 34, "{text} {bound}");
        }
        assert_eq!(short_text_above("short"), "short");
    }

    #[test]
    fn a_bound_in_a_file_is_text_and_on_its_side() {
        let top = format!("{}z", char::MAX.to_string().repeat(20));
        let mixed = format!("{}\u{d7ff}{}", "x".repeat(60), "y".repeat(9));
        for text in ["", "short", &"y".repeat(64), &"y".repeat(65), &"a\u{e9}".repeat(40), &top, &mixed] {
            let (below, above) = (text_below(text.as_bytes()), text_above(text.as_bytes()));
            assert!(std::str::from_utf8(below).unwrap() <= text && below.len() <= 64, "{text}");
            assert!(std::str::from_utf8(&above).unwrap() >= text, "{text}");
            assert!(above.len() <= 67 || text == top, "{text}");
        }
        assert_eq!(text_above("z".repeat(70).as_bytes()), format!("{}{{", "z".repeat(63)).into_bytes());
    }
}
