//! Reads numbers: `12i`, `12u`, `1.5`, `-1.2e+78`.
//!
//! One pass gathers the digits. With at most 53 bits of digits and at most 22 of them behind the point, both the
//! digits and the power of ten are floats without rounding, so one IEEE division of them is the correctly rounded
//! result (W. D. Clinger, "How to read floating point numbers accurately", 1990). Everything else goes to
//! `fast_float2`, which is exact too and slower.

use storage::model::ValueRef;

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
    match plain(bytes) {
        Some((number, rest)) if matches!(rest.first(), None | Some(b',')) => Ok((number.into(), rest)),
        _ => read_whole_token(bytes),
    }
}

/// The whole number of up to 19 digits, and nothing else, that `digits` are.
#[inline]
pub(super) fn whole(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > DIGITS_OF_U64 {
        return None;
    }
    let (eights, rest) = digits.as_chunks();
    let number =
        eights.iter().try_fold(0, |number, eight| Some(number * 100_000_000 + eight_digits(*eight)?))?;
    rest.iter().try_fold(number, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then_some(number * 10 + u64::from(digit))
    })
}

/// The number that eight digits are: neighbours are joined to pairs, pairs to fours, fours to the whole, in one word. After
/// D. Lemire, "Quickly parsing eight digits" (2018).
#[inline]
fn eight_digits(digits: [u8; 8]) -> Option<u64> {
    const HIGH_HALVES: u64 = 0xF0F0_F0F0_F0F0_F0F0;
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    // 0x30..=0x39 are digits: they alone stay below 0x40 when six are added.
    const SIXES: u64 = 0x0606_0606_0606_0606;
    const PAIRS: u64 = 0x0000_00FF_0000_00FF;
    let word = u64::from_le_bytes(digits);
    if word & HIGH_HALVES != ZEROS || word.wrapping_add(SIXES) & HIGH_HALVES != ZEROS {
        return None;
    }
    let values = word - ZEROS;
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8);
    let first = (pairs & PAIRS).wrapping_mul(100 + (1_000_000 << 32));
    let second = (pairs >> 16 & PAIRS).wrapping_mul(1 + (10_000 << 32));
    Some(first.wrapping_add(second) >> 32)
}

/// The number at the start of `bytes`, if it is of few plain digits, and what follows it, whatever that is.
#[inline]
pub(super) fn plain(bytes: &[u8]) -> Option<(ValueRef<'static>, &[u8])> {
    let (negative, unsigned) = match bytes.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, bytes),
    };
    let (mut mantissa, mut digits, mut point) = (0_u64, 0_usize, None);
    let mut end = unsigned.len();
    for (place, byte) in unsigned.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
            digits += 1;
        } else if *byte == b'.' && point.is_none() {
            point = Some(digits);
        } else {
            end = place;
            break;
        }
    }
    let rest = unsigned.get(end..)?;
    match rest.split_first() {
        Some((suffix @ (b'i' | b'u'), rest)) if point.is_none() && (1..=SAFE_DIGITS).contains(&digits) => {
            let whole = i64::try_from(mantissa).ok()?;
            match (suffix, negative) {
                (b'i', _) => Some((ValueRef::Integer(if negative { -whole } else { whole }), rest)),
                (_, false) => Some((ValueRef::Unsigned(mantissa), rest)),
                (_, true) => None,
            }
        }
        _ => {
            let behind_point = point.map_or(0, |before| digits - before);
            let power = EXACT_POWERS.get(behind_point)?;
            // Whole numbers up to 2^53 are floats without rounding.
            let is_exact = digits > 0 && digits <= DIGITS_OF_U64 && mantissa <= EXACT_MANTISSA;
            let value = mantissa as f64 / power;
            is_exact.then_some((ValueRef::Float(if negative { -value } else { value }), rest))
        }
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
