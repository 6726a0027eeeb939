//! The only place that reads the machine's clocks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The monotonic time now.
#[expect(clippy::disallowed_methods, reason = "this is the clock module")]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// Nanoseconds since 1970, UTC; 0 on a machine whose clock is before 1970, the greatest i64 after 2262.
#[expect(clippy::disallowed_methods, reason = "this is the clock module")]
#[must_use]
pub fn unix_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Returns at `deadline`, or at once when it has passed.
pub async fn sleep_until(deadline: Instant) {
    tokio::time::sleep_until(tokio::time::Instant::from_std(deadline)).await;
}
