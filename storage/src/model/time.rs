//! Time: nanoseconds since 1970-01-01 UTC.

use std::fmt;

/// A point in time, in nanoseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From nanoseconds since 1970.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since 1970.
    #[must_use]
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// Whole milliseconds since 1970, 0 before that.
    #[must_use]
    pub const fn unix_millis(self) -> u64 {
        if self.0 < 0 { 0 } else { self.0.unsigned_abs() / 1_000_000 }
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 with nanoseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let utc = chrono::DateTime::from_timestamp_nanos(self.0);
        f.write_str(&utc.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
    }
}

/// A closed range of times, in nanoseconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimeRange {
    /// The first time in it.
    pub min: Timestamp,
    /// The last time in it.
    pub max: Timestamp,
}

impl TimeRange {
    /// Every time there is.
    pub const ALL: Self = Self { min: Timestamp(i64::MIN), max: Timestamp(i64::MAX) };

    /// From two times in nanoseconds.
    #[must_use]
    pub const fn new(min: Timestamp, max: Timestamp) -> Self {
        Self { min, max }
    }

    /// The smallest range that holds all of `times`; `None` when there are none.
    #[must_use]
    pub fn of(times: &[i64]) -> Option<Self> {
        let min = *times.iter().min()?;
        let max = *times.iter().max()?;
        Some(Self { min: Timestamp(min), max: Timestamp(max) })
    }

    /// Whether any time lies in both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.min <= other.max && other.min <= self.max
    }

    /// Whether `time` lies in it.
    #[must_use]
    pub fn contains(&self, time: Timestamp) -> bool {
        self.min <= time && time <= self.max
    }

    /// Whether all of `other` lies in it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.min <= other.min && other.max <= self.max
    }

    /// The smallest range that holds both.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}
