//! The fixed data: devices that report four fields, once a minute, as line protocol.
//!
//! Two floats of one decimal and a whole number walk by small steps, a truth value seldom changes ([`walk`]): what
//! sensors of rooms send. So the size of its files says something, and has a floor that is known ([`entropy`]).
//!
//! Invariant: a row depends on the seed, its device and its round only, so bodies are the same bytes on every
//! machine, however many are asked for and however they are cut.

mod entropy;
mod walk;

use std::fmt::Write;
use std::ops::Range;

use bytes::Bytes;

use self::entropy::Entropy;
use self::walk::Reading;

/// The database that the lines go to.
pub const DATABASE: &str = "bench";

/// The table of every line.
pub const TABLE: &str = "climate";

/// The digits after the point of the fields that are floats.
pub const SCALES: [(&str, u64); 2] = [("humidity", 1), ("temp", 1)];

/// The time of the first round: 2024-01-01T00:00:00Z. It is in the past, so rows are never too far ahead.
pub const START_NS: i64 = 1_704_067_200_000_000_000;

/// The time between two rounds: a minute.
pub const ROUND_NS: i64 = 60_000_000_000;

/// Rounds of one hour.
pub const ROUNDS_PER_HOUR: u32 = 60;

/// Devices of one room, area, floor and building: each a multiple of the one before, as in an office tower.
const DEVICES_PER_ROOM: u32 = 4;
const DEVICES_PER_AREA: u32 = 20;
const DEVICES_PER_FLOOR: u32 = 100;
const DEVICES_PER_BUILDING: u32 = 1_000;

/// In which order the devices report within a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The same in each round, as one gateway that polls them.
    Steady,
    /// Another one in each round, as devices that connect by themselves.
    Shuffled,
}

/// Some devices, and the order in which they report.
#[derive(Debug, Clone, Copy)]
pub struct Fleet {
    /// Decides all values and orders.
    pub seed: u64,
    /// Devices; each is one series.
    pub devices: u32,
    /// Their order within a round.
    pub order: Order,
}

impl Fleet {
    /// So many devices that report in a steady order.
    #[must_use]
    pub const fn steady(devices: u32) -> Self {
        Self { seed: 1, devices, order: Order::Steady }
    }

    /// So many devices that report in another order each round.
    #[must_use]
    pub const fn shuffled(devices: u32) -> Self {
        Self { seed: 1, devices, order: Order::Shuffled }
    }

    /// The lines of these rounds, in bodies of so many lines; the last body may be shorter.
    #[must_use]
    pub fn bodies(&self, rounds: Range<u32>, lines_per_body: usize) -> Vec<Bytes> {
        let mut all = self.rounds();
        all.skip_to(rounds.start);
        all.bodies(rounds.end.saturating_sub(rounds.start), lines_per_body)
    }

    /// All rounds from the first on, one after the other.
    #[must_use]
    pub fn rounds(&self) -> Rounds {
        Rounds { fleet: *self, round: 0, readings: Vec::new(), entropy: Entropy::default() }
    }

    fn order_of(&self, round: u32) -> Vec<u32> {
        let mut devices: Vec<u32> = (0..self.devices).collect();
        if self.order == Order::Shuffled {
            let mut random = Random::new(self.seed, u32::MAX, round);
            for at in (1..devices.len()).rev() {
                devices.swap(at, random.below(at + 1));
            }
        }
        devices
    }
}

/// Where the devices of a fleet stand: their next round is the one after.
#[derive(Debug)]
pub struct Rounds {
    fleet: Fleet,
    round: u32,
    /// What each device read last; empty before the first round.
    readings: Vec<Reading>,
    entropy: Entropy,
}

impl Rounds {
    /// The lines of the next rounds, in bodies of so many lines; the last body may be shorter.
    #[must_use]
    pub fn bodies(&mut self, rounds: u32, lines_per_body: usize) -> Vec<Bytes> {
        let mut bodies = Vec::new();
        let (mut body, mut lines) = (String::new(), 0);
        for _ in 0..rounds {
            let round = self.advance();
            for device in self.fleet.order_of(round) {
                let Some(reading) = self.readings.get(device as usize) else { continue };
                put_line(&mut body, device, round, reading);
                lines += 1;
                if lines == lines_per_body {
                    bodies.push(std::mem::take(&mut body).into());
                    lines = 0;
                }
            }
        }
        if !body.is_empty() {
            bodies.push(body.into());
        }
        bodies
    }

    /// The fewest bytes that a row of the rounds so far takes, if tags and times take none: see [`Entropy`].
    #[must_use]
    pub fn entropy_bytes(&self) -> f64 {
        self.entropy.bytes_per_row()
    }

