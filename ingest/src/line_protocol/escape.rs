//! Backslashes: finding what is not escaped, and taking them out.

use std::borrow::Cow;

use memchr::{memchr2, memchr3};

use super::LineError;

/// The first `wanted` that no backslash escapes. A backslash takes the byte behind it along, whatever it is.
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

/// What stands before the first `=` that nothing escapes, and what behind it. `None` also when a comma comes first.
pub(super) fn split_at_equals(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    loop {
        let found = at + memchr3(b'=', b',', b'\\', bytes.get(at..)?)?;
        match bytes.get(found) {
            Some(b'=') => return Some((bytes.get(..found)?, bytes.get(found + 1..)?)),
            Some(b',') => return None,
            _ => at = found + 2,
        }
    }
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

fn utf8<'a>(raw: &'a [u8], what: &'static str) -> Result<&'a str, LineError> {
    std::str::from_utf8(raw).map_err(|_| LineError::NotUtf8(what))
}
