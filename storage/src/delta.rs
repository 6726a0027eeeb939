//! The Delta Lake log of one table: which files are in it, and up to which sequence.
//!
//! A commit adds files and says in the same atomic step `txn {app_id, version}`: every row of this table up to
//! the sequence `version` of the log `app_id` is in files (TXN-1). So a commit that is tried again after a
//! crash or a lost answer is recognised, and happens once:
//!
//! 1. If the table's version for `app_id` is not below `version`, the commit is there: do nothing.
//! 2. Put the next log entry, only if nobody else has put one of that number.
//! 3. After any error, even "exists already", read what is new in the log and begin at 1: the put may have worked.
//!
//! Invariants: the store is durable on return, so a returned commit survives a power cut. Of several processes that
//! commit to a table one wins, and the others begin again on top of what it committed. Columns are only ever added. What
//! Delta Lake's own fields cannot say of a file, its `tags` say: the range of sequences, exact times, number of rows,
//! checksum.

mod action;
mod attempts;
mod attested;
mod followed;
mod history;
mod parts;
mod retire;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;

use deltalake_core::checkpoints::{cleanup_metadata, create_checkpoint};
use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake_core::kernel::{Action, Add, Metadata, MetadataExt, StructType, Transaction};
use deltalake_core::logstore::{LogStore, LogStoreRef, StorageConfig, default_logstore};
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use deltalake_core::table::state::DeltaTableState;
use deltalake_core::{DeltaTable, DeltaTableError};
use futures::TryStreamExt;
use hashbrown::HashMap;
use object_store::ObjectStore;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use url::Url;

use self::attempts::Attempts;
pub(crate) use self::followed::is_unanswered;
pub(crate) use self::parts::parts_of_version;
pub(crate) use self::tables::{TableLogs, TakenLog};
use crate::clock;
use crate::engine::hold::Hold;
use crate::error::{Error, Result};
use crate::layout::{DATE_COLUMN, delta_schema, is_described};
use crate::model::{DataFile, Sequence, TableSchema};

/// Commits between two checkpoints: opening a table reads at most so many small objects beside the checkpoint,
/// while writing one (all files of the table) stays rare.
const CHECKPOINT_COMMITS: u64 = 100;

/// How long old log entries are kept, which is how far back a version of the table can be opened.
const LOG_RETENTION: &str = "interval 7 days";

/// The table property with the unit of its partitions: the name of the partition column does not say it.
const PARTITION: &str = "busbar.partition";

/// The table properties with its names: the folder has them cut and escaped.
const DATABASE: &str = "busbar.database";
const TABLE: &str = "busbar.table";

/// The table property with the version of Busbar's schema.
const SCHEMA_VERSION: &str = "busbar.schemaVersion";

/// A stand-in for the table's address: the log store is given its store ready-made, below the table's folder,
/// so that no name of a table ever stands in a URL.
const TABLE_URL: &str = "busbar:///";

/// The log of one table, as of the last commit or [`TableLog::open`].
pub struct TableLog {
    folder: Path,
    log_store: LogStoreRef,
    state: DeltaTableState,
    /// What [`TableLog::transaction_version`] answers; an absent name was not asked for yet.
    transactions: HashMap<String, Option<i64>>,
    checkpoint_commits: u64,
    /// While it is held, old entries stay.
    history: Hold,
}

/// What a replacement of files does to the rows of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// They only lie elsewhere.
    Same,
    /// Some are deleted.
    Fewer,
}

impl std::fmt::Debug for TableLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TableLog").field("folder", &self.folder).field("version", &self.version()).finish()
    }
}

impl TableLog {
    /// Opens the table in `folder` of `store`, which must be durable on return, for the committer `app_id`.
    /// `None` when there is no table.
    ///
    /// # Errors
    /// [`Error::Delta`] when the log cannot be read.
    pub async fn open(store: Arc<dyn ObjectStore>, folder: &Path, app_id: &str) -> Result<Option<Self>> {
        let log_store = log_store(store, folder)?;
        if !log_store.is_delta_table_location().await? {
            return Ok(None);
        }
        let state = DeltaTableState::try_new(log_store.as_ref(), None).await?;
        let mut table = Self::new(folder, log_store, state);
        table.load_transaction(app_id).await?;
        table.attested(app_id).await?;
        Ok(Some(table))
    }

