//! Cuts a line into series, fields and timestamp.

use memchr::memchr3;

use storage::limits;

use super::error::{LineError, excerpt};
use super::escape;
use super::field::Fields;
use super::series::parse_series;

/// A line whose three parts are found. The series is not looked into, and fields are read as they are asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line<'a> {
    /// Measurement and tags as they were written: not empty, at most `limits::SERIES_KEY_BYTES` long. Equal bytes
    /// are the same series; the same series may be written in several ways.
    pub series: &'a [u8],
    /// The number at the end of the line, in the unit of the request.
    pub timestamp: Option<i64>,
    fields: &'a [u8],
}

impl<'a> Line<'a> {
    /// Cuts a line, as [`super::lines()`] yields it.
    ///
    /// # Errors
    /// When there is nothing before the first space, no field behind it, a text has no end, or what follows the
    /// fields is not one whole number.
    pub fn split(bytes: &'a [u8]) -> Result<Self, LineError> {
        let Some((series, rest)) =
            escape::find_unescaped(bytes, b' ').and_then(|at| bytes.split_at_checked(at))
        else {
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
        let end = end_of_fields(rest)?;
        let (fields, rest) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        Ok(Self { series, fields, timestamp: timestamp(skip_blanks(rest))? })
    }

    /// Reads the fields in the order of the line.
    #[must_use]
    pub fn fields(&self) -> Fields<'a> {
        Fields::new(self.fields)
    }
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
