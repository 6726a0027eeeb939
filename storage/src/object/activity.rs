//! What the table store does, counted while it does it.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Counters of one table store, and whether it answers.
#[derive(Debug, Default)]
pub struct StoreActivity {
    /// Requests that were sent, repeated ones included.
    pub requests: AtomicU64,
    /// Requests that repeat an earlier one.
    pub retries: AtomicU64,
    /// Operations that were given up.
    pub failures: AtomicU64,
    /// Bytes of objects that were sent, each as often as it was sent.
    pub sent_bytes: AtomicU64,
    /// Bytes of objects that were received.
    pub received_bytes: AtomicU64,
    /// Blocks that were read from the cache.
    pub cache_hits: AtomicU64,
    /// Blocks that had to be fetched.
    pub cache_misses: AtomicU64,
    /// Blocks whose bytes in the cache were not those that were put there.
    pub cache_damaged: AtomicU64,
    fault: Mutex<Option<String>>,
}

impl StoreActivity {
    /// Why the last request was not answered; `None` when it was.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.fault.lock().clone()
    }

    pub(crate) fn answered(&self) {
        let mut fault = self.fault.lock();
        if fault.is_some() {
            *fault = None;
        }
    }

    pub(crate) fn unanswered(&self, why: &dyn std::fmt::Display) {
        *self.fault.lock() = Some(format!("the object store does not answer: {why}"));
    }

    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}
