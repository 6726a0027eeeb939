//! Holds the parser against the crate `influxdb-line-protocol`.
//!
//! Where the two differ on purpose, the difference is named here, and nothing else may differ.

use influxdb_line_protocol::{FieldValue, parse_lines};

use super::{Point, read, writer};
use crate::line_protocol::{LineError, Value};

/// What the other parser says of one line; `None` if it refuses it or sees more lines than one.
pub(in crate::line_protocol) fn parse(line: &str) -> Option<Point> {
    let mut parsed = parse_lines(line);
    let (Some(Ok(first)), None) = (parsed.next(), parsed.next()) else { return None };
    let value = |value: &FieldValue<'_>| match value {
        FieldValue::F64(v) => Value::Float(*v),
        FieldValue::I64(v) => Value::Integer(*v),
        FieldValue::U64(v) => Value::Unsigned(*v),
        FieldValue::Boolean(v) => Value::Boolean(*v),
        FieldValue::String(v) => Value::Text(v.to_string().into()),
    };
    Some(Point {
        measurement: first.series.measurement.to_string(),
        tags: first.series.tag_set.iter().flatten().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        fields: first.field_set.iter().map(|(k, v)| (k.to_string(), value(v))).collect(),
        timestamp: first.timestamp,
    })
}

/// Why we may accept a line that the other parser refuses.
fn is_known_leniency(line: &str, point: &Point) -> bool {
    // Blanks: it knows no tab, and no space behind the last field.
    let blanks = line.contains(['\t', '\r']) || line.ends_with(' ');
    // Floats: it wants digits on both sides of the point, and no plus.
    let has_float = point
        .fields
        .iter()
        .any(|(_, value)| matches!(value, Value::Float(_) | Value::Integer(_) | Value::Unsigned(_)));
    let floats = has_float && (line.contains('.') || line.contains('+') || line.contains('-'));
    // It cuts lines with another notion of quotes, in keys and at newlines.
    let quotes = line.contains('\n');
    // Bytes of zero: it takes them in texts alone.
    let zeros = line.contains('\0');
    blanks || floats || quotes || zeros
}

/// Why we may refuse a line that the other parser accepts.
fn is_known_strictness(line: &str, error: &LineError) -> bool {
    match error {
        // It reads `1e400` as infinity.
        LineError::DuplicateTag(_) | LineError::FloatOutOfRange(_) => true,
        // It takes `a,b` in `m,a,b=c` and `,b` in `m,,b=c` for names.
        LineError::MissingTagKey | LineError::MissingTagValue => line.contains(','),
        // It accepts one comma too many: `m f=1,`, `m ,f=1`, `m f=1,,g=2`.
        LineError::InvalidFieldFormat => line.contains(','),
        _ => false,
    }
}

/// Holds a line, which has no newline but in texts, against what the other parser says.
pub(in crate::line_protocol) fn check(line: &str) {
    let ours = read(line.as_bytes());
    match (&ours, parse(line)) {
        // In names it reads `\\` as one backslash, as v1 and v2 do not.
        (Ok(_), Some(_)) if line.contains(r"\\") => {}
        (Ok(ours), Some(other)) => assert_eq!(*ours, other, "{line:?}"),
        (Ok(ours), None) => assert!(is_known_leniency(line, ours), "only we accept {line:?}"),
        (Err(error), Some(_)) => {
            assert!(is_known_strictness(line, error), "only we refuse {line:?}: {error}");
        }
        (Err(_), None) => {}
    }
    // Whatever we accept, its canonical form means the same to both.
    if let Ok(ours) = ours
        && !line.contains(['\\', '\t', '\r', '\0'])
    {
        let canonical = writer::write(&ours);
        assert_eq!(parse(&canonical), Some(ours), "{line:?} as {canonical:?}");
    }
}