    fn skip_to(&mut self, round: u32) {
        while self.round < round {
            self.advance();
        }
    }

    /// Has every device read once more. Returns the round's number.
    fn advance(&mut self) -> u32 {
        let (seed, round) = (self.fleet.seed, self.round);
        if self.readings.is_empty() {
            let first = |device| Reading::first(&mut Random::new(seed, device, round));
            self.readings = (0..self.fleet.devices).map(first).collect();
            self.readings.iter().for_each(|reading| self.entropy.add_first(reading));
        } else {
            for (device, reading) in (0..).zip(&mut self.readings) {
                let next = reading.next(&mut Random::new(seed, device, round));
                self.entropy.add_next(reading, &next);
                *reading = next;
            }
        }
        self.round += 1;
        round
    }
}

fn put_line(body: &mut String, device: u32, round: u32, reading: &Reading) {
    let Reading { temp, humidity, co2, occupied } = *reading;
    let time = START_NS + i64::from(round) * ROUND_NS;
    // Writing to a string does not fail.
    let _written = writeln!(
        body,
        "{TABLE},area=a{:03},building=b{:03},device={},floor=f{:02},room=r{:05} \
         co2={co2}i,humidity={}.{},occupied={occupied},temp={}.{} {time}",
        device / DEVICES_PER_AREA % (DEVICES_PER_BUILDING / DEVICES_PER_AREA),
        device / DEVICES_PER_BUILDING,
        device_name(device),
        device / DEVICES_PER_FLOOR % (DEVICES_PER_BUILDING / DEVICES_PER_FLOOR),
        device / DEVICES_PER_ROOM,
        humidity / 10,
        humidity % 10,
        temp / 10,
        temp % 10,
    );
}

/// The value of the tag `device`.
#[must_use]
pub fn device_name(device: u32) -> String {
    format!("d{device:06}")
}

/// SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", 2014).
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn new(seed: u64, device: u32, round: u32) -> Self {
        let mut random = Self(u64::from(device) << 32 | u64::from(round));
        // Neighbouring devices and rounds must not start at neighbouring places of one sequence.
        Self(random.next() ^ seed.wrapping_mul(0xd6e8_feb8_6659_fd93))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `bound`, which is small enough that the bias does not matter.
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::collections::BTreeSet;

    use ingest::line_protocol::{Line, lines, parse_series};

    use super::Fleet;

    #[test]
    fn the_bytes_depend_on_nothing_but_the_seed() {
        let fleet = Fleet::shuffled(50);
        let whole = fleet.bodies(0..4, 1_000).concat();
        assert_eq!(whole, [fleet.bodies(0..1, 7), fleet.bodies(1..4, 13)].concat().concat());
        assert_ne!(whole, Fleet { seed: 2, ..fleet }.bodies(0..4, 1_000).concat());
        let first = "climate,area=a000,building=b000,device=d000000,floor=f00,room=r00000 \
                     co2=476i,humidity=56.5,occupied=false,temp=24.8 1704067200000000000\n";
        let body = Fleet::steady(1).bodies(0..1, 1).concat();
        assert_eq!(String::from_utf8(body).unwrap(), first, "or numbers of earlier runs mean nothing");
    }

    #[test]
    fn a_line_has_five_tags_and_four_fields_in_about_134_bytes() {
        let bodies = Fleet::steady(1_000).bodies(0..3, 1_000);
        assert_eq!(bodies.len(), 3);
        let body = bodies.concat();
        assert!((132..=136).contains(&(body.len() / 3_000)), "{} bytes", body.len());
        let mut count = 0;
        for line in lines(&body) {
            let line = Line::split(line.bytes).unwrap();
            assert_eq!(parse_series(line.series).unwrap().tags.len(), 5);
            assert_eq!(line.fields().map(Result::unwrap).count(), 4);
            count += 1;
        }
        assert_eq!(count, 3_000);
    }

    #[test]
    fn every_device_reports_once_a_round_whatever_the_order() {
        for fleet in [Fleet::steady(500), Fleet::shuffled(500)] {
            let bodies = fleet.bodies(0..2, 500);
            let series = |body| lines(body).map(|l| Line::split(l.bytes).unwrap().series).collect::<Vec<_>>();
            let orders: Vec<Vec<&[u8]>> = bodies.iter().map(|body| series(body)).collect();
            for order in &orders {
                assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 500);
            }
            let steady = orders.windows(2).all(|pair| pair.first() == pair.last());
            assert_eq!(steady, fleet.order == super::Order::Steady);
        }
    }
}
