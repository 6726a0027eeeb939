//! The only place that reads the machine's clocks.
//!
//! Invariant: everything else takes a time as a value or asks here, so a test can decide what time it is.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::model::Timestamp;

/// Tells the wall-clock time: the machine's, or what a test says.
#[derive(Clone)]
pub struct WallClock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl WallClock {
    /// A clock that tells what `now` gives.
    pub fn of(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl Default for WallClock {
    /// The machine's.
    fn default() -> Self {
        Self::of(now)
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WallClock")
    }
}

/// Wall-clock time in nanoseconds since 1970-01-01 UTC. It may step backwards.
#[must_use]
pub fn now() -> Timestamp {
    let since = system_time().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp::from_nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// Wall-clock time as the operating system has it.
#[must_use]
pub fn system_time() -> SystemTime {
    #[expect(clippy::disallowed_methods, reason = "this module is where the clock is read")]
    SystemTime::now()
}

/// Monotonic time, for durations only.
#[must_use]
pub fn instant() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "this module is where the clock is read")]
    Instant::now()
}
