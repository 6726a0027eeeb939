//! Tests of the parser: by table, against another parser, by round trip, and with arbitrary bytes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod cutting;
mod expected;
mod harness;
mod malformed;
mod numbers;
mod oracle;
mod precisions;
mod round_trip;

use std::borrow::Cow;

use super::oracle::read;
use super::{Line, Value, parse_series};

#[test]
fn a_plain_line_is_read_without_allocating() {
    let line =
        Line::split(b"cpu,host=a,region=w usage=64.2,n=3i,u=7u,on=t,s=\"x y\" 1590488773254420000").unwrap();
    assert_eq!(line.series, b"cpu,host=a,region=w");
    assert_eq!(line.timestamp, Some(1_590_488_773_254_420_000));
    let fields: Vec<_> = line.fields().map(Result::unwrap).collect();
    assert!(fields.iter().all(|field| matches!(field.key, Cow::Borrowed(_))));
    assert!(matches!(fields[4].value, Value::Text(Cow::Borrowed("x y"))));
    let series = parse_series(line.series).unwrap();
    assert!(matches!(series.measurement, Cow::Borrowed("cpu")));
    assert!(series.tags.iter().all(|(k, v)| matches!((k, v), (Cow::Borrowed(_), Cow::Borrowed(_)))));
}

#[test]
fn escapes_are_taken_out_of_names_and_texts() {
    let point = read(br#"my\ m\,x\=y,a\=b=c\,d\ e,url=http://x?y=z f\ 1="q\"\\n\a",\=="" -5"#).unwrap();
    assert_eq!(point.measurement, r"my m,x\=y");
    assert_eq!(point.tags, [("a=b".into(), "c,d e".into()), ("url".into(), "http://x?y=z".into())]);
    assert_eq!(point.fields[0], ("f 1".into(), Value::Text(r#"q"\n\a"#.into())));
    assert_eq!(point.fields[1], ("=".into(), Value::Text("".into())));
    assert_eq!(point.timestamp, Some(-5));
}

#[test]
fn other_backslashes_in_names_stand_for_themselves() {
    let point = read(br"m\\x,path=C:\temp\\x f\o=1").unwrap();
    assert_eq!(point.measurement, r"m\\x");
    assert_eq!(point.tags, [("path".into(), r"C:\temp\\x".into())]);
    assert_eq!(point.fields[0].0, r"f\o");
}

#[test]
fn names_may_be_any_utf8() {
    let point = read("°C,räum=ü µg/m³=1,\u{1F525}=t".as_bytes()).unwrap();
    assert_eq!(point.measurement, "°C");
    assert_eq!(point.tags, [("räum".into(), "ü".into())]);
    assert_eq!(point.fields[1], ("\u{1F525}".into(), Value::Boolean(true)));
}

#[test]
fn blanks_between_the_parts_do_no_harm() {
    let expected = read(b"m,a=b f=1 5").unwrap();
    for line in [&b"m,a=b  f=1  5"[..], b"m,a=b \tf=1 5 ", b"m,a=b f=1 5\t"] {
        assert_eq!(read(line).unwrap(), expected);
    }
    assert_eq!(read(b"m f=1 ").unwrap().timestamp, None);
}
