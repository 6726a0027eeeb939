//! What is kept from being removed while a backup copies it.
//!
//! Invariant: what somebody has [held](Hold::hold) stays until the last [`Held`] is dropped; then it goes at the next
//! occasion by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Mutex, OwnedMutexGuard};

/// Something that can be kept. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hold(Arc<AtomicUsize>);

/// Keeps it until it is dropped.
#[derive(Debug)]
pub(crate) struct Held(Arc<AtomicUsize>);

/// What a backup holds of an engine.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    /// The log, which is not trimmed.
    pub(crate) log: Hold,
    /// Taken by whoever removes objects of tables, and by a backup for as long as it copies them.
    removal: Arc<Mutex<()>>,
}

impl Hold {
    pub(crate) fn hold(&self) -> Held {
        self.0.fetch_add(1, Ordering::AcqRel);
        Held(Arc::clone(&self.0))
    }

    pub(crate) fn is_held(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Holds {
    /// The right to remove objects; `None` while a backup copies them.
    pub(crate) fn try_remove(&self) -> Option<OwnedMutexGuard<()>> {
        Arc::clone(&self.removal).try_lock_owned().ok()
    }

    /// Waits until nobody removes objects, and keeps them.
    pub(crate) async fn keep_objects(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.removal).lock_owned().await
    }
}
