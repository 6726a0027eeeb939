//! Floats of a field whose scale was declared: decimals in one column of a file, what is none in another.
//!
//! A float is *exact* at the scale k when it is the float nearest to n / 10^k for a whole number n of at most 15
//! digits. It is stored as n, which takes a third of the bytes of a float (`cost-floor.md`); every other float, NaN,
//! the infinities and -0.0 among them, is stored as it is, in `busbar_f64_{name}`.
//!
//! Invariants: a row has a value in at most one of the two columns; what [`whole_number`] took apart, [`join`] puts together
//! bit for bit. Both n and 10^k are floats themselves, so n / 10^k is rounded once, by the division; and no two
//! decimals of 15 digits are nearest to one float, so n is the only one.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::compute::is_not_null;
use arrow::compute::kernels::zip::zip;
use arrow::datatypes::{DataType, Decimal128Type, Field};

use super::field_field;
use crate::error::{Error, Result};
use crate::model::{ColumnId, PhysicalColumn, Scale};

/// Digits of the decimal: the most that Parquet keeps in 64 bits.
pub(super) const DECIMAL_DIGITS: u8 = 18;

/// The least whole number of more digits than a float always keeps, 15.
const TOO_LARGE: f64 = 1e15;

/// What a column of a file holds of a physical column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Every value.
    All,
    /// The floats that are exact at the scale.
    Exact(Scale),
    /// The floats that are not.
    Other(Scale),
}

/// A column of a file, as far as it holds values of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredColumn {
    /// Its name and type.
    pub(crate) field: Field,
    /// The physical column.
    pub(crate) column: ColumnId,
    /// What of it.
    pub(crate) part: Part,
}

/// The columns of files that hold the values of a physical column, in their order.
pub(crate) fn parts_of(column: &PhysicalColumn) -> Vec<StoredColumn> {
    let id = column.id;
    let Some(scale) = column.scale else {
        return vec![StoredColumn { field: field_field(column), column: id, part: Part::All }];
    };
    let exact = Field::new(column.stored_name.as_ref(), decimal_type(scale), true);
    let other = Field::new(other_name(column), DataType::Float64, true);
    vec![
        StoredColumn { field: exact, column: id, part: Part::Exact(scale) },
        StoredColumn { field: other, column: id, part: Part::Other(scale) },
    ]
}

/// The name of the column beside the decimals.
pub(super) fn other_name(column: &PhysicalColumn) -> String {
    format!("busbar_f64_{}", column.stored_name)
}

fn decimal_type(scale: Scale) -> DataType {
    DataType::Decimal128(DECIMAL_DIGITS, scale.digits().cast_signed())
}

/// What tells of a float whether it is exact at the scale, and as which whole number.
pub(crate) fn whole_number(scale: Scale) -> impl Fn(f64) -> Option<i64> {
    let power = power(scale);
    move |value| exact(value, power)
}

/// The floats of a column, from its parts as far as a file has them.
///
/// # Errors
/// [`Error::Internal`] when a part has another type than its column.
pub(super) fn join(
    scale: Scale,
    exact: Option<&ArrayRef>,
    other: Option<&ArrayRef>,
) -> Result<Option<ArrayRef>> {
    let power = power(scale);
    let exact = exact.map(|exact| {
        let decimals = exact.as_primitive_opt::<Decimal128Type>().ok_or_else(no_floats)?;
        #[expect(clippy::cast_precision_loss, reason = "what was written has 15 digits, which a float keeps")]
        let floats: Float64Array = decimals.unary(|decimal| decimal as f64 / power);
        Ok::<ArrayRef, Error>(Arc::new(floats))
    });
    match (exact.transpose()?, other) {
        (exact, None) => Ok(exact),
        (None, Some(other)) => Ok(Some(Arc::clone(other))),
        // Usually every value is exact.
        (Some(exact), Some(other)) if other.null_count() == other.len() => Ok(Some(exact)),
        (Some(exact), Some(other)) => Ok(Some(zip(&is_not_null(other)?, other, &exact)?)),
    }
}

