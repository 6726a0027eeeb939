//! The column chunk of a column of numbers or booleans.
//!
//! The crate's encoders compare by the type of the column for each value's statistics and hash each float twice: with
//! them a column took two to three times as long. Which encoding is for which column is said in [`columns`](super::columns).

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::column::writer::ColumnCloseResult;
use parquet::schema::types::ColumnDescPtr;
use zstd::bulk::Compressor;

use super::columns::INT64_DIGITS;
use super::distinct::Distinct;
use super::pages::{self, ColumnChunk, Counts, PageBounds};
use super::row_group::ColumnPart;
use super::value_bounds::{Kind, ValueBounds};
use super::{PAGE_ROWS, delta_packed, hybrid};
use crate::error::{Error, Result};
use crate::layout::{self, Part};

/// Distinct floats that a dictionary takes: a mebibyte, as in the crate. With more of them indices are long.
const MOST_DISTINCT: usize = 128 * 1024;

/// Encodes one column after the other, and keeps its memory.
#[derive(Debug, Default)]
pub(super) struct NumberPages {
    /// The values that are there, floats as their bits.
    values: Vec<i64>,
    /// Booleans that are there, or the codes of floats.
    codes: Vec<u32>,
    /// Runs of rows that have a value or none.
    presence: Vec<(bool, usize)>,
    distinct: Distinct,
}

/// A column chunk, and what Delta's statistics say of it.
pub(super) struct Encoded {
    pub(super) bytes: Bytes,
    pub(super) close: ColumnCloseResult,
    pub(super) bounds: ValueBounds,
    pub(super) nulls: usize,
}

/// Which kind of numbers a column of this type holds, if these pages can hold it.
pub(super) fn kind_of(data_type: &DataType) -> Option<Kind> {
    match data_type {
        DataType::Int64 | DataType::Timestamp(..) => Some(Kind::Integer),
        DataType::Decimal128(digits, _) if *digits <= INT64_DIGITS => Some(Kind::Integer),
        DataType::Float64 => Some(Kind::Float),
        DataType::Boolean => Some(Kind::Boolean),
        _ => None,
    }
}

/// Rows of a page.
struct Page {
    presence: Vec<(bool, usize)>,
    counts: Counts,
    /// Where its values stand.
    values: Range<usize>,
}

