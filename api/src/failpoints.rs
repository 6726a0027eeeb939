//! Ends the process at a named stop, for tests of what a crash leaves behind. Only in builds with the feature
//! `failpoints`, which nothing that is shipped has.
//!
//! `BUSBAR_KILL_AT=name` ends it when the stop is reached first, `BUSBAR_KILL_AT=name:n` at the n-th time.
//! Invariant: the end is an abort. As after `kill -9`, nothing is unwound, flushed or closed.

use std::sync::atomic::{AtomicU64, Ordering};

/// The variable that names the stop.
pub const VARIABLE: &str = "BUSBAR_KILL_AT";

/// The variable does not name a stop.
#[derive(Debug, thiserror::Error)]
#[error("{VARIABLE}: {0}; write NAME or NAME:COUNT")]
pub struct BadStop(String);

/// Sets the stop that the variable names; nothing without it.
///
/// # Errors
/// When the variable cannot be read as a stop.
pub fn arm() -> Result<(), BadStop> {
    let Ok(text) = std::env::var(VARIABLE) else { return Ok(()) };
    let (name, count) = parse(&text)?;
    let reached = AtomicU64::new(0);
    let stop = name.to_owned();
    let hit = move || {
        if reached.fetch_add(1, Ordering::Relaxed) + 1 == count {
            tracing::warn!(stop, count, "ending at the named stop");
            std::process::abort();
        }
    };
    fail::cfg_callback(name, hit).map_err(BadStop)
}

fn parse(text: &str) -> Result<(&str, u64), BadStop> {
    let (name, count) = text.split_once(':').unwrap_or((text, "1"));
    let count = count.parse().map_err(|_| BadStop(format!("{count:?} is not a count")))?;
    if name.is_empty() || count == 0 {
        return Err(BadStop(format!("{text:?} names no stop")));
    }
    Ok((name, count))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::parse;

    #[test]
    fn a_stop_is_a_name_and_perhaps_a_count() {
        assert_eq!(parse("log-before-trim").unwrap(), ("log-before-trim", 1));
        assert_eq!(parse("log-before-trim:3").unwrap(), ("log-before-trim", 3));
        for wrong in ["", ":1", "a:0", "a:b", "a:-1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
