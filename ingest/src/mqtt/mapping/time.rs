//! Times in payloads.

use chrono::DateTime;
use serde_json::Value;

use storage::model::Timestamp;

use crate::line_protocol::Precision;

/// Microseconds: the finest unit that a float of today's seconds still holds.
const MICROS_PER_SECOND: f64 = 1e6;

/// Floats of at least this are not microseconds in 64 bits of nanoseconds.
const FLOAT_MICROS_LIMIT: f64 = 9.2e15;

/// ISO 8601 with a zone in forms that RFC 3339 does not allow: `+0100`, and a space for the `T`.
const OTHER_FORMS: [&str; 2] = ["%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%d %H:%M:%S%.f%z"];

/// A time: a whole number of s, ms, us or ns by its size, a fractional number of seconds (or of ms or us, by its
/// size), the same as text, or ISO 8601 with a zone. `None` for everything else, also for a local time without a
/// zone, which could be any of a day.
pub(super) fn read(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Number(number) => match number.as_i64() {
            Some(whole) => from_whole(whole),
            None => from_float(number.as_f64()?),
        },
        Value::String(text) => {
            let text = text.trim();
            if let Ok(whole) = text.parse() {
                return from_whole(whole);
            }
            match text.parse() {
                Ok(float) => from_float(float),
                Err(_) => from_iso(text),
            }
        }
        _ => None,
    }
}

fn from_whole(number: i64) -> Option<Timestamp> {
    Precision::Auto.to_nanos(number).ok().map(Timestamp::from_nanos)
}

fn from_float(number: f64) -> Option<Timestamp> {
    // The same sizes as those of whole numbers.
    let seconds = match number.abs() {
        size if size < 5e9 => number,
        size if size < 5e12 => number / 1e3,
        size if size < 5e15 => number / 1e6,
        _ => number / 1e9,
    };
    let micros = (seconds * MICROS_PER_SECOND).round();
    if micros.is_nan() || micros.abs() >= FLOAT_MICROS_LIMIT {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "it is a whole number in range, checked above")]
    let micros = micros as i64;
    micros.checked_mul(1_000).map(Timestamp::from_nanos)
}

fn from_iso(text: &str) -> Option<Timestamp> {
    let parsed = DateTime::parse_from_rfc3339(text)
        .ok()
        .or_else(|| OTHER_FORMS.iter().find_map(|form| DateTime::parse_from_str(text, form).ok()))?;
    parsed.timestamp_nanos_opt().map(Timestamp::from_nanos)
}
