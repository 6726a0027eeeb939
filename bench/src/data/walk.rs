//! What a device reads: walks by small steps that stay where a room would be.
//!
//! Ranges and steps are chosen so that the columns take what those of the reference data take (bytes per row at 1,000
//! series of 3,000 points, zstd 1): floats 1.2 to 1.3 in a dictionary and 0.4 as decimals, the whole number 0.5, the
//! truth value 0.03; its entropy is 1.09 bytes.

use std::ops::RangeInclusive;

use super::Random;

/// Tenths of °C that rooms begin with and stay within.
const FIRST_TEMP: RangeInclusive<i32> = 150..=300;
const TEMP: RangeInclusive<i32> = 50..=450;

/// Tenths of a percent.
const FIRST_HUMIDITY: RangeInclusive<i32> = 200..=800;
const HUMIDITY: RangeInclusive<i32> = 0..=1_000;

/// Parts per million.
const FIRST_CO2: RangeInclusive<i32> = 420..=1_200;
const CO2: RangeInclusive<i32> = 400..=2_000;

/// In one of so many rounds somebody comes or goes.
const STAY: usize = 100;

/// The four fields of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    /// Tenths of °C.
    pub(super) temp: i32,
    /// Tenths of a percent.
    pub(super) humidity: i32,
    /// Parts per million.
    pub(super) co2: i32,
    /// Whether somebody is there.
    pub(super) occupied: bool,
}

impl Reading {
    /// The first reading.
    pub(super) fn first(random: &mut Random) -> Self {
        Self {
            temp: between(&FIRST_TEMP, random),
            humidity: between(&FIRST_HUMIDITY, random),
            co2: between(&FIRST_CO2, random),
            occupied: random.below(2) == 1,
        }
    }

    /// The reading after this one.
    pub(super) fn next(&self, random: &mut Random) -> Self {
        // A room is slow: two small steps mostly cancel each other.
        let temp = between(&(-1..=1), random) + between(&(-1..=1), random);
        Self {
            temp: step(self.temp, temp, &TEMP),
            humidity: step(self.humidity, between(&(-3..=3), random), &HUMIDITY),
            co2: step(self.co2, between(&(-6..=6), random), &CO2),
            occupied: self.occupied != (random.below(STAY) == 0),
        }
    }
}

/// A step, or its reverse where it would leave the range.
fn step(from: i32, step: i32, range: &RangeInclusive<i32>) -> i32 {
    if range.contains(&(from + step)) { from + step } else { from - step }
}

fn between(range: &RangeInclusive<i32>, random: &mut Random) -> i32 {
    let choices = usize::try_from(range.end() - range.start() + 1).unwrap_or(1);
    range.start() + i32::try_from(random.below(choices)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{CO2, HUMIDITY, Random, Reading, TEMP};

    #[test]
    fn readings_stay_within_their_ranges_and_move_by_small_steps() {
        for device in 0..20 {
            let mut reading = Reading::first(&mut Random::new(1, device, 0));
            for round in 1..5_000 {
                let next = reading.next(&mut Random::new(1, device, round));
                assert!((next.temp - reading.temp).abs() <= 2 && TEMP.contains(&next.temp));
                assert!((next.humidity - reading.humidity).abs() <= 3 && HUMIDITY.contains(&next.humidity));
                assert!((next.co2 - reading.co2).abs() <= 6 && CO2.contains(&next.co2));
                reading = next;
            }
        }
    }
}
