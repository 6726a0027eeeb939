//! The times of a delete: RFC 3339, from a start up to and without a stop.

use chrono::DateTime;
use storage::model::{TimeRange, Timestamp};

/// The times from `start` up to and without `stop`.
///
/// # Errors
/// What is wrong with them.
pub(super) fn parse(start: &str, stop: &str) -> Result<TimeRange, String> {
    let (from, to) = (nanos("start", start)?, nanos("stop", stop)?);
    match to.checked_sub(1) {
        Some(last) if from <= last => {
            Ok(TimeRange::new(Timestamp::from_nanos(from), Timestamp::from_nanos(last)))
        }
        _ => Err(format!("stop must be after start: {start} to {stop} is no time")),
    }
}

fn nanos(name: &str, text: &str) -> Result<i64, String> {
    let wrong = |why: &str| format!("{name} {why}: send RFC 3339, such as 2026-01-31T08:00:00Z");
    if text.is_empty() {
        return Err(wrong("is missing"));
    }
    let time = DateTime::parse_from_rfc3339(text).map_err(|error| wrong(&format!("is no time ({error})")))?;
    // Years that nanoseconds cannot say hold no rows: the range goes as far as rows do.
    Ok(time.timestamp_nanos_opt().unwrap_or(if time.timestamp() < 0 { i64::MIN } else { i64::MAX }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::parse;

    #[test]
    fn a_span_ends_before_its_stop() {
        let span = parse("1970-01-01T00:00:00Z", "1970-01-01T01:00:00.000000009+01:00").unwrap();
        assert_eq!((span.min.nanos(), span.max.nanos()), (0, 8));
        let all = parse("0001-01-01T00:00:00Z", "9999-12-31T00:00:00Z").unwrap();
        assert_eq!((all.min.nanos(), all.max.nanos()), (i64::MIN, i64::MAX - 1));
    }

    #[test]
    fn what_is_no_span_says_why() {
        for (start, stop, why) in [
            ("", "2026-01-01T00:00:00Z", "start is missing"),
            ("2026-01-01T00:00:00Z", "tomorrow", "stop is no time"),
            ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "stop must be after start"),
        ] {
            assert!(parse(start, stop).unwrap_err().contains(why), "{start} {stop}");
        }
    }
}
