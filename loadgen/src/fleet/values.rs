//! Plausible values: what a room is like at a time, and what its devices say about it.
//!
//! A value is a pure function of seed and time, so batches can be written in any order. People come on
//! working days; they raise temperature, CO2 and power, and relative humidity falls as temperature rises.

use crate::fleet::plan::Kind;
use crate::protocol::line_protocol::push_fixed;
use std::f64::consts::TAU;

const DAY_S: f64 = 86_400.0;
/// 2020-01-01, when all meters began to count.
const METERS_SINCE_S: f64 = 1_577_836_800.0;

/// What a room is like.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// 0 = empty, 1 = as full as it gets.
    pub people: f64,
    /// °C
    pub temperature: f64,
    /// % relative
    pub humidity: f64,
    /// ppm
    pub co2: f64,
    /// 0 = night, 1 = noon
    pub daylight: f64,
}

/// A scrambled number from two; equal inputs give equal results. The finaliser of splitmix64.
#[must_use]
pub fn mix(a: u64, b: u64) -> u64 {
    let mut x = a.wrapping_add(b.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

impl Room {
    /// The room at a time.
    #[must_use]
    pub fn at(seed: u64, time_s: f64) -> Self {
        let day = time_s.rem_euclid(DAY_S) / DAY_S;
        let hour = day * 24.0;
        // 1970-01-01 was a Thursday.
        let weekday = ((time_s / DAY_S).floor() + 3.0).rem_euclid(7.0);
        let open = if weekday >= 5.0 { 0.05 } else { ramp(hour, 7.5, 9.0) * (1.0 - ramp(hour, 16.5, 18.5)) };
        let people = (open * (0.62 + 0.38 * drift(seed ^ 1, time_s, 2_700.0))).clamp(0.0, 1.0);
        let afternoon = (TAU * (day - 15.0 / 24.0)).cos();
        let temperature = 20.8
            + 0.7 * noise(seed, 0)
            + 1.2 * afternoon
            + 1.1 * people
            + 0.25 * drift(seed ^ 2, time_s, 1_200.0);
        let humidity =
            46.0 + 4.0 * noise(seed, 1) - 2.4 * (temperature - 21.5) + 1.5 * drift(seed ^ 4, time_s, 3_600.0);
        Self {
            people,
            temperature,
            humidity: humidity.clamp(15.0, 85.0),
            co2: 430.0 + 640.0 * people + 25.0 * drift(seed ^ 5, time_s, 900.0),
            daylight: (TAU * (day - 0.5)).cos().max(0.0),
        }
    }
}

/// Appends `name=value,...` of one device.
pub fn push_fields(buffer: &mut Vec<u8>, kind: Kind, room_seed: u64, device_seed: u64, time_ns: i64) {
    let time_s = seconds(time_ns);
    let room = Room::at(room_seed, time_s);
    let calibration = noise(device_seed, 9);
    match kind {
        Kind::Climate => {
            decimal(buffer, "temperature=", room.temperature + 0.15 * calibration, 2);
            decimal(buffer, ",humidity=", room.humidity + 0.8 * calibration, 1);
        }
        Kind::AirQuality => {
            integer(buffer, "co2=", room.co2 + 15.0 * calibration);
            decimal(buffer, ",pm25=", 6.0 + 3.0 * drift(device_seed, time_s, 5_400.0), 1);
            integer(buffer, ",tvoc=", 120.0 + 180.0 * room.people + 20.0 * calibration);
        }
        Kind::Power => push_power(buffer, &room, device_seed, time_s),
        Kind::Motion => {
            let seen = room.people > 0.05 && drift(device_seed, time_s, 120.0) < room.people * 2.0 - 1.0;
            boolean(buffer, "motion=", seen);
            // A battery lasts two years; each was put in at its own time.
            let used = (time_s / (730.0 * DAY_S) + noise(device_seed, 2)).rem_euclid(1.0);
            integer(buffer, ",battery=", 100.0 - 95.0 * used);
        }
        Kind::Lighting => {
            let level = (100.0 * room.people * (1.0 - 0.7 * room.daylight)).round();
            decimal(buffer, "illuminance=", 600.0 * room.daylight + 4.5 * level + 2.0 + calibration, 1);
            integer(buffer, ",level=", level);
            boolean(buffer, ",on=", level > 0.0);
        }
        Kind::Probe => {
            decimal(buffer, "temp=", room.temperature + 0.15 * calibration, 2);
            decimal(buffer, ",rh=", room.humidity + 0.8 * calibration, 2);
            decimal(buffer, ",co2=", room.co2, 1);
            decimal(buffer, ",power=", 120.0 + 400.0 * room.people + 8.0 * calibration, 2);
        }
        Kind::Cpu => push_usage(buffer, device_seed, time_s),
    }
}

/// What a computer's time goes to, in percent, each by itself as in the suite.
fn push_usage(buffer: &mut Vec<u8>, host_seed: u64, time_s: f64) {
    const USES: [&str; 10] = [
        "usage_user=",
        ",usage_system=",
        ",usage_idle=",
        ",usage_nice=",
        ",usage_iowait=",
        ",usage_irq=",
        ",usage_softirq=",
        ",usage_steal=",
        ",usage_guest=",
        ",usage_guest_nice=",
    ];
    for (place, name) in (0..).zip(USES) {
        let seed = mix(host_seed, place);
        let percent = 50.0 + 40.0 * drift(seed, time_s, 600.0) + 6.0 * drift(seed ^ 1, time_s, 20.0);
        integer(buffer, name, percent.clamp(0.0, 100.0));
    }
}

fn push_power(buffer: &mut Vec<u8>, room: &Room, device_seed: u64, time_s: f64) {
    let base = 180.0 + 60.0 * noise(device_seed, 3);
    let watts = base + 650.0 * room.people + 20.0 * drift(device_seed, time_s, 600.0);
    let volts = 230.0 + 2.5 * drift(device_seed ^ 1, time_s, 300.0);
    decimal(buffer, "power=", watts, 1);
    decimal(buffer, ",voltage=", volts, 1);
    decimal(buffer, ",current=", watts / volts, 3);
    // The integral of a daily wave around the mean: it only grows.
    let mean = base + 200.0;
    let hours = (time_s - METERS_SINCE_S) / 3_600.0;
    let wave = -0.6 * mean * (TAU * time_s / DAY_S).sin() * 24.0 / TAU;
    decimal(buffer, ",energy=", (mean * hours + wave) / 1_000.0 + 40.0, 3);
}

/// -1 to 1, fixed for a seed and a place.
fn noise(seed: u64, place: u64) -> f64 {
    // 53 bits: every value is exact.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let unit = (mix(seed, place) >> 11) as f64 / (1_u64 << 53) as f64;
    unit * 2.0 - 1.0
}

/// -1 to 1, changing smoothly with about this period.
fn drift(seed: u64, time_s: f64, period_s: f64) -> f64 {
    let position = time_s / period_s;
    let step = position.floor();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "any integer does: it is hashed"
    )]
    let index = step as i64 as u64;
    let (before, after) = (noise(seed, index), noise(seed, index.wrapping_add(1)));
    before + (after - before) * ramp(position - step, 0.0, 1.0)
}

