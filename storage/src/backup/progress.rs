//! How far a backup or a restore has come, for whoever watches it.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Counters that rise while the work goes on.
#[derive(Debug, Default)]
pub struct Progress {
    stage: Mutex<&'static str>,
    files: AtomicU64,
    files_done: AtomicU64,
    bytes: AtomicU64,
    bytes_done: AtomicU64,
    bytes_copied: AtomicU64,
}

/// The counters at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// What is being done.
    pub stage: &'static str,
    /// Files that are known to be needed.
    pub files: u64,
    /// Those that are done.
    pub files_done: u64,
    /// Bytes of the files that are needed.
    pub bytes: u64,
    /// Of those that are done.
    pub bytes_done: u64,
    /// Bytes that had to be copied: the others were there.
    pub bytes_copied: u64,
}

impl Progress {
    /// The counters now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            stage: *self.stage.lock(),
            files: of(&self.files),
            files_done: of(&self.files_done),
            bytes: of(&self.bytes),
            bytes_done: of(&self.bytes_done),
            bytes_copied: of(&self.bytes_copied),
        }
    }

    pub(super) fn stage(&self, stage: &'static str) {
        *self.stage.lock() = stage;
    }

    /// So many files more are needed.
    pub(super) fn expect(&self, files: u64, bytes: u64) {
        self.files.fetch_add(files, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// One of them is there.
    pub(super) fn done(&self, bytes: u64, copied: bool) {
        self.files_done.fetch_add(1, Ordering::Relaxed);
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
        if copied {
            self.bytes_copied.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}
