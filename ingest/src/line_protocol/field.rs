//! Reads fields.

use std::borrow::Cow;

use memchr::memchr;

use storage::limits;
use storage::model::ValueRef;

use super::error::{LineError, excerpt};
use super::{escape, number};

/// What an error calls the key of a field.
const FIELD_NAME: &str = "field name";

/// The value of a field.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// A finite float.
    Float(f64),
    /// A signed integer.
    Integer(i64),
    /// An unsigned integer.
    Unsigned(u64),
    /// A truth value.
    Boolean(bool),
    /// A text without its escapes, at most `limits::TEXT_VALUE_BYTES` long. Borrowed if it had none.
    Text(Cow<'a, str>),
}

impl Value<'_> {
    /// The value as storage takes it.
    #[must_use]
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Float(value) => ValueRef::Float(*value),
            Self::Integer(value) => ValueRef::Integer(*value),
            Self::Unsigned(value) => ValueRef::Unsigned(*value),
            Self::Boolean(value) => ValueRef::Boolean(*value),
            Self::Text(value) => ValueRef::Text(value),
        }
    }
}

impl<'a> From<ValueRef<'a>> for Value<'a> {
    fn from(value: ValueRef<'a>) -> Self {
        match value {
            ValueRef::Float(value) => Self::Float(value),
            ValueRef::Integer(value) => Self::Integer(value),
            ValueRef::Unsigned(value) => Self::Unsigned(value),
            ValueRef::Boolean(value) => Self::Boolean(value),
            ValueRef::Text(value) => Self::Text(Cow::Borrowed(value)),
        }
    }
}

/// One field of a line.
#[derive(Debug, Clone, PartialEq)]
pub struct Field<'a> {
    /// The name without its escapes: not empty. Borrowed if it had none.
    pub key: Cow<'a, str>,
    /// The value.
    pub value: Value<'a>,
}

/// The fields of a line. The iterator yields at least one item, and nothing after an error. It does not look for
/// a name that comes twice.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    /// What is not read yet; `None` at the end.
    rest: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: Some(bytes) }
    }

    #[inline]
    fn read(&mut self, bytes: &'a [u8]) -> Result<Field<'a>, LineError> {
        let (key, has_backslash, value) =
            escape::split_at_equals(bytes).ok_or(LineError::InvalidFieldFormat)?;
        if key.len() > limits::NAME_BYTES {
            return Err(LineError::FieldKeyTooLong { actual: key.len(), limit: limits::NAME_BYTES });
        }
        let key = match has_backslash {
            true => escape::key(key, FIELD_NAME)?,
            false => Cow::Borrowed(escape::utf8(key, FIELD_NAME)?),
        };
        if key.is_empty() {
            return Err(LineError::MissingFieldKey);
        }
        let (value, rest) = read_value(value)?;
        self.rest = match rest.split_first() {
            None => None,
            Some((b',', rest)) => Some(rest),
            Some(_) => return Err(LineError::InvalidFieldFormat),
        };
        Ok(Field { key, value })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, LineError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.rest.take()?;
        Some(self.read(bytes))
    }
}

/// The value at the start of `bytes`, and what follows it.
#[inline]
fn read_value(bytes: &[u8]) -> Result<(Value<'_>, &[u8]), LineError> {
    match bytes.first() {
        None | Some(b',') => Err(LineError::MissingFieldValue),
        Some(b'0'..=b'9' | b'-' | b'+' | b'.') => number::read(bytes),
        Some(b'"') => read_text(bytes.get(1..).unwrap_or_default()),
        Some(first) => {
            let (word, rest) = split_token(bytes);
            match word {
                b"t" | b"T" | b"true" | b"True" | b"TRUE" => Ok((Value::Boolean(true), rest)),
                b"f" | b"F" | b"false" | b"False" | b"FALSE" => Ok((Value::Boolean(false), rest)),
                _ if matches!(first, b'n' | b'N') => Err(LineError::InvalidNumber(excerpt(word))),
                _ => Err(LineError::InvalidValue(excerpt(word))),
            }
        }
    }
}

/// The number of few digits or truth value at the start of `bytes`, and what follows it, whatever that is.
#[inline]
pub(super) fn plain_value(bytes: &[u8]) -> Option<(ValueRef<'static>, &[u8])> {
    let truth = |value, rest| Some((ValueRef::Boolean(value), rest));
    match bytes.split_first()? {
        (b't', rest) => truth(true, rest.strip_prefix(b"rue").unwrap_or(rest)),
        (b'f', rest) => truth(false, rest.strip_prefix(b"alse").unwrap_or(rest)),
        _ => number::plain(bytes),
    }
}

fn read_text(bytes: &[u8]) -> Result<(Value<'_>, &[u8]), LineError> {
    let end = escape::end_of_text(bytes).ok_or(LineError::UnbalancedQuotes)?;
    let (text, rest) = bytes.split_at_checked(end).unwrap_or_default();
    let text = escape::text(text)?;
    if text.len() > limits::TEXT_VALUE_BYTES {
        return Err(LineError::TextTooLong { actual: text.len(), limit: limits::TEXT_VALUE_BYTES });
    }
    Ok((Value::Text(text), rest.get(1..).unwrap_or_default()))
}

/// What comes before the next comma, and the rest with that comma.
pub(super) fn split_token(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr(b',', bytes).unwrap_or(bytes.len());
    bytes.split_at_checked(end).unwrap_or((bytes, &[]))
}
