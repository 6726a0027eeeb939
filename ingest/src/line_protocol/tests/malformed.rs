//! Malformed lines and the words they are answered with.

use storage::limits;

use super::read;
use crate::line_protocol::{Dialect, LineError};

fn check(line: &str, v1: &str, v3: &str) {
    let error = read(line.as_bytes()).expect_err(line);
    assert_eq!(error.reason(Dialect::V1), v1, "{line:?} in v1");
    assert_eq!(error.reason(Dialect::V2), v1, "{line:?} in v2");
    assert_eq!(error.reason(Dialect::V3), v3, "{line:?} in v3");
}

#[test]
fn parts_that_are_missing_are_named() {
    let no_fields = "No fields were provided";
    let bad_tags = "Tag Set Malformed";
    check("m", "missing fields", no_fields);
    check("m ", "missing fields", no_fields);
    check("m,a=b", "missing fields", no_fields);
    check("m,a=b  ", "missing fields", no_fields);
    check(",a=b f=1", "missing measurement", "Invalid measurement was provided");
    check("m, f=1", "missing tag key", bad_tags);
    check("m,=b f=1", "missing tag key", bad_tags);
    check("m,a=b, f=1", "missing tag key", bad_tags);
    check("m,,a=b f=1", "missing tag key", bad_tags);
    check("m,a f=1", "missing tag value", bad_tags);
    check("m,a= f=1", "missing tag value", bad_tags);
    check("m,a=,b=c f=1", "missing tag value", bad_tags);
    check("m,a=b,c", "missing tag value", bad_tags);
    check("m =1", "missing field key", no_fields);
    check("m a=1,=2", "missing field key", no_fields);
    check("m a=", "missing field value", no_fields);
    check("m a=,b=1", "missing field value", no_fields);
    check("m a= 5", "missing field value", no_fields);
}

#[test]
fn tags_that_come_twice_are_refused() {
    let v3 = "Must not contain duplicate tags, but \"a\" was repeated";
    check("m,a=b,a=c f=1", "duplicate tags", v3);
    check("m,a=b,z=1,a=b f=1", "duplicate tags", v3);
    let many: String = (0..40).map(|n| format!(",t{n}=1")).collect();
    check(&format!("m,a=b{many},a=c f=1"), "duplicate tags", v3);
    assert!(read(format!("m,a=b{many} f=1").as_bytes()).is_ok());
}

#[test]
fn values_that_are_none_are_refused() {
    let float = |text: &str| format!("Unable to parse floating-point value '{text}'");
    check("m a=1.1.1", "invalid number", &float("1.1.1"));
    check("m a=NaN", "invalid number", &float("NaN"));
    check("m a=-", "invalid number", &float("-"));
    check("m a=1e999", "invalid float", &float("1e999"));
    check(
        "m a=9223372036854775808i",
        "unable to parse integer 9223372036854775808: strconv.ParseInt: parsing \"9223372036854775808\": value out of range",
        "Unable to parse integer value '9223372036854775808'",
    );
    check(
        "m a=18446744073709551616u",
        "unable to parse unsigned 18446744073709551616: strconv.ParseUint: parsing \"18446744073709551616\": value out of range",
        "Unable to parse unsigned integer value '18446744073709551616'",
    );
    for word in ["yes", "tru", "Inf", "trues", "tRUE", "'x'", "x\"y\""] {
        let v3 = format!("'{word}' is no number, truth value or quoted text");
        check(&format!("m a={word}"), "invalid boolean", &v3);
    }
    let quotes = "unbalanced quotes: a text value has no closing quote";
    check("m a=\"x", quotes.split(':').next().unwrap(), quotes);
    check("m a=\"x\\\"", "unbalanced quotes", quotes);
    check("m a=\"x 5", "unbalanced quotes", quotes);
}

#[test]
fn fields_are_separated_by_single_commas() {
    let v3 = "fields must be name=value separated by single commas";
    for line in
        ["m a", "m a=1,b", "m a=1,", "m a=1,,b=2", "m ,a=1", "m a=\"x\"y", "m a=\"x\"b=1", "m a\\=1", "m 5"]
    {
        check(line, "invalid field format", v3);
    }
}

#[test]
fn what_follows_the_fields_is_one_whole_number() {
    let timestamp = |text: &str| format!("Unable to parse timestamp value '{text}'");
    for text in ["x", "1.5", "-", "+5", "5x", "1e9", "b=2", "\""] {
        check(&format!("m a=1 {text}"), "bad timestamp", &timestamp(text));
    }
    check(
        "m a=1 9223372036854775808",
        "time outside range -9223372036854775806 - 9223372036854775806",
        &timestamp("9223372036854775808"),
    );
    check("m a=1 5 6", "point is invalid", "Could not parse entire line. Found trailing content: '6'");
}

#[test]
fn a_name_must_not_end_with_a_backslash() {
    for line in [r"m\\ f=1", r"m\\,a=b f=1", r"m,a\\=b f=1", r"m,a=b\\ f=1", r"m,a=b\\,c=d f=1", r"m f\\=1"] {
        assert_eq!(read(line.as_bytes()), Err(LineError::TrailingBackslash), "{line}");
    }
    assert_eq!(
        LineError::TrailingBackslash.reason(Dialect::V3),
        "Measurements, tag keys and values, and field keys may not end with a backslash"
    );
    // Here the backslash escapes the space, so the fields are missing or something else.
    assert!(read(br"m,a=b\ f=1").is_err());
    assert!(read(br"m\").is_err());
}

#[test]
fn bytes_that_are_not_utf8_are_refused_wherever_they_are() {
    for line in
        [&b"\xff f=1"[..], b"m,\xff=b f=1", b"m,a=\xff f=1", b"m \xff=1", b"m f=\"\xff\"", b"m,a=b\\\xff f=1"]
    {
        assert!(matches!(read(line), Err(LineError::NotUtf8(_))), "{line:?}");
    }
    assert!(matches!(read(b"m f=\xff"), Err(LineError::InvalidValue(_))));
}

#[test]
fn lengths_have_limits() {
    let long = "x".repeat(limits::SERIES_KEY_BYTES);
    assert!(read(format!("{long} f=1").as_bytes()).is_ok());
    check(
        &format!("{long}x f=1"),
        "max key length exceeded: 65536 > 65535",
        "measurement and tags have 65536 bytes, 65535 are allowed",
    );
    check(
        &format!("m {long}x=1"),
        "max key length exceeded: 65536 > 65535",
        "a field name has 65536 bytes, 65535 are allowed",
    );
    let text = "x".repeat(limits::TEXT_VALUE_BYTES);
    assert!(read(format!("m f=\"{text}\"").as_bytes()).is_ok());
    let error = read(format!("m f=\"{text}x\"").as_bytes());
    assert!(matches!(error, Err(LineError::TextTooLong { .. })));
}

#[test]
fn an_error_repeats_only_the_beginning_of_long_input() {
    let error = read(format!("m f={}", "x".repeat(100_000)).as_bytes()).unwrap_err();
    assert!(error.to_string().len() < 300);
}

#[test]
fn a_field_that_comes_twice_has_its_words() {
    let error = LineError::DuplicateField("x".into());
    assert_eq!(error.reason(Dialect::V3), "invalid line protocol - multiple instances of 'x' field found");
}
