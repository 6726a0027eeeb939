//! Reads the time of a row.

use chrono::{DateTime, LocalResult, NaiveDate, NaiveDateTime, TimeZone};
use chrono_tz::Tz;

/// How a file writes its times.
#[derive(Debug, Clone)]
pub struct TimeReader {
    format: Format,
    zone: Tz,
}

#[derive(Debug, Clone)]
enum Format {
    /// RFC 3339, or `%Y-%m-%d %H:%M:%S` with an optional fraction.
    Default,
    Pattern(String),
    /// Nanoseconds per unit.
    Epoch(i64),
}

/// Tried in this order when no pattern is given.
const DEFAULT_PATTERNS: [&str; 4] =
    ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"];

impl TimeReader {
    /// `format` as `--time-format` gives it.
    #[must_use]
    pub fn new(format: Option<&str>, zone: Tz) -> Self {
        let format = match format {
            None => Format::Default,
            Some("s") => Format::Epoch(1_000_000_000),
            Some("ms") => Format::Epoch(1_000_000),
            Some("us") => Format::Epoch(1_000),
            Some("ns") => Format::Epoch(1),
            Some(pattern) => Format::Pattern(pattern.to_owned()),
        };
        Self { format, zone }
    }

    /// Nanoseconds since 1970, UTC. A local time that a change of the clocks repeats is its first one.
    pub fn read(&self, text: &str) -> Result<i64, String> {
        let text = text.trim();
        let unreadable = || format!("the time {text:?} is not understood: give --time-format");
        match &self.format {
            Format::Epoch(scale) => {
                let number: i64 = text.parse().map_err(|_| unreadable())?;
                number.checked_mul(*scale).ok_or_else(|| format!("the time {text} is out of range"))
            }
            Format::Pattern(pattern) => {
                if let Ok(zoned) = DateTime::parse_from_str(text, pattern) {
                    return nanoseconds(&zoned, text);
                }
                let local = NaiveDateTime::parse_from_str(text, pattern).ok().or_else(|| {
                    NaiveDate::parse_from_str(text, pattern).ok().and_then(|date| date.and_hms_opt(0, 0, 0))
                });
                self.in_zone(local.ok_or_else(unreadable)?, text)
            }
            Format::Default => {
                if let Ok(zoned) = DateTime::parse_from_rfc3339(text) {
                    return nanoseconds(&zoned, text);
                }
                let local = DEFAULT_PATTERNS
                    .iter()
                    .find_map(|pattern| NaiveDateTime::parse_from_str(text, pattern).ok());
                self.in_zone(local.ok_or_else(unreadable)?, text)
            }
        }
    }

    fn in_zone(&self, local: NaiveDateTime, text: &str) -> Result<i64, String> {
        match self.zone.from_local_datetime(&local) {
            LocalResult::Single(zoned) | LocalResult::Ambiguous(zoned, _) => nanoseconds(&zoned, text),
            LocalResult::None => {
                Err(format!("the time {text} does not exist in {}: give another --time-zone", self.zone))
            }
        }
    }
}

/// Reads a time as SQL answers give it: RFC 3339, or without a zone in UTC.
pub fn read_utc(text: &str) -> Result<i64, String> {
    TimeReader::new(None, Tz::UTC).read(text)
}

/// RFC 3339 with nine digits, UTC: the same length for every time of four-digit years.
#[must_use]
pub fn write_utc(time_ns: i64) -> String {
    DateTime::from_timestamp_nanos(time_ns).format("%Y-%m-%dT%H:%M:%S%.9fZ").to_string()
}

fn nanoseconds<Z: TimeZone>(time: &DateTime<Z>, text: &str) -> Result<i64, String> {
    time.timestamp_nanos_opt().ok_or_else(|| format!("the time {text} is outside of 1677 to 2262"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
    use super::*;

    fn check(format: Option<&str>, zone: Tz, text: &str, expected: &str) {
        let read = TimeReader::new(format, zone).read(text).map(write_utc);
        assert_eq!(read.as_deref(), Ok(expected), "{text}");
    }

    #[test]
    fn times_with_and_without_a_zone_are_read() {
        check(None, Tz::UTC, "2015-02-02 14:19:00", "2015-02-02T14:19:00.000000000Z");
        check(None, Tz::UTC, "2015-02-02T14:19:00.25+02:00", "2015-02-02T12:19:00.250000000Z");
        check(None, Tz::Europe__Berlin, "2015-07-02 14:19", "2015-07-02T12:19:00.000000000Z");
        check(Some("%d/%m/%y %H:%M"), Tz::UTC, "31/12/12 23:00", "2012-12-31T23:00:00.000000000Z");
        check(Some("%Y-%m-%d"), Tz::UTC, "2012-12-31", "2012-12-31T00:00:00.000000000Z");
        check(Some("%Y-%m-%d %H:%M %z"), Tz::UTC, "2012-12-31 23:00 +0100", "2012-12-31T22:00:00.000000000Z");
        check(Some("ms"), Tz::UTC, "1422886740123", "2015-02-02T14:19:00.123000000Z");
    }

    #[test]
    fn an_hour_that_comes_twice_is_its_first_and_one_that_never_comes_is_an_error() {
        check(None, Tz::Europe__Berlin, "2015-10-25 02:30:00", "2015-10-25T00:30:00.000000000Z");
        let never = TimeReader::new(None, Tz::Europe__Berlin).read("2015-03-29 02:30:00").unwrap_err();
        assert!(never.contains("does not exist in Europe/Berlin"), "{never}");
        assert!(TimeReader::new(None, Tz::UTC).read("yesterday").unwrap_err().contains("--time-format"));
    }
}
