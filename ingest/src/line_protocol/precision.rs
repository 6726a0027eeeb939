//! The unit of timestamps.

use super::LineError;

/// The unit of the timestamps of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// Nanoseconds.
    #[default]
    Nanosecond,
    /// Microseconds.
    Microsecond,
    /// Milliseconds.
    Millisecond,
    /// Seconds.
    Second,
    /// Minutes (InfluxDB 1 only).
    Minute,
    /// Hours (InfluxDB 1 only).
    Hour,
    /// By the size of each number (InfluxDB 3's default).
    Auto,
}

/// A precision that the endpoint does not know. Displays as the endpoint's server says it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid precision \"{given}\" (use {known})")]
pub struct InvalidPrecision {
    given: Box<str>,
    known: &'static str,
}

/// Below this a number is seconds (until the year 2128), as InfluxDB 3 guesses.
const AUTO_SECONDS: u64 = 5_000_000_000;
/// Below this a number is milliseconds.
const AUTO_MILLISECONDS: u64 = AUTO_SECONDS * 1_000;
/// Below this a number is microseconds, from this on nanoseconds.
const AUTO_MICROSECONDS: u64 = AUTO_MILLISECONDS * 1_000;

/// Bytes of a wrong precision that its error repeats.
const GIVEN_BYTES: usize = 32;

impl Precision {
    /// The parameter `precision` of `/write`; an empty one is the default.
    ///
    /// # Errors
    /// When InfluxDB 1 does not know it.
    pub fn v1(text: &str) -> Result<Self, InvalidPrecision> {
        match text {
            "m" => Ok(Self::Minute),
            "h" => Ok(Self::Hour),
            _ => Self::short(text).ok_or_else(|| invalid(text, "n, u, ms, s, m or h")),
        }
    }

    /// The parameter `precision` of `/api/v2/write`; an empty one is the default.
    ///
    /// # Errors
    /// When neither InfluxDB 2 nor InfluxDB 3's endpoint of the same path knows it.
    pub fn v2(text: &str) -> Result<Self, InvalidPrecision> {
        Self::short(text).ok_or_else(|| invalid(text, "ns, us, ms or s"))
    }

    /// The parameter `precision` of `/api/v3/write_lp`; an empty one is the default, `auto`.
    ///
    /// # Errors
    /// When InfluxDB 3 does not know it.
    pub fn v3(text: &str) -> Result<Self, InvalidPrecision> {
        match text {
            "" | "auto" => Ok(Self::Auto),
            "second" => Ok(Self::Second),
            "millisecond" => Ok(Self::Millisecond),
            "microsecond" => Ok(Self::Microsecond),
            "nanosecond" => Ok(Self::Nanosecond),
            _ => Self::short(text)
                .ok_or_else(|| invalid(text, "auto, second, millisecond, microsecond or nanosecond")),
        }
    }

    /// The name that [`of_name`](Self::of_name) knows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nanosecond => "ns",
            Self::Microsecond => "us",
            Self::Millisecond => "ms",
            Self::Second => "s",
            Self::Minute => "m",
            Self::Hour => "h",
            Self::Auto => "auto",
        }
    }

    /// The precision that is called so.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        match name {
            "" => None,
            "auto" => Some(Self::Auto),
            _ => Self::v1(name).ok(),
        }
    }

    /// The short forms that all endpoints know.
    fn short(text: &str) -> Option<Self> {
        match text {
            "" | "n" | "ns" => Some(Self::Nanosecond),
            "u" | "us" => Some(Self::Microsecond),
            "ms" => Some(Self::Millisecond),
            "s" => Some(Self::Second),
            _ => None,
        }
    }

    /// Nanoseconds of a timestamp of this unit.
    ///
    /// # Errors
    /// When they do not fit 64 bits.
    pub fn to_nanos(self, raw: i64) -> Result<i64, LineError> {
        raw.checked_mul(self.resolve(raw).unit_nanos())
            .ok_or_else(|| LineError::TimestampOutOfRange(raw.to_string().into()))
    }

    /// The last whole unit at or before `now_ns`: the time of a line without a timestamp.
    #[must_use]
    pub const fn truncate(self, now_ns: i64) -> i64 {
        now_ns.saturating_sub(now_ns.rem_euclid(self.unit_nanos()))
    }

    /// The unit of this very number.
    const fn resolve(self, raw: i64) -> Self {
        match self {
            Self::Auto => match raw.unsigned_abs() {
                ..AUTO_SECONDS => Self::Second,
                AUTO_SECONDS..AUTO_MILLISECONDS => Self::Millisecond,
                AUTO_MILLISECONDS..AUTO_MICROSECONDS => Self::Microsecond,
                AUTO_MICROSECONDS.. => Self::Nanosecond,
            },
            known => known,
        }
    }

    const fn unit_nanos(self) -> i64 {
        match self {
            Self::Nanosecond | Self::Auto => 1,
            Self::Microsecond => 1_000,
            Self::Millisecond => 1_000_000,
            Self::Second => 1_000_000_000,
            Self::Minute => 60_000_000_000,
            Self::Hour => 3_600_000_000_000,
        }
    }
}

fn invalid(given: &str, known: &'static str) -> InvalidPrecision {
    InvalidPrecision { given: given.chars().take(GIVEN_BYTES).collect(), known }
}
