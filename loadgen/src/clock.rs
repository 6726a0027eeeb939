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

/// Ticks of `/proc` per second: part of Linux's interface (`USER_HZ`), not of its configuration.
const PROC_TICKS_PER_S: u32 = 100;

/// CPU time of this process so far, user and system, to 10 ms; `None` where there is no Linux `/proc`.
#[must_use]
pub fn cpu_time() -> Option<Duration> {
    parse_proc_stat(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// Fields 14 and 15 of proc(5)'s `stat`; the name before them stands in brackets and may hold spaces.
fn parse_proc_stat(text: &str) -> Option<Duration> {
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(Duration::from_secs(u64::from(user.checked_add(system)?)) / PROC_TICKS_PER_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_ticks_are_added_whatever_the_process_is_called() {
        let text = "77 (a (b) c) R 1 1 1 0 -1 4194304 900 0 3 0 123 45 9 9 20 0 5 0 1000 1 1";
        assert_eq!(parse_proc_stat(text), Some(Duration::from_millis(1_680)));
        assert_eq!(parse_proc_stat("nonsense"), None);
    }
}
