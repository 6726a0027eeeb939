//! The only place that reads the machine's clocks.
//!
//! Invariant: everything else takes a time as a value or asks here, so a test can decide what time it is.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::model::Timestamp;

/// Wall-clock time in nanoseconds since 1970-01-01 UTC. It may step backwards.
#[must_use]
pub fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "this module is where the clock is read")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp::from_nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// Monotonic time, for durations only.
#[must_use]
pub fn instant() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "this module is where the clock is read")]
    Instant::now()
}
