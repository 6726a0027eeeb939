//! Holds the parser against the crate `influxdb-line-protocol`.
//!
//! Where the two differ on purpose, the difference is named here, and nothing else may differ.

use influxdb_line_protocol::{FieldValue, parse_lines};
use proptest::prelude::*;

use super::harness::pieces;
use super::round_trip::point;
use super::{Point, read, writer};
use crate::line_protocol::{LineError, Value, lines};

/// What the other parser says of one line; `None` if it refuses it or sees more lines than one.
fn other(line: &str) -> Option<Point> {
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
    blanks || floats || quotes
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

fn check(line: &str) {
    let ours = read(line.as_bytes());
    match (&ours, other(line)) {
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
        && !line.contains(['\\', '\t', '\r'])
    {
        let canonical = writer::write(&ours);
        assert_eq!(other(&canonical), Some(ours), "{line:?} as {canonical:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn both_parsers_agree_on_any_pieces(data in pieces()) {
        for line in lines(&data) {
            check(std::str::from_utf8(line.bytes).unwrap());
        }
    }

    #[test]
    fn both_parsers_agree_on_written_points(point in point()) {
        check(&writer::write(&point));
    }
}

#[test]
fn the_known_differences_are_still_there() {
    for lenient in ["m f=.5", "m f=5.", "m f=+5", "m f=1.e5", "m f=1 ", "m\tx f=1"] {
        assert!(read(lenient.as_bytes()).is_ok() && other(lenient).is_none(), "{lenient:?}");
    }
    for strict in ["m,a=b,a=c f=1", "m,a,b=c f=1", "m,,b=c f=1", "m f=1,", "m,a=b ,f=1"] {
        assert!(read(strict.as_bytes()).is_err() && other(strict).is_some(), "{strict:?}");
    }
}
