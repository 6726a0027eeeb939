//! Writes points as line protocol, with escapes.

use super::Point;
use crate::line_protocol::Value;

/// The canonical line of a point.
pub(in crate::line_protocol) fn write(point: &Point) -> String {
    let mut line = escape(&point.measurement, &[',', ' ']);
    for (key, value) in &point.tags {
        line.push_str(&format!(",{}={}", escape_key(key), escape_key(value)));
    }
    for (at, (key, value)) in point.fields.iter().enumerate() {
        line.push(if at == 0 { ' ' } else { ',' });
        line.push_str(&format!("{}={}", escape_key(key), write_value(value)));
    }
    if let Some(timestamp) = point.timestamp {
        line.push_str(&format!(" {timestamp}"));
    }
    line
}

fn write_value(value: &Value<'_>) -> String {
    match value {
        Value::Float(v) => format!("{v}"),
        Value::Integer(v) => format!("{v}i"),
        Value::Unsigned(v) => format!("{v}u"),
        Value::Boolean(v) => format!("{v}"),
        Value::Text(v) => format!("\"{}\"", escape(v, &['"', '\\'])),
    }
}

fn escape_key(text: &str) -> String {
    escape(text, &[',', '=', ' '])
}

fn escape(text: &str, special: &[char]) -> String {
    let mut escaped = String::new();
    for char in text.chars() {
        if special.contains(&char) {
            escaped.push('\\');
        }
        escaped.push(char);
    }
    escaped
}
