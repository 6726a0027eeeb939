//! The distinct floats of a column, for its dictionary. They are handled as their bits: what differs in any is another.

/// Slots of the first table.
const FIRST_SLOTS: usize = 8_192;

/// A value has so many slots: with few collisions, the search for one is predicted.
const SLOTS_PER_VALUE: usize = 4;

/// One value of so many rows may be distinct for the dictionary to be sorted: sorting then costs little.
const ROWS_OF_SORTED: usize = 8;

/// Values that are looked at to tell whether a column repeats its values.
const SAMPLE: usize = 4_096;

/// Values that stand side by side in the sample: both neighbours that are equal and values that return are seen.
const SAMPLE_BLOCK: usize = 256;

/// One of so many sampled values must be a repetition for a dictionary to pay. Of 131,072 equally frequent values,
/// the most that a dictionary takes, 64 of 4,096 are repetitions.
const REPETITION: usize = 64;

/// Finds values, and keeps its memory for the next column.
#[derive(Debug, Default)]
pub(super) struct Distinct {
    /// By code.
    values: Vec<i64>,
    /// Whether they ascend.
    is_sorted: bool,
    /// The code of a value, counted from 1, at or after the place that its hash names; 0 where there is none.
    slots: Vec<u32>,
}

impl Distinct {
    /// Whether values repeat, as far as a sample of them tells.
    pub(super) fn repeats(&mut self, values: &[i64]) -> bool {
        self.clear();
        // All of them, or blocks.
        let (block, step) = if values.len() <= SAMPLE {
            (values.len(), values.len().max(1))
        } else {
            (SAMPLE_BLOCK, values.len() / (SAMPLE / SAMPLE_BLOCK))
        };
        let mut sampled = 0;
        for values in values.chunks(step) {
            for value in values.iter().take(block) {
                self.code(*value);
                sampled += 1;
            }
        }
        sampled > 0 && (sampled - self.values.len()) * REPETITION >= sampled
    }

    /// Finds the distinct ones of `values` and the code of each. Tells whether there are at most `most`; else neither
    /// counts.
    pub(super) fn find(&mut self, values: &[i64], most: usize, codes: &mut Vec<u32>) -> bool {
        self.clear();
        codes.clear();
        codes.reserve(values.len());
        for value in values {
            codes.push(self.code(*value));
            if self.values.len() > most {
                return false;
            }
        }
        // Neighbours that are close share their first bytes, which compress.
        if self.values.len() * ROWS_OF_SORTED <= values.len() {
            self.sort(codes);
        }
        true
    }

    /// The bits of the floats by code: ascending, or in order of appearance.
    pub(super) fn values(&self) -> &[i64] {
        &self.values
    }

    /// The bits of the floats by code, if the floats ascend.
    pub(super) fn ascending(&self) -> Option<&[i64]> {
        self.is_sorted.then_some(&self.values)
    }

    fn clear(&mut self) {
        self.is_sorted = false;
        self.values.clear();
        self.slots.clear();
        self.slots.resize(FIRST_SLOTS, 0);
    }

    fn code(&mut self, value: i64) -> u32 {
        if self.values.len() * SLOTS_PER_VALUE >= self.slots.len() {
            self.grow();
        }
        let mask = self.slots.len() - 1;
        let mut at = self.place(value);
        loop {
            let Some(slot) = self.slots.get_mut(at) else { return 0 };
            if *slot == 0 {
                self.values.push(value);
                *slot = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
                return *slot - 1;
            }
            let code = *slot - 1;
            if self.values.get(code as usize) == Some(&value) {
                return code;
            }
            at = (at + 1) & mask;
        }
    }

    /// The place at which the search for a value begins: the highest bits of a product, which all of its bits change.
    #[expect(clippy::cast_possible_truncation, reason = "fewer bits than a place has are left")]
    fn place(&self, value: i64) -> usize {
        let bits = value.cast_unsigned();
        let product = (bits ^ bits >> 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (product >> (u64::BITS - self.slots.len().trailing_zeros())) as usize
    }

    fn grow(&mut self) {
        let slots = self.slots.len() * 2;
        self.slots.clear();
        self.slots.resize(slots, 0);
        for (value, code) in self.values.iter().zip(1..) {
            let mut at = self.place(*value);
            while self.slots.get(at).is_some_and(|slot| *slot != 0) {
                at = (at + 1) & (slots - 1);
            }
            if let Some(slot) = self.slots.get_mut(at) {
                *slot = code;
            }
        }
    }

    /// Gives the values ascending codes.
    fn sort(&mut self, codes: &mut [u32]) {
        let float = |bits: i64| f64::from_bits(bits.cast_unsigned());
        let mut by_value: Vec<(i64, u32)> = self.values.iter().copied().zip(0..).collect();
        by_value.sort_unstable_by(|(a, _), (b, _)| float(*a).total_cmp(&float(*b)));
        self.is_sorted = true;
        // What was found by hash is not needed any more: now the new code by the old one.
        self.slots.resize(by_value.len(), 0);
        for ((value, (sorted, old)), new) in self.values.iter_mut().zip(&by_value).zip(0..) {
            *value = *sorted;
            if let Some(slot) = self.slots.get_mut(*old as usize) {
                *slot = new;
            }
        }
        for code in codes {
            *code = self.slots.get(*code as usize).copied().unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Distinct;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn every_row_has_the_code_of_its_value_and_every_value_stands_once(
            values in proptest::collection::vec(prop_oneof![any::<i64>(), -50_i64..50], 0..9_000),
        ) {
            let (mut distinct, mut codes) = (Distinct::default(), Vec::new());
            // What an earlier column left does not count.
            distinct.find(&[1, 2, 3], 9, &mut codes);
            let mut expected = values.clone();
            expected.sort_unstable();
            expected.dedup();
            prop_assert!(expected.is_empty() || !distinct.find(&values, expected.len() - 1, &mut codes));
            prop_assert!(distinct.find(&values, expected.len(), &mut codes));
            let decoded: Vec<i64> = codes.iter().map(|code| distinct.values[*code as usize]).collect();
            prop_assert_eq!(decoded, values);
            if let Some(ascending) = distinct.ascending() {
                let float = |bits: &i64| f64::from_bits(bits.cast_unsigned());
                prop_assert!(ascending.is_sorted_by(|a, b| float(a).total_cmp(&float(b)).is_lt()));
            }
            distinct.values.sort_unstable();
            prop_assert_eq!(&distinct.values, &expected);
        }
    }

    #[test]
    fn a_dictionary_pays_when_one_of_64_values_repeats() {
        let mut distinct = Distinct::default();
        let mut repeats =
            |values: &mut dyn Iterator<Item = i64>| distinct.repeats(&values.collect::<Vec<_>>());
        assert!(!repeats(&mut (0..1_000)));
        assert!(!repeats(&mut (0..1_000_000)));
        assert!(repeats(&mut (0..1_000_000).map(|i| i / 2)), "neighbours");
        assert!(repeats(&mut (0..1_000_000).map(|i| i % 50)), "values that return");
        assert!(repeats(&mut (0..64).map(|i: i64| i.max(1))));
        assert!(!repeats(&mut (0..65).map(|i: i64| i.max(1))));
    }
}
