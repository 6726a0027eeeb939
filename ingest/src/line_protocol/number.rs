//! Reads numbers: `12i`, `12u`, `1.5`, `-1.2e+78`.
//!
//! One pass gathers the digits. With at most 53 bits of digits and at most 22 of them behind the point, both the
//! digits and the power of ten are floats without rounding, so one IEEE division of them is the correctly rounded
//! result (W. D. Clinger, "How to read floating point numbers accurately", 1990). Everything else goes to
//! `fast_float2`, which is exact too and slower.

use super::LineError;
use super::error::excerpt;
use super::field::{Value, split_token};

/// Digits that a `u64` holds whatever they are: 10^19 - 1 is below 2^64.
const DIGITS_OF_U64: usize = 19;

/// Digits that an `i64` holds whatever they are: 10^18 - 1 is below 2^63.
const SAFE_DIGITS: usize = 18;

/// The largest whole number up to which every whole number is a float.
const EXACT_MANTISSA: u64 = 1 << 53;

/// The powers of ten that are floats without rounding: 10^22 = 2^22 * 5^22, and 5^22 has 52 bits.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// The number at the start of `bytes`, which begins with a digit, a sign or a point, and what follows it: nothing,
/// or a comma and more.
#[inline]
pub(super) fn read(bytes: &[u8]) -> Result<(Value<'_>, &[u8]), LineError> {
    let (negative, unsigned) = match bytes.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, bytes),
    };
    let mut mantissa = 0_u64;
    let mut digits = 0_usize;
    let mut point = None;
    for (place, byte) in unsigned.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
                digits += 1;
            }
            b'.' if point.is_none() => point = Some(digits),
            b',' => {
                let rest = unsigned.get(place..).unwrap_or_default();
                return finish(bytes, rest, Digits { negative, mantissa, digits, point });
            }
            b'i' | b'u' => {
                let rest = unsigned.get(place + 1..).unwrap_or_default();
                let whole = point.is_none() && (1..=SAFE_DIGITS).contains(&digits);
                return match i64::try_from(mantissa) {
                    Ok(number) if whole && matches!(rest.first(), None | Some(b',')) => {
                        match (byte, negative) {
                            (b'i', false) => Ok((Value::Integer(number), rest)),
                            (b'i', true) => Ok((Value::Integer(-number), rest)),
                            (_, false) => Ok((Value::Unsigned(mantissa), rest)),
                            (_, true) => read_whole_token(bytes),
                        }
                    }
                    _ => read_whole_token(bytes),
                };
            }
            _ => return read_whole_token(bytes),
        }
    }
    finish(bytes, &[], Digits { negative, mantissa, digits, point })
}

/// Plain decimal digits as they were gathered.
struct Digits {
    negative: bool,
    /// The digits as a number, if there are no more than fit.
    mantissa: u64,
    digits: usize,
    /// The number of digits before the point.
    point: Option<usize>,
}

/// The float that consists of these digits only.
#[inline]
fn finish<'a>(bytes: &'a [u8], rest: &'a [u8], number: Digits) -> Result<(Value<'a>, &'a [u8]), LineError> {
    let behind_point = number.point.map_or(0, |before| number.digits - before);
    let simple = number.digits > 0 && number.digits <= DIGITS_OF_U64 && number.mantissa <= EXACT_MANTISSA;
    match EXACT_POWERS.get(behind_point) {
        Some(power) if simple => {
            // Whole numbers up to 2^53 are floats without rounding.
            let value = number.mantissa as f64 / power;
            Ok((Value::Float(if number.negative { -value } else { value }), rest))
        }
        _ => read_whole_token(bytes),
    }
}

/// Reads integers, numbers with an exponent, and long ones.
fn read_whole_token(bytes: &[u8]) -> Result<(Value<'_>, &[u8]), LineError> {
    let (token, rest) = split_token(bytes);
    let value = match token.split_last() {
        Some((b'i', digits)) => integer(digits)?,
        Some((b'u', digits)) => unsigned(digits)?,
        _ => float(token)?,
    };
    Ok((value, rest))
}

fn integer(text: &[u8]) -> Result<Value<'static>, LineError> {
    check_digits(text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text), text)?;
    lexical_core::parse(text).map(Value::Integer).map_err(|_| LineError::IntegerOutOfRange(excerpt(text)))
}

fn unsigned(text: &[u8]) -> Result<Value<'static>, LineError> {
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    check_digits(digits, text)?;
    lexical_core::parse(digits).map(Value::Unsigned).map_err(|_| LineError::UnsignedOutOfRange(excerpt(text)))
}

fn check_digits(digits: &[u8], text: &[u8]) -> Result<(), LineError> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(LineError::InvalidNumber(excerpt(text)));
    }
    Ok(())
}

fn float(text: &[u8]) -> Result<Value<'static>, LineError> {
    // Letters other than the exponent's would be infinities and NaN.
    let plain = |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
    if !text.iter().all(plain) {
        return Err(LineError::InvalidNumber(excerpt(text)));
    }
    match fast_float2::parse::<f64, _>(text) {
        Ok(value) if value.is_finite() => Ok(Value::Float(value)),
        Ok(_) => Err(LineError::FloatOutOfRange(excerpt(text))),
        Err(_) => Err(LineError::InvalidNumber(excerpt(text))),
    }
}