impl NumberPages {
    /// The column chunk of all rows of `parts`.
    ///
    /// # Errors
    /// [`Error::Internal`] when values are not of `kind`; [`Error::Parquet`] when the chunk cannot be made.
    pub(super) fn encode<'a>(
        &mut self,
        kind: Kind,
        parts: impl Iterator<Item = ColumnPart<'a>>,
        description: &ColumnDescPtr,
        zstd: &mut Compressor<'static>,
    ) -> Result<Encoded> {
        self.clear();
        for part in parts {
            self.gather(kind, part)?;
        }
        let encoding = self.encoding(kind);
        let mut chunk = ColumnChunk::new(description, encoding, zstd);
        let is_nullable = chunk.is_nullable();
        let index_bits = if encoding == Encoding::RLE_DICTIONARY {
            let values = self.distinct.values();
            let plain: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            chunk.write_dictionary(&plain, values.len(), self.distinct.ascending().is_some())?;
            pages::index_bits(values.len())
        } else {
            None
        };
        let (mut content, mut of_pages) = (Vec::new(), Vec::new());
        for page in self.pages() {
            content.clear();
            if is_nullable {
                pages::append_definition_levels(page.presence.iter().copied(), &mut content);
            }
            self.append_values(kind, page.values.clone(), index_bits, &mut content);
            let bounds = self.bounds(kind, page.values.clone());
            let of_page = match bounds.bytes() {
                Some((low, high)) => PageBounds::Known(low, high),
                None if page.values.is_empty() => PageBounds::Empty,
                None => PageBounds::Unknown,
            };
            chunk.write_page(&content, page.counts, of_page)?;
            of_pages.push(bounds);
        }
        let nulls = chunk.counts().nulls;
        let bounds = of_pages.iter().fold(ValueBounds::none(kind), |all, page| all.union(*page));
        let (bytes, close) = chunk.finish(bounds.statistics(nulls), ValueBounds::order(&of_pages), None)?;
        Ok(Encoded { bytes, close, bounds, nulls })
    }

    fn clear(&mut self) {
        self.values.clear();
        self.codes.clear();
        self.presence.clear();
    }

    fn gather(&mut self, kind: Kind, part: ColumnPart<'_>) -> Result<()> {
        match part {
            ColumnPart::Nothing(rows) => self.add_rows(false, rows),
            ColumnPart::Times(times, picked) => {
                for times in picked.iter().filter_map(|rows| times.get(rows.clone())) {
                    self.values.extend(times.iter().map(|time| time.div_euclid(1_000)));
                    self.add_rows(true, times.len());
                }
            }
            ColumnPart::Values(values, picked, part) => match (kind, part) {
                (Kind::Integer, Part::All) => {
                    let integers = values.as_primitive_opt::<Int64Type>().ok_or_else(wrong_type)?;
                    self.gather_all(values, picked, |of, rows| {
                        of.values.extend_from_slice(integers.values().get(rows).unwrap_or_default());
                    });
                }
                (Kind::Float, Part::All) => {
                    let floats = floats(values)?;
                    self.gather_all(values, picked, |of, rows| {
                        of.values.extend(floats.get(rows).unwrap_or_default().iter().map(bits));
                    });
                }
                (Kind::Boolean, _) => {
                    let booleans = values.as_boolean_opt().ok_or_else(wrong_type)?;
                    self.gather_all(values, picked, |of, rows| {
                        of.codes
                            .extend(booleans.values().slice(rows.start, rows.len()).iter().map(u32::from));
                    });
                }
                (_, Part::Exact(scale)) => self.gather_some(values, picked, layout::whole_number(scale))?,
                (_, Part::Other(scale)) => {
                    let whole_number = layout::whole_number(scale);
                    self.gather_some(values, picked, |float| {
                        if whole_number(float).is_some() { None } else { Some(bits(&float)) }
                    })?;
                }
            },
        }
        Ok(())
    }

    /// Adds rows of an array; those that have a value by `extend`.
    fn gather_all(
        &mut self,
        values: &ArrayRef,
        picked: &[Range<usize>],
        extend: impl Fn(&mut Self, Range<usize>),
    ) {
        let nulls = values.nulls().filter(|nulls| nulls.null_count() > 0);
        for rows in picked {
            let Some(nulls) = nulls else {
                self.add_rows(true, rows.len());
                extend(self, rows.clone());
                continue;
            };
            let mut from = rows.start;
            for (start, end) in nulls.slice(rows.start, rows.len()).valid_slices() {
                let present = rows.start + start..rows.start + end;
                self.add_rows(false, present.start - from);
                self.add_rows(true, present.len());
                from = present.end;
                extend(self, present);
            }
            self.add_rows(false, rows.end - from);
        }
    }

    /// Adds rows of floats, with what `number` makes of each, or without a value.
    fn gather_some(
        &mut self,
        values: &ArrayRef,
        picked: &[Range<usize>],
        number: impl Fn(f64) -> Option<i64>,
    ) -> Result<()> {
        let floats = floats(values)?;
        let nulls = values.nulls().filter(|nulls| nulls.null_count() > 0);
        for rows in picked {
            for (row, float) in rows.clone().zip(floats.get(rows.clone()).unwrap_or_default()) {
                let is_null = nulls.is_some_and(|nulls| nulls.is_null(row));
                let number = if is_null { None } else { number(*float) };
                self.values.extend(number);
                self.add_rows(number.is_some(), 1);
            }
        }
        Ok(())
    }

    fn add_rows(&mut self, is_present: bool, rows: usize) {
        match self.presence.last_mut() {
            Some((last, count)) if *last == is_present => *count += rows,
            _ if rows == 0 => {}
            _ => self.presence.push((is_present, rows)),
        }
    }

    /// How the gathered values are encoded. Floats that repeat have their codes then.
    fn encoding(&mut self, kind: Kind) -> Encoding {
        match kind {
            Kind::Integer => Encoding::DELTA_BINARY_PACKED,
            Kind::Boolean => Encoding::RLE,
            Kind::Float => {
                let repeats = self.distinct.repeats(&self.values);
                if repeats && self.distinct.find(&self.values, MOST_DISTINCT, &mut self.codes) {
                    Encoding::RLE_DICTIONARY
                } else {
                    Encoding::PLAIN
                }
            }
        }
    }

    fn append_values(
        &self,
        kind: Kind,
        values: Range<usize>,
        index_bits: Option<u32>,
        content: &mut Vec<u8>,
    ) {
        let codes = || self.codes.get(values.clone()).unwrap_or_default();
        let numbers = || self.values.get(values.clone()).unwrap_or_default();
        match (kind, index_bits) {
            (Kind::Integer, _) => delta_packed::append(numbers(), content),
            (Kind::Boolean, _) => {
                pages::append_with_length(content, |content| hybrid::append(codes(), 1, content));
            }
            (Kind::Float, Some(bits)) => {
                content.extend(bits.to_le_bytes().first());
                hybrid::append(codes(), bits, content);
            }
            (Kind::Float, None) => content.extend(numbers().iter().flat_map(|bits| bits.to_le_bytes())),
        }
    }

    fn bounds(&self, kind: Kind, values: Range<usize>) -> ValueBounds {
        let numbers = self.values.get(values.clone()).unwrap_or_default();
        let codes = self.codes.get(values).unwrap_or_default();
        match kind {
            Kind::Integer => ValueBounds::of_integers(numbers),
            Kind::Boolean => ValueBounds::of_booleans(codes),
            Kind::Float => {
                let by_code = self.distinct.ascending().and_then(|all| ValueBounds::of_codes(all, codes));
                by_code.unwrap_or_else(|| ValueBounds::of_floats(numbers))
            }
        }
    }

    /// Pages of at most [`PAGE_ROWS`] rows.
    fn pages(&self) -> Vec<Page> {
        let (mut pages, mut page) = (Vec::new(), Page::at(0));
        for (is_present, rows) in &self.presence {
            let mut left = *rows;
            while left > 0 {
                let taken = left.min(PAGE_ROWS - page.counts.rows);
                page.add(*is_present, taken);
                left -= taken;
                if page.counts.rows == PAGE_ROWS {
                    let next = Page::at(page.values.end);
                    pages.push(std::mem::replace(&mut page, next));
                }
            }
        }
        if page.counts.rows > 0 {
            pages.push(page);
        }
        pages
    }
}

impl Page {
    /// An empty one, whose first value will stand there.
    fn at(value: usize) -> Self {
        Self { presence: Vec::new(), counts: Counts::default(), values: value..value }
    }

    fn add(&mut self, is_present: bool, rows: usize) {
        self.presence.push((is_present, rows));
        self.counts.rows += rows;
        if is_present {
            self.values.end += rows;
        } else {
            self.counts.nulls += rows;
        }
    }
}

fn floats(values: &ArrayRef) -> Result<&[f64]> {
    Ok(values.as_primitive_opt::<Float64Type>().ok_or_else(wrong_type)?.values())
}

fn bits(float: &f64) -> i64 {
    float.to_bits().cast_signed()
}

fn wrong_type() -> Error {
    Error::Internal("a column of a data file is not of its type".to_owned())
}
