//! Properties of databases and tables: what is declared of them, as opposed to what their rows show.
//!
//! Invariants: a retention can be subtracted from any time; a scale leaves every decimal of it distinct as a float.

use std::fmt;
use std::time::Duration;

use super::Timestamp;

/// The shortest retention: a unit that was mistaken must not empty a table (InfluxDB has the same bound).
const SHORTEST_RETENTION: Duration = Duration::from_secs(3_600);

/// Decimal digits that a float always keeps (`DBL_DIG`).
const EXACT_DIGITS: u8 = 15;

/// Why a property is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PropertyError {
    /// A retention is too short.
    #[error("a retention is at least one hour, not {}", humane(*.0))]
    Short(Duration),
    /// A retention is too long.
    #[error("a retention is at most 292 years: say \"forever\" to keep everything")]
    Long,
    /// A scale has too many digits.
    #[error("a scale is 0 to {EXACT_DIGITS} digits after the point, not {0}: a float keeps no more")]
    Scale(u64),
}

fn humane(period: Duration) -> String {
    format!("{} s", period.as_secs_f64())
}

/// How long the rows of a table are kept, by their time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Retention {
    /// 0 is for ever.
    nanos: u64,
}

impl Retention {
    /// Nothing expires.
    pub const FOREVER: Self = Self { nanos: 0 };

    /// Rows expire when they are so old.
    ///
    /// # Errors
    /// When it is shorter than an hour or longer than 292 years.
    pub fn of(period: Duration) -> Result<Self, PropertyError> {
        if period < SHORTEST_RETENTION {
            return Err(PropertyError::Short(period));
        }
        let nanos = u64::try_from(period.as_nanos()).ok().and_then(Self::from_nanos);
        nanos.ok_or(PropertyError::Long)
    }

    /// From the number of nanoseconds that [`nanos`](Self::nanos) gives.
    #[must_use]
    pub fn from_nanos(nanos: u64) -> Option<Self> {
        i64::try_from(nanos).is_ok().then_some(Self { nanos })
    }

    /// Nanoseconds; 0 is for ever.
    #[must_use]
    pub const fn nanos(self) -> u64 {
        self.nanos
    }

    /// How old rows become; `None` when nothing expires.
    #[must_use]
    pub const fn period(self) -> Option<Duration> {
        if self.nanos == 0 { None } else { Some(Duration::from_nanos(self.nanos)) }
    }

    /// The oldest time that is kept at `now`; every time there is when nothing expires.
    #[must_use]
    pub const fn oldest(self, now: Timestamp) -> Timestamp {
        if self.nanos == 0 {
            return Timestamp::from_nanos(i64::MIN);
        }
        Timestamp::from_nanos(now.nanos().saturating_sub_unsigned(self.nanos))
    }
}

/// The unit of time by which the files of a table are kept apart. It is fixed when the table is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Partition {
    /// UTC days.
    #[default]
    Day,
    /// UTC months: for tables that get few rows a day, or years of history at once.
    Month,
}

impl Partition {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

/// Decimal digits after the point that the floats of a field are declared to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scale(u8);

impl Scale {
    /// So many digits after the point.
    ///
    /// # Errors
    /// When a float does not keep so many.
    pub fn new(digits: u64) -> Result<Self, PropertyError> {
        let known = u8::try_from(digits).ok().filter(|digits| *digits <= EXACT_DIGITS);
        known.map(Self).ok_or(PropertyError::Scale(digits))
    }

    /// The digits after the point.
    #[must_use]
    pub const fn digits(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{PropertyError, Retention, Scale};
    use crate::model::Timestamp;

    #[test]
    fn the_oldest_kept_time_is_never_beyond_what_time_can_say() {
        let hour = Retention::of(Duration::from_secs(3_600)).unwrap();
        let oldest = |retention: Retention, now| retention.oldest(Timestamp::from_nanos(now)).nanos();
        assert_eq!(oldest(hour, 3_600_000_000_007), 7);
        assert_eq!(oldest(hour, i64::MIN + 5), i64::MIN);
        assert_eq!(oldest(Retention::FOREVER, 7), i64::MIN);
        let longest = Retention::from_nanos(i64::MAX.unsigned_abs()).unwrap();
        assert_eq!(oldest(longest, 0), -i64::MAX);
    }

    #[test]
    fn a_retention_that_empties_a_table_by_mistake_is_refused() {
        assert!(matches!(Retention::of(Duration::from_secs(3_599)), Err(PropertyError::Short(_))));
        assert_eq!(Retention::of(Duration::MAX), Err(PropertyError::Long));
        assert_eq!(Retention::from_nanos(u64::MAX), None);
    }

    #[test]
    fn a_scale_has_no_more_digits_than_a_float_keeps() {
        assert_eq!(Scale::new(15).unwrap().digits(), 15);
        assert_eq!(Scale::new(16), Err(PropertyError::Scale(16)));
        assert_eq!(Scale::new(300), Err(PropertyError::Scale(300)));
    }
}
