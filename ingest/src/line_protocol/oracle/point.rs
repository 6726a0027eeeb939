//! A line, read as a whole.

use std::borrow::Cow;

use crate::line_protocol::{Line, LineError, Value, parse_series};

/// A line, read as a whole.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::line_protocol) struct Point {
    pub(in crate::line_protocol) measurement: String,
    pub(in crate::line_protocol) tags: Vec<(String, String)>,
    pub(in crate::line_protocol) fields: Vec<(String, Value<'static>)>,
    pub(in crate::line_protocol) timestamp: Option<i64>,
}

/// Reads one line as a whole.
pub(in crate::line_protocol) fn read(line: &[u8]) -> Result<Point, LineError> {
    let line = Line::split(line)?;
    let series = parse_series(line.series)?;
    let mut fields = Vec::new();
    for field in line.fields() {
        let field = field?;
        fields.push((field.key.into_owned(), own(field.value)));
    }
    Ok(Point {
        measurement: series.measurement.into_owned(),
        tags: series.tags.into_iter().map(|(key, value)| (key.into_owned(), value.into_owned())).collect(),
        fields,
        timestamp: line.timestamp,
    })
}

fn own(value: Value<'_>) -> Value<'static> {
    match value {
        Value::Float(v) => Value::Float(v),
        Value::Integer(v) => Value::Integer(v),
        Value::Unsigned(v) => Value::Unsigned(v),
        Value::Boolean(v) => Value::Boolean(v),
        Value::Text(v) => Value::Text(Cow::Owned(v.into_owned())),
    }
}
