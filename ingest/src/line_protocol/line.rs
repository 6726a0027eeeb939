//! Cuts a line into series, fields and timestamp.

use memchr::memchr3;

use storage::limits;
use storage::model::ValueRef;

use super::error::{LineError, excerpt};
use super::field::{self, Fields};
use super::series::parse_series;
use super::{escape, number};

/// A line of which the series is found, and nothing else is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Head<'a> {
    /// Measurement and tags as they were written: not empty, at most `limits::SERIES_KEY_BYTES` long. Equal bytes
    /// are the same series; the same series may be written in several ways.
    pub series: &'a [u8],
    /// Fields and timestamp.
    rest: &'a [u8],
}

/// A line whose three parts are found. The series is not looked into, and fields are read as they are asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line<'a> {
    /// As [`Head::series`].
    pub series: &'a [u8],
    /// The number at the end of the line, in the unit of the request.
    pub timestamp: Option<i64>,
    fields: &'a [u8],
}

impl<'a> Head<'a> {
    /// Finds the series of a line, as [`super::lines()`] yields it.
    ///
    /// # Errors
    /// When there is nothing before the first space, or behind it; when the series is too long.
    pub fn cut(bytes: &'a [u8]) -> Result<Self, LineError> {
        Self::cut_at(escape::find_unescaped(bytes, b' ').unwrap_or(bytes.len()), bytes)
    }

    /// As [`cut`](Self::cut), where the first space that no backslash escapes is known to be at `space`.
    ///
    /// # Errors
    /// Those of [`cut`](Self::cut).
    #[inline]
    pub fn cut_at(space: usize, bytes: &'a [u8]) -> Result<Self, LineError> {
        let Some((series, rest)) = bytes.split_at_checked(space).filter(|(_, rest)| !rest.is_empty()) else {
            return Err(without_fields(bytes));
        };
        if series.is_empty() {
            return Err(LineError::MissingMeasurement);
        }
        if series.len() > limits::SERIES_KEY_BYTES {
            return Err(LineError::SeriesTooLong { actual: series.len(), limit: limits::SERIES_KEY_BYTES });
        }
        let rest = skip_blanks(rest);
        if rest.is_empty() {
            return Err(without_fields(series));
        }
        Ok(Self { series, rest })
    }

    /// Cuts the rest.
    ///
    /// # Errors
    /// When a text has no end, or what follows the fields is not one whole number.
    pub fn line(&self) -> Result<Line<'a>, LineError> {
        let end = end_of_fields(self.rest)?;
        let (fields, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, &[]));
        Ok(Line { series: self.series, fields, timestamp: timestamp(skip_blanks(rest))? })
    }

    /// Reads the rest in one pass if it consists of the fields of these names, in this order, each a number of few digits
    /// or a truth value, which go to `values`, and of a timestamp or none. `None` says nothing but that it does not:
    /// then [`line`](Self::line) can tell what it is. Names are [plain](super::is_plain_name).
    #[inline]
    #[must_use]
    pub fn read_expected<'n>(
        &self,
        names: impl Iterator<Item = &'n [u8]>,
        mut value: impl FnMut(ValueRef<'static>) -> Option<()>,
    ) -> Option<Option<i64>> {
        let mut rest = self.rest;
        let mut is_first = true;
        for name in names {
            if !is_first {
                rest = rest.strip_prefix(b",")?;
            }
            is_first = false;
            let (read, behind) = field::plain_value(rest.strip_prefix(name)?.strip_prefix(b"=")?)?;
            value(read)?;
            rest = behind;
        }
        match rest.split_first() {
            None => Some(None),
            Some((b' ', digits)) => Some(Some(plain_timestamp(digits)?)),
            Some(_) => None,
        }
    }
}

impl<'a> Line<'a> {
    /// Cuts a line, as [`super::lines()`] yields it.
    ///
    /// # Errors
    /// Those of [`Head::cut`] and [`Head::line`].
    pub fn split(bytes: &'a [u8]) -> Result<Self, LineError> {
        Head::cut(bytes)?.line()
    }

    /// Reads the fields in the order of the line.
    #[must_use]
    pub fn fields(&self) -> Fields<'a> {
        Fields::new(self.fields)
    }
}

/// Whether the name of a field stands in every line as it is, because it has no byte that is escaped, or that ends it or a
/// value before it.
#[must_use]
pub fn is_plain_name(name: &str) -> bool {
    !name.bytes().any(|byte| matches!(byte, b',' | b'=' | b' ' | b'\t' | b'\\' | b'"'))
}

/// A timestamp of digits only.
#[inline]
fn plain_timestamp(digits: &[u8]) -> Option<i64> {
    number::whole(digits).and_then(|number| i64::try_from(number).ok())
}

/// What is wrong with a line that has no fields: its series, if that is wrong, else just that.
#[cold]
fn without_fields(series: &[u8]) -> LineError {
    parse_series(series).err().unwrap_or(LineError::MissingFields)
}

/// The place behind the fields, which begin at the start of `bytes`.
fn end_of_fields(bytes: &[u8]) -> Result<usize, LineError> {
    let mut at = 0;
    // The first place from which a byte before another is not one that was escaped.
    let mut plain_from = 0;
    while let Some(offset) = bytes.get(at..).and_then(|rest| memchr3(b' ', b'"', b'\\', rest)) {
        let found = at + offset;
        at = match bytes.get(found) {
            Some(b'"') if opens_text(bytes, found, plain_from) => {
                let text = bytes.get(found + 1..).unwrap_or_default();
                found + escape::end_of_text(text).ok_or(LineError::UnbalancedQuotes)? + 2
            }
            Some(b'"') => found + 1,
            Some(b'\\') => {
                plain_from = found + 2;
                found + 2
            }
            _ => return Ok(found),
        };
    }
    Ok(bytes.len())
}

/// Whether the quote at `at` stands right behind an `=` that nothing escapes.
fn opens_text(bytes: &[u8], at: usize, plain_from: usize) -> bool {
    at > plain_from && bytes.get(at - 1) == Some(&b'=')
}

/// The timestamp, if there is one.
fn timestamp(bytes: &[u8]) -> Result<Option<i64>, LineError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let length = memchr::memchr2(b' ', b'\t', bytes).unwrap_or(bytes.len());
    let (number, rest) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
    let parsed = lexical_core::parse(number);
    let (Ok(timestamp), false) = (parsed, number.starts_with(b"+")) else {
        return Err(bad_timestamp(number));
    };
    let trailing = skip_blanks(rest);
    if !trailing.is_empty() {
        return Err(LineError::TrailingContent(excerpt(trailing)));
    }
    Ok(Some(timestamp))
}

#[cold]
fn bad_timestamp(number: &[u8]) -> LineError {
    let digits = number.strip_prefix(b"-").unwrap_or(number);
    match !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) {
        true => LineError::TimestampOutOfRange(excerpt(number)),
        false => LineError::InvalidTimestamp(excerpt(number)),
    }
}

fn skip_blanks(bytes: &[u8]) -> &[u8] {
    let blanks = bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    bytes.get(blanks..).unwrap_or_default()
}
