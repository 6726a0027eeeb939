//! Tries of one commit.
//!
//! Whatever the store answered, the put may have worked (TXN-1), and if the entry was there already, another process was
//! faster: the log is read as far as it is new, and the commit begins again on top of it.

use super::TableLog;
use crate::error::{Error, Result};

/// How often a commit is tried while nobody else commits: the store fails, and one that fails longer is for the caller to
/// wait for.
const TRIES: u32 = 4;

/// How often a commit is tried that others have overtaken. Each time one of them has got further, so it is a matter of
/// luck, and of the room that merges leave ([`cluster::leave_room`](crate::cluster::leave_room)).
const RACES: u32 = 32;

/// The tries that a commit has had.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    failed: u32,
    overtaken: u32,
}

impl TableLog {
    /// After a commit has failed with `error`: reads what it may be tried again on.
    ///
    /// # Errors
    /// `error`, when it was tried often enough or the log cannot be read.
    pub(super) async fn begin_again(
        &mut self,
        attempts: &mut Attempts,
        error: Error,
        app_id: &str,
    ) -> Result<()> {
        let known = self.version();
        let read = self.refresh(app_id).await;
        if self.version() > known {
            attempts.overtaken += 1;
            tracing::debug!(%error, table = %self.folder, "another entry of the table's log came before this commit");
        } else {
            attempts.failed += 1;
            tracing::warn!(%error, table = %self.folder, attempt = attempts.failed, "a commit failed");
        }
        if let Err(unread) = &read {
            tracing::warn!(%unread, table = %self.folder, "the table's log could not be read after a failed commit");
        }
        if read.is_err() || attempts.failed == TRIES || attempts.overtaken == RACES {
            return Err(error);
        }
        Ok(())
    }
}
