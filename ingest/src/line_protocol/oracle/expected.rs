//! Lines that are read by the fields of another one: what is read must be what the line says.

use storage::model::ValueRef;

use crate::line_protocol::{Head, LineError, is_plain_name};

type Read = (Option<i64>, Vec<ValueRef<'static>>);

fn expecting(names: &[&str], line: &[u8]) -> Option<Read> {
    let mut values = Vec::new();
    let head = Head::cut(line).ok()?;
    let put = |value| {
        values.push(value);
        Some(())
    };
    let timestamp = head.read_expected(names.iter().map(|name| name.as_bytes()), put)?;
    Some((timestamp, values))
}

/// What the line says, if the values are ones that can be expected.
fn said(names: &[&str], line: &[u8]) -> Result<Read, LineError> {
    let line = Head::cut(line)?.line()?;
    let mut values = Vec::new();
    let mut names = names.iter();
    for field in line.fields() {
        let field = field?;
        assert_eq!(Some(&&*field.key), names.next(), "a field was taken for another one");
        values.push(match field.value.as_ref() {
            ValueRef::Float(value) => ValueRef::Float(value),
            ValueRef::Integer(value) => ValueRef::Integer(value),
            ValueRef::Unsigned(value) => ValueRef::Unsigned(value),
            ValueRef::Boolean(value) => ValueRef::Boolean(value),
            ValueRef::Text(text) => panic!("the text {text:?} was taken for a number"),
        });
    }
    assert_eq!(names.next(), None, "a field is missing");
    Ok((line.timestamp, values))
}

fn bits(read: &Read) -> (Option<i64>, Vec<String>) {
    // A negative zero is another float than zero.
    let text = |value: &ValueRef<'_>| match value {
        ValueRef::Float(value) => format!("{:x}", value.to_bits()),
        other => format!("{other:?}"),
    };
    (read.0, read.1.iter().map(text).collect())
}

/// Whether the line is read by fields of these names; then it must say the same.
pub(in crate::line_protocol) fn check(names: &[&str], line: &[u8]) -> bool {
    let Some(read) = expecting(names, line) else { return false };
    let said =
        said(names, line).unwrap_or_else(|error| panic!("{:?}: {error}", line.escape_ascii().to_string()));
    assert_eq!(bits(&read), bits(&said), "{}", line.escape_ascii());
    true
}

/// The names of a line's fields, as far as one could be expected by them.
pub(in crate::line_protocol) fn names(line: &[u8]) -> Vec<String> {
    let Ok(line) = Head::cut(line).and_then(|head| head.line()) else { return Vec::new() };
    let names = line.fields().map_while(Result::ok).map(|field| field.key.into_owned());
    names.take_while(|name| is_plain_name(name)).collect()
}
