//! Whether a line is kept at all: by room, and by how fast lines come.
//!
//! Invariant: what is reserved is all that is kept and all that waits to be, so the bound holds whoever waits.

use std::time::{Duration, Instant};

use super::NotKept;

/// Bytes of lines that are kept in a second, in the long run: some thousand lines. Whoever sends only bad lines fills
/// the default bound in a minute and the disk never.
const BYTES_PER_SECOND: u64 = 1 << 20;

/// Bytes of lines that are kept at once: the bad lines of a few large bodies.
const BURST_BYTES: u64 = 8 << 20;

#[derive(Debug)]
pub(super) struct Admission {
    max_bytes: u64,
    reserved: u64,
    tokens: u64,
    refilled: Instant,
}

impl Admission {
    pub(super) fn new(max_bytes: u64, now: Instant) -> Self {
        Self { max_bytes, reserved: 0, tokens: BURST_BYTES, refilled: now }
    }

    /// Reserves bytes for a line.
    pub(super) fn reserve(&mut self, bytes: u64, now: Instant) -> Result<(), NotKept> {
        if self.reserved + bytes > self.max_bytes {
            return Err(NotKept::Full);
        }
        self.refill(now);
        self.tokens = self.tokens.checked_sub(bytes).ok_or(NotKept::TooFast)?;
        self.reserved += bytes;
        Ok(())
    }

    /// Gives back what was reserved for lines that were not kept.
    pub(super) fn release(&mut self, bytes: u64) {
        self.reserved = self.reserved.saturating_sub(bytes);
    }

    /// What is kept went from `before` to `after` bytes, beyond what was reserved.
    pub(super) fn changed(&mut self, before: u64, after: u64) {
        self.reserved = self.reserved.saturating_sub(before).saturating_add(after);
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.refilled);
        let micros = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
        let new = micros.saturating_mul(BYTES_PER_SECOND) / 1_000_000;
        if new > 0 {
            self.tokens = self.tokens.saturating_add(new).min(BURST_BYTES);
            self.refilled += Duration::from_micros(new.saturating_mul(1_000_000) / BYTES_PER_SECOND);
        }
    }
}