/// 0 before `from`, 1 after `to`, smooth between.
fn ramp(x: f64, from: f64, to: f64) -> f64 {
    let t = ((x - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

#[expect(clippy::cast_precision_loss, reason = "values do not need nanoseconds")]
fn seconds(time_ns: i64) -> f64 {
    time_ns as f64 / 1e9
}

#[expect(clippy::cast_possible_truncation, reason = "readings are far below 2^53")]
fn decimal(buffer: &mut Vec<u8>, name: &str, value: f64, decimals: u32) {
    buffer.extend_from_slice(name.as_bytes());
    push_fixed(buffer, (value * f64::from(10_u32.pow(decimals))).round() as i64, decimals);
}

fn integer(buffer: &mut Vec<u8>, name: &str, value: f64) {
    decimal(buffer, name, value, 0);
    buffer.push(b'i');
}

fn boolean(buffer: &mut Vec<u8>, name: &str, value: bool) {
    buffer.extend_from_slice(name.as_bytes());
    buffer.extend_from_slice(if value { b"true" } else { b"false" });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
    use super::*;

    /// Monday, 2024-01-08.
    const MONDAY_S: f64 = 1_704_672_000.0;

    fn day(seed: u64) -> Vec<Room> {
        (0..144).map(|step| Room::at(seed, MONDAY_S + 600.0 * f64::from(step))).collect()
    }

    #[test]
    fn humidity_falls_as_temperature_rises() {
        let rooms = day(3);
        let mean = |of: fn(&Room) -> f64| rooms.iter().map(of).sum::<f64>() / 144.0;
        let (t, h) = (mean(|room| room.temperature), mean(|room| room.humidity));
        let covariance: f64 = rooms.iter().map(|room| (room.temperature - t) * (room.humidity - h)).sum();
        assert!(covariance < 0.0, "{covariance}");
    }

    #[test]
    fn people_come_on_working_days_and_bring_co2() {
        let noon = |day: f64| Room::at(11, MONDAY_S + DAY_S * day + 11.0 * 3_600.0);
        assert!(noon(0.0).co2 > noon(5.0).co2 + 100.0, "Monday against Saturday");
        let night = Room::at(11, MONDAY_S + 3.0 * 3_600.0);
        assert!(night.people < 0.01 && night.co2 < 460.0, "{night:?}");
    }

    #[test]
    fn readings_stay_where_a_building_would_be() {
        for seed in 0..50 {
            for room in day(seed) {
                assert!((15.0..30.0).contains(&room.temperature), "{room:?}");
                assert!((15.0..=85.0).contains(&room.humidity), "{room:?}");
                assert!((400.0..1_200.0).contains(&room.co2), "{room:?}");
            }
        }
    }

    #[test]
    fn a_meter_only_counts_up() {
        let reading = |step: u32| {
            let mut buffer = Vec::new();
            let time_s = MONDAY_S + 900.0 * f64::from(step);
            push_power(&mut buffer, &Room::at(1, time_s), 5, time_s);
            let text = String::from_utf8(buffer).unwrap();
            text.rsplit('=').next().unwrap().parse::<f64>().unwrap()
        };
        assert!((1..200).all(|step| reading(step) >= reading(step - 1)));
    }
}
