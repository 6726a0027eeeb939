//! What is written is read.

use std::borrow::Cow;

use proptest::prelude::*;

use crate::line_protocol::oracle::{Point, read, writer};
use crate::line_protocol::{Value, lines};

/// Names with everything that needs an escape. A backslash stands only before a letter: before other characters
/// line protocol cannot say it.
fn name() -> impl Strategy<Value = String> {
    "([a-zA-Z0-9 ,=°\"'/]|\\\\[a-z]){0,6}[a-z°\"#]"
}

fn measurement() -> impl Strategy<Value = String> {
    name().prop_filter("a comment", |name| !name.starts_with('#'))
}

fn value() -> impl Strategy<Value = Value<'static>> {
    prop_oneof![
        any::<f64>().prop_filter("finite", |v| v.is_finite()).prop_map(Value::Float),
        (-1_000_000_i32..1_000_000).prop_map(|v| Value::Float(f64::from(v) / 100.0)),
        any::<i64>().prop_map(Value::Integer),
        any::<u64>().prop_map(Value::Unsigned),
        any::<bool>().prop_map(Value::Boolean),
        "[a-z \"\\\\\n\r=,°#]{0,12}".prop_map(|text| Value::Text(Cow::Owned(text))),
        any::<String>().prop_map(|text| Value::Text(Cow::Owned(text))),
    ]
}

/// Points that line protocol can say.
pub(super) fn point() -> impl Strategy<Value = Point> {
    let tags = prop::collection::btree_map(name(), name(), 0..20);
    let fields = prop::collection::vec((name(), value()), 1..6);
    (measurement(), tags, fields, any::<Option<i64>>()).prop_map(|(measurement, tags, fields, timestamp)| {
        Point { measurement, tags: tags.into_iter().collect(), fields, timestamp }
    })
}

proptest! {
    #[test]
    fn a_written_line_is_read_back(point in point()) {
        let line = writer::write(&point);
        prop_assert_eq!(read(line.as_bytes()), Ok(point), "{}", line);
    }

    #[test]
    fn written_lines_are_cut_where_they_were_joined(
        points in prop::collection::vec(point(), 1..6),
        crlf in any::<bool>(),
    ) {
        let end = if crlf { "\r\n" } else { "\n" };
        let body: String = points.iter().map(|point| writer::write(point) + end).collect();
        let read: Vec<_> = lines(body.as_bytes()).map(|line| read(line.bytes)).collect();
        prop_assert_eq!(read, points.into_iter().map(Ok).collect::<Vec<_>>(), "{}", body);
    }
}