fn power(scale: Scale) -> f64 {
    10_f64.powi(scale.digits().into())
}

/// 1.5 times 2^52. A float of at most 2^51 has no digits after the point once this is added to it: it is rounded, a
/// half to even, without a call.
const ROUNDED: f64 = 6_755_399_441_055_744.0;

/// The whole number that stands for a float that is exact. How a half is rounded does not matter: times 10^k, a
/// float that is exact is much nearer to its whole number.
#[expect(clippy::cast_possible_truncation, reason = "whole numbers of 15 digits")]
fn exact(value: f64, power: f64) -> Option<i64> {
    let product = value * power;
    let whole = (product + ROUNDED) - ROUNDED;
    // What is no number, and what is too large to be rounded so, is below neither.
    let is_whole = product.abs() < TOO_LARGE && whole.abs() < TOO_LARGE;
    (is_whole && (whole / power).to_bits() == value.to_bits()).then_some(whole as i64)
}

fn no_floats() -> Error {
    Error::Damaged("the column of a field with a scale holds neither its decimals nor its floats".into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, Decimal128Array, Float64Array};
    use arrow::datatypes::Float64Type;
    use proptest::prelude::*;

    use super::{decimal_type, exact, join, power, whole_number};
    use crate::model::Scale;

    fn value() -> impl Strategy<Value = f64> {
        let decimal = |(number, digits): (i64, u8)| number as f64 / 10_f64.powi(digits.into());
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            (-100_000_i64..100_000, 0_u8..5).prop_map(decimal),
            (-2_000_000_000_000_000_i64..2_000_000_000_000_000, 0_u8..16).prop_map(decimal),
            prop::sample::select(vec![0.0, -0.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE, 1e15, -1e15]),
        ]
    }

    fn check(values: &[Option<f64>], digits: u8) {
        let scale = Scale::new(digits.into()).unwrap();
        let number = whole_number(scale);
        let floats: ArrayRef = Arc::new(values.iter().copied().collect::<Float64Array>());
        let decimals = values.iter().map(|value| Some(i128::from(number((*value)?)?)));
        let decimals = decimals.collect::<Decimal128Array>().with_data_type(decimal_type(scale));
        let exact: ArrayRef = Arc::new(decimals);
        let others = values.iter().map(|value| value.filter(|value| number(*value).is_none()));
        let other: ArrayRef = Arc::new(others.collect::<Float64Array>());
        let joined = join(scale, Some(&exact), Some(&other)).unwrap().unwrap();
        let bits = |floats: &ArrayRef| {
            let floats = floats.as_primitive::<Float64Type>();
            floats.iter().map(|value| value.map(f64::to_bits)).collect::<Vec<_>>()
        };
        assert_eq!(bits(&joined), bits(&floats));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn floats_come_back_bit_for_bit_at_any_scale(
            values in proptest::collection::vec(proptest::option::of(value()), 0..40),
            digits in 0_u8..=15,
        ) {
            check(&values, digits);
        }
    }

    #[test]
    fn a_decimal_of_the_scale_is_stored_as_one() {
        let cases = [
            (21.5, 1, Some(215)),
            (0.1 + 0.2, 1, None),
            (0.3, 1, Some(3)),
            (-1.005, 3, Some(-1_005)),
            (21.55, 1, None),
            (999_999_999_999_999.0, 0, Some(999_999_999_999_999)),
            (1e15, 0, None),
            (99_999_999_999_999.9, 1, Some(999_999_999_999_999)),
            (-0.0, 2, None),
            (f64::NAN, 2, None),
            (f64::NEG_INFINITY, 2, None),
            (f64::MAX, 15, None),
        ];
        for (value, digits, expected) in cases {
            assert_eq!(exact(value, power(Scale::new(digits).unwrap())), expected, "{value} at {digits}");
        }
    }
}
