//! The least and the greatest of numbers, as pages, column chunks and Delta's statistics have them.

use arrow::datatypes::DataType;
use parquet::basic::BoundaryOrder;
use parquet::file::statistics::Statistics;

use super::pages::boundary_order;
use super::stats::Bounds;

/// What the values of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Of 64 bits, or microseconds, or decimals of at most 18 digits.
    Integer,
    /// Of 64 bits.
    Float,
    Boolean,
}

/// The least and the greatest of some values; none when there are no values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum ValueBounds {
    Integers(Option<(i64, i64)>),
    /// Of those that are numbers, and whether some are not.
    Floats(Option<(f64, f64)>, bool),
    Booleans(Option<(bool, bool)>),
}

/// Values that are compared side by side.
const LANES: usize = 8;

impl ValueBounds {
    /// Those of no values.
    pub(super) fn none(kind: Kind) -> Self {
        match kind {
            Kind::Integer => Self::Integers(None),
            Kind::Float => Self::Floats(None, false),
            Kind::Boolean => Self::Booleans(None),
        }
    }

    pub(super) fn of_integers(values: &[i64]) -> Self {
        let mut lanes = [(i64::MAX, i64::MIN); LANES];
        let (groups, rest) = values.as_chunks::<LANES>();
        for group in groups.iter().map(<[i64; LANES]>::as_slice).chain([rest]) {
            for ((low, high), value) in lanes.iter_mut().zip(group) {
                (*low, *high) = ((*low).min(*value), (*high).max(*value));
            }
        }
        let (low, high) = lanes
            .into_iter()
            .fold((i64::MAX, i64::MIN), |(low, high), lane| (low.min(lane.0), high.max(lane.1)));
        Self::Integers((low <= high).then_some((low, high)))
    }

    /// Of the floats with these bits.
    pub(super) fn of_floats(values: &[i64]) -> Self {
        let mut lanes = [(f64::INFINITY, f64::NEG_INFINITY, false); LANES];
        let (groups, rest) = values.as_chunks::<LANES>();
        for group in groups.iter().map(<[i64; LANES]>::as_slice).chain([rest]) {
            for ((low, high, is_nan), bits) in lanes.iter_mut().zip(group) {
                let value = f64::from_bits(bits.cast_unsigned());
                // A comparison with what is no number is false.
                *low = if value < *low { value } else { *low };
                *high = if value > *high { value } else { *high };
                *is_nan |= value.is_nan();
            }
        }
        let (low, high, is_nan) =
            lanes.into_iter().fold((f64::INFINITY, f64::NEG_INFINITY, false), |(low, high, is_nan), lane| {
                (low.min(lane.0), high.max(lane.1), is_nan || lane.2)
            });
        // Either zero may be among them; Parquet wants the lower one below and the higher one above.
        let low = if low == 0.0 { -0.0 } else { low };
        let high = if high == 0.0 { 0.0 } else { high };
        Self::Floats((low <= high).then_some((low, high)), is_nan)
    }

    /// Of the floats with these bits, which ascend, that have these codes. `None` when that does not tell.
    pub(super) fn of_codes(ascending: &[i64], codes: &[u32]) -> Option<Self> {
        let (low, high) = codes.iter().fold((i32::MAX, i32::MIN), |(low, high), code| {
            // A dictionary has fewer values than 2^31. Signed, they are compared side by side.
            let code = code.cast_signed();
            (low.min(code), high.max(code))
        });
        let bits = [low, high].map(|code| ascending.get(usize::try_from(code).ok()?).copied());
        let bits: Vec<i64> = bits.into_iter().collect::<Option<_>>()?;
        // What is no number stands at an end.
        let is_nan = ascending
            .first()
            .into_iter()
            .chain(ascending.last())
            .any(|bits| f64::from_bits(bits.cast_unsigned()).is_nan());
        (!is_nan).then(|| Self::of_floats(&bits))
    }

    /// Of booleans as 0 and 1.
    pub(super) fn of_booleans(values: &[u32]) -> Self {
        let has = |value| values.contains(&value);
        Self::Booleans((!values.is_empty()).then(|| (!has(0), has(1))))
    }

    /// Those of all values of both, which are of one kind.
    pub(super) fn union(self, other: Self) -> Self {
        match (self, other) {
            (Self::Integers(a), Self::Integers(b)) => Self::Integers(union(a, b)),
            (Self::Floats(a, nan), Self::Floats(b, other)) => Self::Floats(union(a, b), nan || other),
            (Self::Booleans(a), Self::Booleans(b)) => Self::Booleans(union(a, b)),
            (bounds, _) => bounds,
        }
    }

    /// The order of the bounds of pages of one kind.
    pub(super) fn order(pages: &[Self]) -> BoundaryOrder {
        let integers =
            || pages.iter().filter_map(|page| if let Self::Integers(of) = page { *of } else { None });
        let floats =
            || pages.iter().filter_map(|page| if let Self::Floats(of, _) = page { *of } else { None });
        let booleans =
            || pages.iter().filter_map(|page| if let Self::Booleans(of) = page { *of } else { None });
        match pages.first() {
            Some(Self::Integers(_)) => boundary_order(integers()),
            Some(Self::Floats(..)) => boundary_order(floats()),
            Some(Self::Booleans(_)) => boundary_order(booleans()),
            None => BoundaryOrder::UNORDERED,
        }
    }

