//! Applies a mapping to a payload.

use serde_json::{Map, Value};

use storage::limits;
use storage::model::FieldValue;

use super::{Compiled, DecodeError, FieldKind, FieldSource, TagSource, time};
use crate::mqtt::topic::Captures;
use crate::row::Row;

/// Bytes of a bad value that its error repeats.
const EXCERPT_CHARS: usize = 60;

/// 2^63, the first float beyond all signed integers.
const BEYOND_INTEGERS: f64 = 9_223_372_036_854_775_808.0;

pub(super) fn rows(
    mapping: &Compiled,
    captures: &Captures<'_>,
    payload: &[u8],
) -> Result<Vec<Row>, DecodeError> {
    let root: Value =
        serde_json::from_slice(payload).map_err(|error| DecodeError::Json(error.to_string()))?;
    match root {
        Value::Array(items) if !items.is_empty() => {
            items.iter().map(|item| row(mapping, captures, item)).collect()
        }
        root => row(mapping, captures, &root).map(|row| vec![row]),
    }
}

fn row(mapping: &Compiled, captures: &Captures<'_>, root: &Value) -> Result<Row, DecodeError> {
    if !root.is_object() {
        return Err(DecodeError::NoObject);
    }
    let tag = |(name, source): &(String, TagSource)| {
        let value = match source {
            TagSource::Text(text) => text.render(captures),
            TagSource::Path(path) => path.get(root).and_then(scalar_text)?,
        };
        (!value.is_empty()).then(|| (name.clone(), value))
    };
    let fields = fields(&mapping.fields, root)?;
    if fields.is_empty() {
        return Err(DecodeError::NoFields);
    }
    if fields.len() > limits::COLUMNS_PER_TABLE {
        return Err(DecodeError::TooManyFields(fields.len()));
    }
    Ok(Row {
        database: mapping.database.render(captures),
        table: mapping.table.render(captures),
        tags: mapping.tags.iter().filter_map(tag).collect(),
        fields,
        time: mapping.time.as_ref().and_then(|path| path.get(root)).and_then(time::read),
    })
}

fn fields(source: &FieldSource, root: &Value) -> Result<Vec<(String, FieldValue)>, DecodeError> {
    match source {
        FieldSource::All { root: path, allow, deny, strings } => {
            let mut leaves = Vec::new();
            if let Some(Value::Object(object)) = path.get(root) {
                gather(object, "", &mut leaves);
            }
            let taken = |(name, value): (String, &Value)| {
                if (!allow.is_empty() && !listed(allow, &name)) || listed(deny, &name) {
                    return None;
                }
                let value = match value {
                    Value::String(_) if !listed(strings, &name) => return None,
                    value => natural(value)?,
                };
                Some((name, value))
            };
            Ok(leaves.into_iter().filter_map(taken).collect())
        }
        FieldSource::Listed(fields) => {
            let mut found = Vec::with_capacity(fields.len());
            for (name, path, kind) in fields {
                let Some(value) = path.get(root) else { continue };
                found.push((name.clone(), typed(name, value, *kind)?));
            }
            Ok(found)
        }
    }
}

/// Gathers the leaves of an object with their flattened names. The depth is that of the JSON parser: 128.
fn gather<'a>(object: &'a Map<String, Value>, prefix: &str, leaves: &mut Vec<(String, &'a Value)>) {
    for (key, value) in object {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Object(object) => gather(object, &name, leaves),
            Value::Number(_) | Value::Bool(_) | Value::String(_) => leaves.push((name, value)),
            Value::Array(_) | Value::Null => {}
        }
    }
}

/// Whether a name is in a list, in which `a.*` stands for all that begins with `a.`.
fn listed(list: &[String], name: &str) -> bool {
    list.iter().any(|entry| match entry.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => entry == name,
    })
}

/// A value as what it is in JSON, numbers as floats.
fn natural(value: &Value) -> Option<FieldValue> {
    match value {
        Value::Number(number) => number.as_f64().filter(|float| float.is_finite()).map(FieldValue::Float),
        Value::Bool(value) => Some(FieldValue::Boolean(*value)),
        Value::String(text) => Some(FieldValue::Text(text.as_str().into())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn typed(name: &str, value: &Value, kind: Option<FieldKind>) -> Result<FieldValue, DecodeError> {
    let (found, expected) = match kind {
        None => (natural(value), "number, truth value or text"),
        Some(FieldKind::Float) => (float(value).map(FieldValue::Float), "number"),
        Some(FieldKind::Integer) => (integer(value).map(FieldValue::Integer), "whole number"),
        Some(FieldKind::Boolean) => (boolean(value).map(FieldValue::Boolean), "truth value"),
        Some(FieldKind::String) => (scalar_text(value).map(|text| FieldValue::Text(text.into())), "text"),
    };
    found.ok_or_else(|| DecodeError::Value {
        field: name.to_owned(),
        expected,
        value: value.to_string().chars().take(EXCERPT_CHARS).collect(),
    })
}

fn float(value: &Value) -> Option<f64> {
    let float = match value {
        Value::Number(number) => number.as_f64()?,
        // What `parse` takes beyond numbers is not finite.
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    float.is_finite().then_some(float)
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| whole(number.as_f64()?)),
        Value::String(text) => text.trim().parse().ok().or_else(|| whole(text.trim().parse().ok()?)),
        _ => None,
    }
}

/// A float that is a whole number in range, as one: devices write `5.0`.
fn whole(float: f64) -> Option<i64> {
    if float.fract() != 0.0 || !(-BEYOND_INTEGERS..BEYOND_INTEGERS).contains(&float) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is whole and within the range, both checked above"
    )]
    Some(float as i64)
}

fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::Number(number) => match number.as_i64()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        },
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "on" | "yes" | "1" => Some(true),
            "false" | "off" | "no" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
