//! Floats of a field whose scale was declared: decimals in one column of a file, what is none in another.
//!
//! A float is *exact* at the scale k when it is the float nearest to n / 10^k for a whole number n of at most 15
//! digits. It is stored as n, which takes a third of the bytes of a float (`cost-floor.md`); every other float, NaN,
//! the infinities and -0.0 among them, is stored as it is, in `busbar_f64_{name}`.
//!
//! Invariants: a row has a value in at most one of the two columns; what [`Part`] took apart, [`join`] puts together
//! bit for bit. Both n and 10^k are floats themselves, so n / 10^k is rounded once, by the division; and no two
//! decimals of 15 digits are nearest to one float, so n is the only one.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Float64Array};
use arrow::compute::is_not_null;
use arrow::compute::kernels::zip::zip;
use arrow::datatypes::{DataType, Decimal128Type, Field, Float64Type};

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

impl Part {
    /// This part of a column's values.
    ///
    /// # Errors
    /// [`Error::Internal`] when the values of a column with a scale are no floats.
    pub(crate) fn of(self, values: &ArrayRef) -> Result<ArrayRef> {
        let (Self::Exact(scale) | Self::Other(scale)) = self else { return Ok(Arc::clone(values)) };
        let floats: &Float64Array = values.as_primitive_opt::<Float64Type>().ok_or_else(no_floats)?;
        let power = power(scale);
        Ok(match self {
            Self::Exact(_) => {
                let decimals = floats.iter().map(|value| Some(i128::from(exact(value?, power)?)));
                let decimals: Decimal128Array = decimals.collect();
                Arc::new(decimals.with_data_type(decimal_type(scale)))
            }
            _ => {
                let others = floats.iter().map(|value| value.filter(|value| exact(*value, power).is_none()));
                Arc::new(others.collect::<Float64Array>())
            }
        })
    }
}

/// The floats of a column, from its parts as far as a file has them.
///
/// # Errors
/// [`Error::Internal`] when a part has another type than [`Part::of`] gives.
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

/// The whole number that stands for a float that is exact.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "whole numbers of 15 digits"
)]
fn exact(value: f64, power: f64) -> Option<i64> {
    let whole = (value * power).round();
    if whole.is_nan() || whole.abs() >= TOO_LARGE {
        return None;
    }
    let number = whole as i64;
    (number as f64 / power).to_bits().eq(&value.to_bits()).then_some(number)
}

fn no_floats() -> Error {
    Error::Damaged("the column of a field with a scale holds neither its decimals nor its floats".into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
    use arrow::datatypes::Float64Type;
    use proptest::prelude::*;

    use super::{Part, exact, join, power};
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
        let floats: ArrayRef = Arc::new(values.iter().copied().collect::<Float64Array>());
        let (exact, other) =
            (Part::Exact(scale).of(&floats).unwrap(), Part::Other(scale).of(&floats).unwrap());
        for row in 0..values.len() {
            assert_eq!(
                usize::from(exact.is_valid(row)) + usize::from(other.is_valid(row)),
                usize::from(floats.is_valid(row))
            );
        }
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
