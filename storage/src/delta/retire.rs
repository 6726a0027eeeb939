//! Takes files and their rows out of a table.

use std::collections::HashSet;
use std::sync::Arc;

use deltalake_core::kernel::Action;
use deltalake_core::kernel::transaction::CommitProperties;
use deltalake_core::protocol::DeltaOperation;
use object_store::path::Path;

use super::{Attempts, TableLog, action, now_ms};
use crate::error::Result;
use crate::model::DataFile;

impl TableLog {
    /// Removes `files` from the table together with their rows, in one step that reads none of them. A file that the
    /// table does not have is passed over, so it may be tried again.
    ///
    /// # Errors
    /// [`Error::Delta`](crate::Error::Delta) when the store cannot be written or read: it may have happened.
    pub async fn retire(&mut self, files: &[Arc<DataFile>], app_id: &str) -> Result<()> {
        let mut attempts = Attempts::default();
        loop {
            let live: HashSet<Path> = self.files()?.into_iter().map(|file| file.path).collect();
            let left: Vec<_> = files.iter().filter(|file| live.contains(&file.path)).collect();
            if left.is_empty() {
                break;
            }
            let now_ms = now_ms();
            let mut actions = Vec::with_capacity(left.len());
            for file in left {
                actions.push(Action::Remove(action::removal(&self.folder, file, now_ms, true)?));
            }
            let operation = DeltaOperation::Delete { predicate: None };
            let transaction = self.transaction_version(app_id).map(|version| (app_id, version));
            let written = self.write(actions, CommitProperties::default(), operation, transaction).await;
            let Err(error) = written else { break };
            self.begin_again(&mut attempts, error, app_id).await?;
        }
        self.checkpoint_if_due().await;
        Ok(())
    }
}
