//! Backslashes: finding what is not escaped, and taking them out.

use std::borrow::Cow;

use memchr::memchr2;

use super::LineError;

/// The first `wanted` that no backslash escapes. A backslash takes the byte behind it along, whatever it is.
#[inline]
pub(super) fn find_unescaped(bytes: &[u8], wanted: u8) -> Option<usize> {
    let mut at = 0;
    loop {
        let found = at + memchr2(wanted, b'\\', bytes.get(at..)?)?;
        if bytes.get(found) == Some(&wanted) {
            return Some(found);
        }
        at = found + 2;
    }
}

/// What stands before the first `=` that nothing escapes, whether it has backslashes, and what stands behind it.
/// `None` also when a comma comes first. Names are short, so a plain loop is faster than a vectorised search.
#[inline]
pub(super) fn split_at_equals(bytes: &[u8]) -> Option<(&[u8], bool, &[u8])> {
    let mut has_backslash = false;
    let mut places = bytes.iter().enumerate();
    while let Some((at, byte)) = places.next() {
        match byte {
            b'=' => return Some((bytes.get(..at)?, has_backslash, bytes.get(at + 1..)?)),
            b',' => return None,
            b'\\' => {
                has_backslash = true;
                places.next();
            }
            _ => {}
        }
    }
    None
}

/// The place of the quote that ends a text, counted from behind its opening quote.
pub(super) fn end_of_text(bytes: &[u8]) -> Option<usize> {
    find_unescaped(bytes, b'"')
}

/// A measurement: `\,` and `\ ` are escapes.
pub(super) fn measurement(raw: &[u8]) -> Result<Cow<'_, str>, LineError> {
    name(raw, "measurement", |byte| matches!(byte, b',' | b' '))
}

/// A tag's name or value, or a field's name: `\,`, `\=` and `\ ` are escapes.
pub(super) fn key<'a>(raw: &'a [u8], what: &'static str) -> Result<Cow<'a, str>, LineError> {
    name(raw, what, |byte| matches!(byte, b',' | b'=' | b' '))
}

/// A text: `\"` and `\\` are escapes.
pub(super) fn text(raw: &[u8]) -> Result<Cow<'_, str>, LineError> {
    let text = utf8(raw, "text value")?;
    if memchr::memchr(b'\\', raw).is_none() {
        return Ok(Cow::Borrowed(text));
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        let escaped = if char == '\\' { chars.next_if(|next| matches!(next, '"' | '\\')) } else { None };
        plain.push(escaped.unwrap_or(char));
    }
    Ok(Cow::Owned(plain))
}

fn name<'a>(
    raw: &'a [u8],
    what: &'static str,
    is_escape: impl Fn(u8) -> bool,
) -> Result<Cow<'a, str>, LineError> {
    let text = utf8(raw, what)?;
    let Some(first) = memchr::memchr(b'\\', raw) else { return Ok(Cow::Borrowed(text)) };
    let (start, rest) = text.split_at_checked(first).unwrap_or((text, ""));
    let mut plain = String::with_capacity(text.len());
    plain.push_str(start);
    let mut chars = rest.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            plain.push(char);
            continue;
        }
        match chars.next() {
            Some(next) if u8::try_from(next).is_ok_and(&is_escape) => plain.push(next),
            Some('\\') if chars.as_str().is_empty() => return Err(LineError::TrailingBackslash),
            Some(next) => plain.extend(['\\', next]),
            None => return Err(LineError::TrailingBackslash),
        }
    }
    Ok(Cow::Owned(plain))
}

#[inline]
pub(super) fn utf8<'a>(raw: &'a [u8], what: &'static str) -> Result<&'a str, LineError> {
    std::str::from_utf8(raw).map_err(|_| LineError::NotUtf8(what))
}
