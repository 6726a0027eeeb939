//! Takes a series apart: measurement and tags.

use std::borrow::Cow;

use smallvec::SmallVec;
use storage::limits;

use super::LineError;
use super::escape;

/// Names and values of tags. Usual ones take no memory of their own.
pub type Tags<'a> = SmallVec<[(Cow<'a, str>, Cow<'a, str>); 8]>;

/// A series without escapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesParts<'a> {
    /// The measurement: not empty.
    pub measurement: Cow<'a, str>,
    /// Names and values in the order of the line: none empty, no name twice.
    pub tags: Tags<'a>,
}

/// Takes a series apart that [`super::Head::cut`] found.
///
/// # Errors
/// When the measurement, or the name or value of a tag is missing, ends in a backslash or is not UTF-8; when a
/// name comes twice; when the series is longer than `limits::SERIES_KEY_BYTES`.
pub fn parse_series(raw: &[u8]) -> Result<SeriesParts<'_>, LineError> {
    if raw.len() > limits::SERIES_KEY_BYTES {
        return Err(LineError::SeriesTooLong { actual: raw.len(), limit: limits::SERIES_KEY_BYTES });
    }
    let (measurement, mut rest) = split_at_comma(raw);
    if measurement.is_empty() {
        return Err(LineError::MissingMeasurement);
    }
    let measurement = escape::measurement(measurement)?;
    let mut tags = Tags::new();
    while let Some(bytes) = rest {
        let tag;
        (tag, rest) = split_at_comma(bytes);
        tags.push(read_tag(tag)?);
    }
    check_duplicates(&tags)?;
    Ok(SeriesParts { measurement, tags })
}

fn read_tag(raw: &[u8]) -> Result<(Cow<'_, str>, Cow<'_, str>), LineError> {
    let equals = escape::find_unescaped(raw, b'=').unwrap_or(raw.len());
    let (key, value) = raw.split_at_checked(equals).unwrap_or((raw, &[]));
    let value = value.get(1..).unwrap_or_default();
    if key.is_empty() {
        return Err(LineError::MissingTagKey);
    }
    if value.is_empty() {
        return Err(LineError::MissingTagValue);
    }
    Ok((escape::key(key, "tag name")?, escape::key(value, "tag value")?))
}

fn check_duplicates(tags: &[(Cow<'_, str>, Cow<'_, str>)]) -> Result<(), LineError> {
    /// Up to this many, comparing all pairs is faster than sorting, and needs no memory.
    const FEW: usize = 16;

    let duplicate = if tags.len() <= FEW {
        tags.iter().enumerate().find_map(|(at, (key, _))| {
            tags.iter().take(at).any(|(other, _)| other == key).then(|| key.clone())
        })
    } else {
        let mut keys: Vec<&Cow<'_, str>> = tags.iter().map(|(key, _)| key).collect();
        keys.sort_unstable();
        keys.windows(2).find_map(|pair| match pair {
            [left, right] if left == right => Some((*left).clone()),
            _ => None,
        })
    };
    duplicate.map_or(Ok(()), |key| Err(LineError::DuplicateTag(key.into())))
}

/// What stands before the first comma that nothing escapes, and what behind it.
fn split_at_comma(bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    match escape::find_unescaped(bytes, b',') {
        Some(at) => (bytes.get(..at).unwrap_or_default(), bytes.get(at + 1..)),
        None => (bytes, None),
    }
}
