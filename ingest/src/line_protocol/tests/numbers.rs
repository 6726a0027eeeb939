//! Numbers are what the standard library says.

use proptest::prelude::*;

use super::read;
use crate::line_protocol::{LineError, Value, number};

fn value(text: &str) -> Result<Value<'static>, LineError> {
    read(format!("m f={text},g=1").as_bytes()).map(|point| point.fields[0].1.clone())
}

fn assert_float(text: &str) {
    let expected: f64 = text.parse().unwrap();
    match value(text) {
        Ok(Value::Float(actual)) => assert_eq!(actual.to_bits(), expected.to_bits(), "{text}"),
        Err(LineError::FloatOutOfRange(_)) => assert!(expected.is_infinite(), "{text}"),
        other => panic!("{text} gave {other:?}"),
    }
}

#[test]
fn floats_are_exact_at_the_edges_of_the_fast_path() {
    for text in [
        "0",
        "-0",
        "0.0",
        "-0.0",
        ".5",
        "5.",
        "+5",
        "-.5",
        "1.e5",
        "1e0",
        "00001.50",
        "9007199254740992",
        "9007199254740993",
        "9007199254740991.5",
        "0.9007199254740993",
        "0.0000000000000000000001",
        "0.00000000000000000000001",
        "1.0000000000000000000000",
        "9999999999999999999",
        "99999999999999999999",
        "18446744073709551616",
        "0.1",
        "0.3",
        "1.7976931348623157e308",
        "5e-324",
        "2.2250738585072011e-308",
        "1e-400",
        "123456789012345678901234567890.5",
    ] {
        assert_float(text);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    assert!(matches!(value("9223372036854775807i"), Ok(Value::Integer(i64::MAX))));
    assert!(matches!(value("-9223372036854775808i"), Ok(Value::Integer(i64::MIN))));
    assert!(matches!(value("000000000000000000000007i"), Ok(Value::Integer(7))));
    assert!(matches!(value("18446744073709551615u"), Ok(Value::Unsigned(u64::MAX))));
    assert!(matches!(value("+5u"), Ok(Value::Unsigned(5))));
    assert!(matches!(value("+5i"), Ok(Value::Integer(5))));
    for text in ["9223372036854775808i", "-9223372036854775809i"] {
        assert!(matches!(value(text), Err(LineError::IntegerOutOfRange(_))), "{text}");
    }
    assert!(matches!(value("18446744073709551616u"), Err(LineError::UnsignedOutOfRange(_))));
    assert!(matches!(value("1e309"), Err(LineError::FloatOutOfRange(_))));
    for text in [
        "-",
        "+",
        ".",
        "-.",
        "--1",
        "1-1",
        "1.1.1",
        "1e",
        "e5",
        "1e+",
        "0x10",
        "1_000",
        "-5u",
        "1.0i",
        "1e5i",
        "i1",
        "1i1",
        "-i",
        "1ii",
        "NaN",
        "nan",
        "-inf",
        "+Infinity",
        "-NaN",
        "5 000",
        "1f",
    ] {
        assert!(value(text).is_err(), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn any_float_is_read_exactly(bits in any::<u64>()) {
        let float = f64::from_bits(bits);
        prop_assume!(float.is_finite());
        assert_float(&format!("{float}"));
        assert_float(&format!("{float:e}"));
    }

    #[test]
    fn any_decimal_is_read_exactly(text in "[-+]?([0-9]{1,22}(\\.[0-9]{0,25})?|\\.[0-9]{1,25})([eE][-+]?[0-9]{1,3})?") {
        assert_float(&text);
    }

    #[test]
    fn any_integer_is_read_exactly(signed in any::<i64>(), unsigned in any::<u64>()) {
        prop_assert_eq!(value(&format!("{signed}i")), Ok(Value::Integer(signed)));
        prop_assert_eq!(value(&format!("{unsigned}u")), Ok(Value::Unsigned(unsigned)));
    }
}

proptest! {
    #[test]
    fn whole_numbers_are_read_eight_digits_at_a_time_as_one_by_one(
        digits in "[0-9]{0,21}",
        // At each place one that is no digit, above and below them and far from them.
        other in prop_oneof![Just(None), ("[/:-?@ap\u{0}]", 0_usize..20).prop_map(Some)],
    ) {
        let mut digits = digits;
        if let Some((other, place)) = other && place < digits.len() {
            digits.replace_range(place..=place, &other);
        }
        let expected = digits.parse().ok().filter(|_| digits.len() <= 19 && !digits.starts_with('+'));
        prop_assert_eq!(number::whole(digits.as_bytes()), expected);
    }
}