    /// Makes the table in `folder` of `store`, without files, or opens it when it is
    /// there: the process may have been killed since it made it.
    ///
    /// # Errors
    /// [`Error::Delta`] when the log cannot be written.
    pub async fn create(store: Arc<dyn ObjectStore>, folder: &Path, schema: &TableSchema) -> Result<Self> {
        let log_store = log_store(store, folder)?;
        let configuration = [
            ("delta.checkpointInterval", CHECKPOINT_COMMITS.to_string()),
            ("delta.logRetentionDuration", LOG_RETENTION.to_owned()),
            // Every column has statistics, so every column may be skipped by them.
            ("delta.dataSkippingNumIndexedCols", "-1".to_owned()),
            (PARTITION, schema.partition.as_str().to_owned()),
            (SCHEMA_VERSION, schema.version.to_string()),
            (DATABASE, schema.database.to_string()),
            (TABLE, schema.name.to_string()),
        ];
        let table = CreateBuilder::new()
            .with_log_store(Arc::clone(&log_store))
            .with_table_name(format!("{}.{}", schema.database, schema.name))
            .with_columns(delta_schema(schema)?.fields().cloned())
            .with_partition_columns([DATE_COLUMN])
            .with_raise_if_key_not_exists(false)
            .with_configuration(configuration.map(|(key, value)| (key, Some(value))))
            .with_save_mode(SaveMode::Ignore)
            .await?;
        let state = table.snapshot()?.clone();
        Ok(Self::new(folder, log_store, state))
    }

    fn new(folder: &Path, log_store: LogStoreRef, state: DeltaTableState) -> Self {
        let (folder, transactions) = (folder.clone(), HashMap::new());
        let (checkpoint_commits, history) = (CHECKPOINT_COMMITS, Hold::default());
        Self { folder, log_store, state, transactions, checkpoint_commits, history }
    }