    /// As the page index has them.
    pub(super) fn bytes(self) -> Option<(Vec<u8>, Vec<u8>)> {
        fn both<T>((low, high): (T, T), bytes: impl Fn(T) -> Vec<u8>) -> (Vec<u8>, Vec<u8>) {
            (bytes(low), bytes(high))
        }
        match self {
            Self::Integers(bounds) => Some(both(bounds?, |value| value.to_le_bytes().to_vec())),
            Self::Floats(bounds, _) => Some(both(bounds?, |value| value.to_le_bytes().to_vec())),
            Self::Booleans(bounds) => Some(both(bounds?, |value| vec![u8::from(value)])),
        }
    }

    /// As the column chunk has them.
    pub(super) fn statistics(self, nulls: usize) -> Statistics {
        let nulls = Some(nulls as u64);
        match self {
            Self::Integers(bounds) => {
                let (low, high) = bounds.unzip();
                Statistics::int64(low, high, None, nulls, false)
            }
            Self::Floats(bounds, _) => {
                let (low, high) = bounds.unzip();
                Statistics::double(low, high, None, nulls, false)
            }
            Self::Booleans(bounds) => {
                let (low, high) = bounds.unzip();
                Statistics::boolean(low, high, None, nulls, false)
            }
        }
    }

    /// As Delta's statistics of a column of this type have them. Booleans, which nobody looks for by range, get none.
    pub(super) fn delta(self, data_type: &DataType) -> Option<Bounds> {
        match (self, data_type) {
            (Self::Integers(bounds), DataType::Decimal128(_, scale)) => {
                bounds.map(|(low, high)| Bounds::Decimals(low, high, *scale))
            }
            (Self::Integers(bounds), _) => bounds.map(|(low, high)| Bounds::Integers(low, high)),
            // JSON has no number for what is none.
            (Self::Floats(_, true), _) => Some(Bounds::Floats(f64::NEG_INFINITY, f64::INFINITY)),
            (Self::Floats(bounds, false), _) => bounds.map(|(low, high)| Bounds::Floats(low, high)),
            (Self::Booleans(_), _) => None,
        }
    }
}

fn union<T: PartialOrd + Copy>(a: Option<(T, T)>, b: Option<(T, T)>) -> Option<(T, T)> {
    match (a, b) {
        (Some((a, b)), Some((low, high))) => {
            Some((if low < a { low } else { a }, if high > b { high } else { b }))
        }
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::ValueBounds;

    #[test]
    fn floats_that_are_no_numbers_bound_nothing_and_zeros_are_taken_with_both_signs() {
        let of = |values: &[f64]| {
            let bits: Vec<i64> = values.iter().map(|value| value.to_bits().cast_signed()).collect();
            ValueBounds::of_floats(&bits)
        };
        assert_eq!(of(&[]), ValueBounds::Floats(None, false));
        assert_eq!(of(&[f64::NAN; 9]), ValueBounds::Floats(None, true));
        let values: Vec<f64> = (0..100).map(f64::from).chain([f64::NAN, -3.5]).collect();
        assert_eq!(of(&values), ValueBounds::Floats(Some((-3.5, 99.0)), true));
        assert_eq!(
            of(&[f64::NEG_INFINITY]),
            ValueBounds::Floats(Some((f64::NEG_INFINITY, f64::NEG_INFINITY)), false)
        );
        let (low, high) = of(&[0.0, -0.0]).bytes().unwrap();
        assert_eq!((low, high), ((-0.0_f64).to_le_bytes().to_vec(), 0.0_f64.to_le_bytes().to_vec()));
    }

    #[test]
    fn codes_of_ascending_floats_bound_them_as_the_floats_do() {
        let bits =
            |values: &[f64]| values.iter().map(|value| value.to_bits().cast_signed()).collect::<Vec<_>>();
        let ascending = bits(&[f64::NEG_INFINITY, -2.5, -0.0, 0.0, 7.0]);
        for codes in [&[1_u32, 4, 2][..], &[3], &[2, 2], &[0, 4]] {
            let values: Vec<i64> = codes.iter().map(|code| ascending[*code as usize]).collect();
            assert_eq!(ValueBounds::of_codes(&ascending, codes), Some(ValueBounds::of_floats(&values)));
        }
        assert_eq!(ValueBounds::of_codes(&ascending, &[]), None);
        assert_eq!(ValueBounds::of_codes(&bits(&[1.0, f64::NAN]), &[0]), None);
        assert_eq!(ValueBounds::of_codes(&bits(&[-f64::NAN, 1.0]), &[1]), None);
    }

    #[test]
    fn booleans_are_bounded_by_what_occurs() {
        let of = |values: &[u32]| ValueBounds::of_booleans(values);
        assert_eq!(of(&[]), ValueBounds::Booleans(None));
        assert_eq!(of(&[1, 1]), ValueBounds::Booleans(Some((true, true))));
        assert_eq!(of(&[0]).union(of(&[1, 1])), ValueBounds::Booleans(Some((false, true))));
    }
}
