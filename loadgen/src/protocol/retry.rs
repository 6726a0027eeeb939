//! When to try again: `Retry-After` first, else exponential back-off with jitter, within a bound.

use crate::clock;
use chrono::DateTime;
use std::time::{Duration, Instant};

/// The first wait; a restart of a local server takes about this long.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest wait without `Retry-After`: a server that came back is found within 5 s.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// A `Retry-After` above this is cut: a run should end on the day it began.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// The waits of one batch (or one connection) that is being retried.
#[derive(Debug)]
pub struct Backoff {
    give_up_at: Instant,
    next_wait: Duration,
}

impl Backoff {
    /// Retries are allowed for `retry_for` from now on.
    #[must_use]
    pub fn new(retry_for: Duration) -> Self {
        Self { give_up_at: clock::now() + retry_for, next_wait: FIRST_WAIT }
    }

    /// The time until the next try, or `None` when it would begin after the bound.
    pub fn next(&mut self, retry_after: Option<Duration>) -> Option<Duration> {
        let wait = retry_after.map_or_else(
            || self.next_wait.mul_f64(rand::random_range(0.5..1.0)),
            |asked| asked.min(LONGEST_RETRY_AFTER),
        );
        self.next_wait = (self.next_wait * 2).min(LONGEST_WAIT);
        (clock::now() + wait < self.give_up_at).then_some(wait)
    }
}

/// Reads a `Retry-After` header: seconds, whole or not, or an HTTP date relative to `now_unix_s`.
#[must_use]
pub fn parse_retry_after(header: &str, now_unix_s: i64) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = DateTime::parse_from_rfc2822(header).ok()?;
    let seconds = u64::try_from(date.timestamp() - now_unix_s).unwrap_or(0);
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        let check =
            |header, expected| assert_eq!(parse_retry_after(header, 1_422_886_740), expected, "{header}");
        check("3", Some(Duration::from_secs(3)));
        check(" 0.5 ", Some(Duration::from_millis(500)));
        check("Mon, 02 Feb 2015 14:19:10 GMT", Some(Duration::from_secs(10)));
        check("Mon, 02 Feb 2015 14:18:00 GMT", Some(Duration::ZERO));
        check("-1", None);
        check("soon", None);
    }

    #[test]
    fn the_server_s_wait_is_obeyed_and_the_bound_ends_the_retries() {
        let mut backoff = Backoff::new(Duration::from_secs(30));
        assert_eq!(backoff.next(Some(Duration::from_secs(7))), Some(Duration::from_secs(7)));
        assert_eq!(
            backoff.next(Some(Duration::from_secs(3600))),
            None,
            "cut to 60 s, still beyond the bound"
        );
        let wait = backoff.next(None).unwrap();
        assert!(wait >= FIRST_WAIT && wait <= LONGEST_WAIT, "{wait:?}");
    }
}