    /// The version of the table that this value knows.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.state.version()
    }

    /// The version that `app_id` committed last; `None` when it never did. It answers for the name given to
    /// [`TableLog::open`] and those that have committed through this value.
    #[must_use]
    pub fn transaction_version(&self, app_id: &str) -> Option<i64> {
        self.transactions.get(app_id).copied().flatten()
    }

    /// The files of the table, newest first.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a file lacks what Busbar writes, for instance because another engine added it.
    pub fn files(&self) -> Result<Vec<DataFile>> {
        let log = self.state.snapshot().try_log_data()?;
        log.iter()
            .map(|file| {
                #[expect(deprecated, reason = "nothing else gives the tags without DataFusion")]
                let add = file.add_action();
                action::to_file(&self.folder, add)
            })
            .collect()
    }

    /// The paths of files that were removed from the table at or after `since_ms` (Unix milliseconds).
    ///
    /// # Errors
    /// [`Error::Delta`] when the log cannot be read.
    pub async fn replaced_since(&self, since_ms: i64) -> Result<Vec<Path>> {
        let mut removed = self.state.all_tombstones(self.log_store.as_ref());
        let mut paths = Vec::new();
        while let Some(file) = removed.try_next().await? {
            if file.deletion_timestamp().is_none_or(|at| at >= since_ms) {
                let path = Path::parse(format!("{}/{}", self.folder, file.path()));
                paths.push(path.map_err(object_store::Error::from)?);
            }
        }
        Ok(paths)
    }

    /// The greatest sequence in any file of the table (SEQ-1).
    ///
    /// # Errors
    /// Those of [`TableLog::files`].
    pub fn max_sequence(&self) -> Result<Sequence> {
        let files = self.files()?;
        Ok(files.iter().map(|file| file.sequences.max).max().unwrap_or(Sequence::ZERO))
    }

    /// Adds `files`, which are in the table's folder and durable, and says that every row of the log `app_id`
    /// up to the sequence `version` is in files. Columns of `schema` that the table lacks are added in the same
    /// step. When that was committed before, nothing happens. Returns the table's version.
    ///
    /// # Errors
    /// [`Error::Delta`] when the store cannot be written or read: the commit may have happened, and may be
    /// tried again. [`Error::Internal`] when a file does not lie in the table's folder or a column changed its
    /// type.
    pub async fn commit(
        &mut self,
        files: &[DataFile],
        app_id: &str,
        version: i64,
        schema: Option<&TableSchema>,
    ) -> Result<u64> {
        self.load_transaction(app_id).await?;
        if self.transaction_version(app_id) >= Some(version) {
            return Ok(self.version());
        }
        let mut attempts = Attempts::default();
        while self.transaction_version(app_id) < Some(version) {
            fail::fail_point!("delta-before-commit");
            let Err(error) = self.try_commit(files, app_id, version, schema).await else { break };
            self.begin_again(&mut attempts, error, app_id).await?;
        }
        fail::fail_point!("delta-after-commit");
        self.checkpoint_if_due().await;
        Ok(self.version())
    }

    /// Puts `added`, which hold the same rows or those that are not deleted, in the place of `removed`, in one step.
    /// `false` when a file of `removed` is not in the table any more and `added` are not in it either, or another process
    /// has put a file between them (SEQ-2): it was faster.
    ///
    /// # Errors
    /// [`Error::Delta`] when the store cannot be written or read: it may have happened, and may be tried again.
    pub async fn replace(
        &mut self,
        removed: &[Arc<DataFile>],
        added: &[DataFile],
        rows: Rows,
        app_id: &str,
    ) -> Result<bool> {
        let data_change = rows == Rows::Fewer;
        let mut attempts = None;
        loop {
            let live: HashSet<Path> = self.files()?.into_iter().map(|file| file.path).collect();
            let is_done = match added {
                // One process removes files of the table: what is gone since the first try was removed by it.
                [] => attempts.is_some() && !removed.iter().any(|file| live.contains(&file.path)),
                added => added.iter().all(|file| live.contains(&file.path)),
            };
            if is_done {
                break;
            }
            if !removed.iter().all(|file| live.contains(&file.path)) || !self.are_closed(removed)? {
                return Ok(false);
            }
            let now_ms = now_ms();
            let mut actions = Vec::with_capacity(removed.len() + added.len());
            for file in removed {
                actions.push(Action::Remove(action::removal(&self.folder, file, now_ms, data_change)?));
            }
            for file in added {
                let add = action::from_file(&self.folder, file, now_ms)?;
                actions.push(Action::Add(Add { data_change, ..add }));
            }
            fail::fail_point!("delta-before-replace");
            let target_size = added.iter().map(|file| file.bytes).max().unwrap_or_default();
            let target_size = i64::try_from(target_size).unwrap_or(i64::MAX);
            let operation = match rows {
                Rows::Same => DeltaOperation::Optimize { predicate: None, target_size },
                Rows::Fewer => DeltaOperation::Delete { predicate: None },
            };
            let transaction = self.transaction_version(app_id).map(|version| (app_id, version));
            let properties = CommitProperties::default();
            let written = self.write(actions, properties, operation, transaction).await;
            let Err(error) = written else { break };
            let attempts = attempts.get_or_insert_with(Attempts::default);
            self.begin_again(attempts, error, app_id).await?;
        }
        fail::fail_point!("delta-after-replace");
        self.checkpoint_if_due().await;
        Ok(true)
    }

    async fn try_commit(
        &mut self,
        files: &[DataFile],
        app_id: &str,
        version: i64,
        schema: Option<&TableSchema>,
    ) -> Result<()> {
        let now_ms = now_ms();
        let mut actions = Vec::with_capacity(files.len() + 1);
        if let Some(metadata) = schema.map(|schema| self.grown(schema)).transpose()?.flatten() {
            actions.push(Action::Metadata(metadata));
        }
        for file in files {
            actions.push(Action::Add(action::from_file(&self.folder, file, now_ms)?));
        }
        let transaction = Transaction::new_with_last_update(app_id, version, Some(now_ms));
        let properties = CommitProperties::default().with_application_transaction(transaction);
        let operation = DeltaOperation::Write {
            mode: SaveMode::Append,
            partition_by: Some(vec![DATE_COLUMN.to_owned()]),
            predicate: None,
        };
        self.write(actions, properties, operation, Some((app_id, version))).await?;
        self.transactions.insert(app_id.to_owned(), Some(version));
        Ok(())
    }

    /// Puts the next entry of the log, once. `transaction` is this process's newest after it.
    async fn write(
        &mut self,
        actions: Vec<Action>,
        properties: CommitProperties,
        operation: DeltaOperation,
        transaction: Option<(&str, i64)>,
    ) -> Result<()> {
        // The callers retry, because only they look whether their commit is there already; and a checkpoint that
        // fails must not make a commit look failed.
        let properties = properties
            .with_metadata([self.attest(&actions, transaction)?])
            .with_max_retries(0)
            .with_create_checkpoint(false)
            .with_cleanup_expired_logs(Some(false));
        let commit = CommitBuilder::from(properties).with_actions(actions);
        let done = commit.build(Some(&self.state), Arc::clone(&self.log_store), operation).await?;
        self.state = done.snapshot();
        Ok(())
    }

    /// The metadata with the columns of `schema` that the table lacks, `None` when it lacks none.
    fn grown(&self, schema: &TableSchema) -> Result<Option<Metadata>> {
        let known = self.state.schema();
        let mut columns: Vec<_> = known.fields().cloned().collect();
        let mut is_grown = false;
        for wanted in delta_schema(schema)?.fields() {
            match known.field(wanted.name()) {
                None => {
                    columns.push(wanted.clone());
                    is_grown = true;
                }
                // Columns of before say nothing of what they are.
                Some(known) if known.data_type() == wanted.data_type() => {
                    if !is_described(known)
                        && is_described(wanted)
                        && let Some(column) = columns.iter_mut().find(|it| it.name() == wanted.name())
                    {
                        column.clone_from(wanted);
                        is_grown = true;
                    }
                }
                Some(known) => {
                    let (name, was, is) = (wanted.name(), known.data_type(), wanted.data_type());
                    return Err(Error::Internal(format!("the column {name} was {was} and is now {is}")));
                }
            }
        }
        if !is_grown {
            return Ok(None);
        }
        let grown = StructType::try_new(columns).map_err(DeltaTableError::from)?;
        let version = schema.version.to_string();
        let metadata = self.state.metadata().clone().with_schema(&grown);
        let metadata = metadata.and_then(|it| it.add_config_key(SCHEMA_VERSION.to_owned(), version));
        Ok(Some(metadata.map_err(DeltaTableError::from)?))
    }

    /// Reads the log from the beginning.
    pub(crate) async fn reload(&mut self, app_id: &str) -> Result<()> {
        self.state = DeltaTableState::try_new(self.log_store.as_ref(), None).await?;
        self.transactions.clear();
        self.load_transaction(app_id).await
    }

    async fn load_transaction(&mut self, app_id: &str) -> Result<()> {
        if !self.transactions.contains_key(app_id) {
            let version = self.state.transaction_version(self.log_store.as_ref(), app_id).await?;
            self.transactions.insert(app_id.to_owned(), version);
        }
        Ok(())
    }

    async fn checkpoint_if_due(&self) {
        if (self.version() + 1).is_multiple_of(self.checkpoint_commits) {
            self.checkpoint().await;
        }
    }

    /// Writes a checkpoint and removes log entries that are older than the retention. A failure costs only
    /// time, so it is logged and the next one tried at its turn.
    async fn checkpoint(&self) {
        let mut table = DeltaTable::new(Arc::clone(&self.log_store));
        table.state = Some(self.state.clone());
        let made = match create_checkpoint(&table, None).await {
            Ok(()) if self.history.is_held() => Ok(()),
            Ok(()) => cleanup_metadata(&table, None).await.map(|_| ()),
            Err(error) => Err(error),
        };
        if let Err(error) = made {
            tracing::warn!(%error, table = %self.folder, "no checkpoint of the table's log");
        }
    }
}

fn now_ms() -> i64 {
    i64::try_from(clock::now().unix_millis()).unwrap_or(i64::MAX)
}

/// The log store of the table in `folder` of `store`.
fn log_store(store: Arc<dyn ObjectStore>, folder: &Path) -> Result<LogStoreRef> {
    let url = Url::parse(TABLE_URL).map_err(|error| Error::Internal(error.to_string()))?;
    let table: Arc<dyn ObjectStore> = Arc::new(PrefixStore::new(store, folder.clone()));
    Ok(default_logstore(Arc::clone(&table), table, &url, &StorageConfig::default()))
}
