//! A table's log that other nodes commit to as well: what they have committed, and what is agreed on with them.

use std::future::ready;
use std::sync::Arc;

use deltalake_core::kernel::transaction::CommitProperties;
use deltalake_core::kernel::{Action, Transaction};
use deltalake_core::protocol::DeltaOperation;
use futures::{StreamExt, TryStreamExt, stream};
use hashbrown::HashMap;
use object_store::ObjectStore;
use object_store::path::Path;
use serde::Deserialize;

use super::history::{LOG, version_of};
use super::{DATABASE, PARTITION, TABLE, TableLog};
use crate::catalog::FoundTable;
use crate::error::{Error, Result};
use crate::layout::described;
use crate::model::{DataFile, DatabaseName, Partition, TableName, TableSchema};

/// Entries of the log that are read at a time.
const ENTRIES_AT_ONCE: usize = 16;

/// A line of an entry, of which only the transaction matters here.
#[derive(Debug, Deserialize)]
struct Line {
    txn: Option<Transaction>,
}

impl TableLog {
    /// Reads what was committed since; one request lists that there is nothing, and otherwise no older entry is read.
    ///
    /// # Errors
    /// [`Error::Delta`] and [`Error::ObjectStore`] when the log cannot be read.
    pub(crate) async fn refresh(&mut self, app_id: &str) -> Result<()> {
        let known = self.version();
        let store = self.log_store.object_store(None);
        let offset = Path::from(format!("{LOG}/{known:020}.json"));
        let listed = store.list_with_offset(Some(&Path::from(LOG)), &offset);
        let versions = listed.map_ok(|object| version_of(&object.location).unwrap_or_default());
        let newest = versions.try_fold(known, |newest, version| ready(Ok(newest.max(version)))).await?;
        if newest == known {
            return Ok(());
        }
        let mut state = self.state.clone();
        let updated = state.update(self.log_store.as_ref(), Some(newest));
        let (updated, transactions) = tokio::join!(updated, self.transactions_after(known, newest));
        if updated.is_err() {
            // What lies between may have been removed: an erasure leaves the newest version alone.
            return self.reload(app_id).await;
        }
        match transactions? {
            Some(transactions) => self.transactions.extend(transactions),
            None => self.transactions.clear(),
        }
        self.state = state;
        self.load_transaction(app_id).await
    }

    /// The transactions in the entries after `known` up to `newest`; `None` when there are so many that a checkpoint says
    /// more, or one is gone.
    async fn transactions_after(
        &self,
        known: u64,
        newest: u64,
    ) -> Result<Option<HashMap<String, Option<i64>>>> {
        if newest - known > self.checkpoint_commits {
            return Ok(None);
        }
        let entries = (known + 1..=newest).map(|version| self.log_store.read_commit_entry(version));
        let mut entries = stream::iter(entries).buffered(ENTRIES_AT_ONCE);
        let mut transactions = HashMap::new();
        while let Some(entry) = entries.try_next().await? {
            let Some(entry) = entry else { return Ok(None) };
            for line in serde_json::Deserializer::from_slice(&entry).into_iter::<Line>() {
                let line = line.map_err(|error| {
                    Error::Damaged(format!("the log of table {} is damaged: {error}", self.folder))
                })?;
                if let Some(transaction) = line.txn {
                    transactions.insert(transaction.app_id, Some(transaction.version));
                }
            }
        }
        Ok(Some(transactions))
    }

    /// Adds the columns of `schema` that the table lacks, and nothing else (KEY-4).
    ///
    /// # Errors
    /// [`Error::Delta`] when the store cannot be written, or another has committed meanwhile: it may have happened.
    pub(crate) async fn grow(&mut self, schema: &TableSchema, app_id: &str) -> Result<()> {
        let Some(metadata) = self.grown(schema)? else { return Ok(()) };
        fail::fail_point!("delta-before-growth");
        let operation = DeltaOperation::AddColumn { fields: Vec::new() };
        let transaction = self.transaction_version(app_id).map(|version| (app_id, version));
        let actions = vec![Action::Metadata(metadata)];
        self.write(actions, CommitProperties::default(), operation, transaction).await?;
        self.checkpoint_if_due().await;
        Ok(())
    }

    /// The table as the log says it is; `None` when it does not say what it is called.
    pub(crate) fn found(&self) -> Option<FoundTable> {
        let metadata = self.state.metadata();
        let said = |key: &str| metadata.configuration().get(key).map(String::as_str);
        // Tables of before say it only in their name.
        let (database, table) = said(DATABASE).zip(said(TABLE)).or_else(|| {
            let (database, table) = metadata.name()?.split_once('.')?;
            (!table.contains('.')).then_some((database, table))
        })?;
        let by_month = said(PARTITION) == Some(Partition::Month.as_str());
        Some(FoundTable {
            database: DatabaseName::new(database).ok()?,
            table: TableName::new(table).ok()?,
            folder: self.folder.as_ref().into(),
            partition: if by_month { Partition::Month } else { Partition::Day },
            columns: described(&self.state.schema()),
        })
    }

    /// Whether no file of the table stands between `files` in the order of their sequences (SEQ-2). Files of other nodes
    /// may have come since they were chosen.
    pub(super) fn are_closed(&self, files: &[Arc<DataFile>]) -> Result<bool> {
        let ends = || files.iter().map(|file| file.sequences.max);
        let Some((lowest, highest)) = ends().min().zip(ends().max()) else { return Ok(true) };
        let is_between = |other: &DataFile| {
            (lowest..=highest).contains(&other.sequences.max)
                && files.iter().any(|file| file.date == other.date)
                && !files.iter().any(|file| file.path == other.path)
        };
        Ok(!self.files()?.iter().any(is_between))
    }
}

/// Whether a table could not be reached, rather than be at odds with what was asked of it.
pub(crate) fn is_unanswered(error: &Error) -> bool {
    matches!(error, Error::ObjectStore(_) | Error::Delta(_))
}
