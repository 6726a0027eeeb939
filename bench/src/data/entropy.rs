//! What the data holds: a bound that no file of it gets below.
//!
//! It is the entropy of what was drawn, as counted: of each field the first values of all devices, and the steps from
//! a value to the next, which do not depend on each other. Tags and times follow from a row's place and count nothing.

use std::collections::HashMap;

use super::walk::Reading;

/// How often each first value and each step of the four fields occurred.
#[derive(Debug, Default)]
pub(super) struct Entropy {
    first: [Counts; 4],
    steps: [Counts; 4],
    rows: u64,
}

type Counts = HashMap<i32, u64>;

impl Entropy {
    /// Adds the first reading of a device.
    pub(super) fn add_first(&mut self, reading: &Reading) {
        add(&mut self.first, values(reading));
        self.rows += 1;
    }

    /// Adds a reading, which came after another.
    pub(super) fn add_next(&mut self, before: &Reading, reading: &Reading) {
        let [temp, humidity, co2, occupied] = values(before);
        let [next_temp, next_humidity, next_co2, next_occupied] = values(reading);
        let steps = [next_temp - temp, next_humidity - humidity, next_co2 - co2, next_occupied - occupied];
        add(&mut self.steps, steps);
        self.rows += 1;
    }

    /// Bytes per row.
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub(super) fn bytes_per_row(&self) -> f64 {
        let bits: f64 = self.first.iter().chain(&self.steps).map(bits).sum();
        bits / 8.0 / self.rows.max(1) as f64
    }
}

fn values(reading: &Reading) -> [i32; 4] {
    [reading.temp, reading.humidity, reading.co2, reading.occupied.into()]
}

fn add(counts: &mut [Counts; 4], values: [i32; 4]) {
    for (counts, value) in counts.iter_mut().zip(values) {
        *counts.entry(value).or_default() += 1;
    }
}

/// Bits of all values that were counted: Shannon's entropy times their number.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn bits(counts: &Counts) -> f64 {
    let all: u64 = counts.values().sum();
    counts.values().map(|count| *count as f64 * (all as f64 / *count as f64).log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::{Counts, bits};

    #[test]
    fn equal_chances_take_their_logarithm_and_certainty_takes_nothing() {
        let bits = |counts: &[u64]| bits(&(0..).zip(counts.iter().copied()).collect::<Counts>());
        assert!(bits(&[1_000]).abs() < 1e-9);
        assert!((bits(&[10; 8]) - 240.0).abs() < 1e-9);
        assert!((bits(&[1, 3]) - (2.0 + 3.0 * (4.0_f64 / 3.0).log2())).abs() < 1e-9);
    }
}
