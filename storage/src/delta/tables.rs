//! The Delta logs of all tables of a process: one committer per table.
//!
//! Commits to one table contend (eight writers made two to six commits a second), so whoever wants to commit
//! takes the table's log first and holds it until the view shows what was committed.

use std::sync::Arc;

use hashbrown::HashMap;
use object_store::ObjectStore;
use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedMappedMutexGuard, OwnedMutexGuard};

use super::TableLog;
use crate::engine::hold::{Held, Hold};
use crate::error::{Error, Result};
use crate::layout;
use crate::model::{TableId, TableSchema};

/// A table's log, taken: nobody else of this process commits to the table meanwhile.
pub(crate) type TakenLog = OwnedMappedMutexGuard<Option<TableLog>, TableLog>;

/// The logs, opened when they are first needed.
#[derive(Debug)]
pub(crate) struct TableLogs {
    store: Arc<dyn ObjectStore>,
    /// The name of this process's transactions (TXN-1).
    app_id: String,
    logs: Mutex<HashMap<TableId, Arc<AsyncMutex<Option<TableLog>>>>>,
    /// While it is held, the logs keep their old entries.
    history: Hold,
}

impl TableLogs {
    /// The logs of the tables in `store`, for the committer `app_id`.
    pub(crate) fn new(store: Arc<dyn ObjectStore>, app_id: String) -> Self {
        Self { store, app_id, logs: Mutex::default(), history: Hold::default() }
    }

    /// The name of this process's transactions.
    pub(crate) fn app_id(&self) -> &str {
        &self.app_id
    }

    /// Keeps the entries of all logs, old ones too.
    pub(crate) fn hold_history(&self) -> Held {
        self.history.hold()
    }

    /// Takes the log of a table, which is opened if need be; `None` when there is no such table in the store.
    pub(crate) async fn take(&self, schema: &TableSchema) -> Result<Option<TakenLog>> {
        let mut log = self.lock(schema.id).await;
        if log.is_none() {
            let folder = layout::table_folder(schema);
            let opened = TableLog::open(Arc::clone(&self.store), &folder, &self.app_id).await?;
            *log = opened.map(|log| self.holding(log));
        }
        Ok(OwnedMutexGuard::try_map(log, Option::as_mut).ok())
    }

    /// Takes the log of a table, which is made if need be.
    pub(crate) async fn take_or_create(&self, schema: &TableSchema) -> Result<TakenLog> {
        if let Some(log) = self.take(schema).await? {
            return Ok(log);
        }
        let mut log = self.lock(schema.id).await;
        if log.is_none() {
            let folder = layout::table_folder(schema);
            *log = Some(self.holding(TableLog::create(Arc::clone(&self.store), &folder, schema).await?));
        }
        OwnedMutexGuard::try_map(log, Option::as_mut)
            .map_err(|_| Error::Internal("a table's log that was made is gone".into()))
    }

    fn holding(&self, log: TableLog) -> TableLog {
        TableLog { history: self.history.clone(), ..log }
    }

    async fn lock(&self, table: TableId) -> OwnedMutexGuard<Option<TableLog>> {
        let log = Arc::clone(self.logs.lock().entry(table).or_default());
        log.lock_owned().await
    }
}
