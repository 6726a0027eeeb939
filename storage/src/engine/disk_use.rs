//! How much of the local disk rows take on their way to the tables.
//!
//! Invariant: a staged file counts from before its set is complete until it is removed. Spare segments do not
//! count: those that were used stay whatever is written, and one at most is made ahead.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::DataFile;

/// Bytes of the log and of staged files.
#[derive(Debug, Default)]
pub(crate) struct DiskUse {
    log: AtomicU64,
    staged: AtomicU64,
}

impl DiskUse {
    pub(crate) fn bytes(&self) -> u64 {
        self.log.load(Ordering::Relaxed) + self.staged.load(Ordering::Relaxed)
    }

    pub(crate) fn log_bytes(&self) -> u64 {
        self.log.load(Ordering::Relaxed)
    }

    pub(crate) fn set_log(&self, bytes: u64) {
        self.log.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn add_staged(&self, file: &DataFile) {
        self.staged.fetch_add(file.bytes, Ordering::Relaxed);
    }

    pub(crate) fn remove_staged(&self, file: &DataFile) {
        self.staged.fetch_sub(file.bytes, Ordering::Relaxed);
    }
}
