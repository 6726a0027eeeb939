//! Units of timestamps.

use proptest::prelude::*;

use crate::line_protocol::{LineError, Precision};

#[test]
fn each_endpoint_knows_its_units() {
    for (text, unit) in [
        ("", Precision::Nanosecond),
        ("n", Precision::Nanosecond),
        ("ns", Precision::Nanosecond),
        ("u", Precision::Microsecond),
        ("ms", Precision::Millisecond),
        ("s", Precision::Second),
        ("m", Precision::Minute),
        ("h", Precision::Hour),
    ] {
        assert_eq!(Precision::v1(text), Ok(unit), "{text}");
    }
    assert_eq!(Precision::v2(""), Ok(Precision::Nanosecond));
    assert_eq!(Precision::v2("us"), Ok(Precision::Microsecond));
    for (text, unit) in [
        ("", Precision::Auto),
        ("auto", Precision::Auto),
        ("second", Precision::Second),
        ("s", Precision::Second),
        ("millisecond", Precision::Millisecond),
        ("microsecond", Precision::Microsecond),
        ("us", Precision::Microsecond),
        ("nanosecond", Precision::Nanosecond),
    ] {
        assert_eq!(Precision::v3(text), Ok(unit), "{text}");
    }
}

#[test]
fn unknown_units_are_answered_in_the_words_of_the_endpoint() {
    let words =
        |result: Result<Precision, _>| result.map_err(|e: super::super::InvalidPrecision| e.to_string());
    assert_eq!(words(Precision::v1("x")), Err("invalid precision \"x\" (use n, u, ms, s, m or h)".into()));
    assert_eq!(words(Precision::v2("m")), Err("invalid precision \"m\" (use ns, us, ms or s)".into()));
    assert!(words(Precision::v3("h")).is_err());
    assert!(words(Precision::v1(&"x".repeat(10_000))).is_err_and(|text| text.len() < 100));
}

#[test]
fn auto_goes_by_size() {
    let at = |raw| Precision::Auto.to_nanos(raw);
    assert_eq!(at(1_700_000_000), Ok(1_700_000_000_000_000_000));
    assert_eq!(at(1_700_000_000_000), Ok(1_700_000_000_000_000_000));
    assert_eq!(at(1_700_000_000_000_000), Ok(1_700_000_000_000_000_000));
    assert_eq!(at(1_700_000_000_000_000_000), Ok(1_700_000_000_000_000_000));
    assert_eq!(at(-1), Ok(-1_000_000_000));
    assert_eq!(at(4_999_999_999), Ok(4_999_999_999_000_000_000));
    assert_eq!(at(5_000_000_000), Ok(5_000_000_000_000_000));
    assert_eq!(at(5_000_000_000_000), Ok(5_000_000_000_000_000));
    assert_eq!(at(5_000_000_000_000_000), Ok(5_000_000_000_000_000));
    assert_eq!(at(i64::MIN), Ok(i64::MIN));
}

#[test]
fn a_time_that_does_not_fit_is_an_error_of_its_line() {
    let error = Precision::Second.to_nanos(9_223_372_037).unwrap_err();
    assert_eq!(error, LineError::TimestampOutOfRange("9223372037".into()));
    assert_eq!(Precision::Second.to_nanos(9_223_372_036), Ok(9_223_372_036_000_000_000));
    assert_eq!(Precision::Hour.to_nanos(-2_562_047), Ok(-9_223_369_200_000_000_000));
}

proptest! {
    #[test]
    fn truncating_gives_the_last_whole_unit(now in (i64::MIN + 3_600_000_000_000)..) {
        for (precision, unit) in [
            (Precision::Nanosecond, 1),
            (Precision::Auto, 1),
            (Precision::Microsecond, 1_000),
            (Precision::Millisecond, 1_000_000),
            (Precision::Second, 1_000_000_000),
            (Precision::Minute, 60_000_000_000),
            (Precision::Hour, 3_600_000_000_000_i64),
        ] {
            let truncated = precision.truncate(now);
            prop_assert!(truncated <= now && now - truncated < unit && truncated % unit == 0);
        }
    }
}
