//! A table's log that other nodes commit to as well: what they have committed, and what is agreed on with them.

use std::sync::Arc;

use deltalake_core::kernel::Action;
use deltalake_core::kernel::transaction::CommitProperties;
use deltalake_core::protocol::DeltaOperation;
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;

use super::history::{LOG, version_of};
use super::{DATABASE, PARTITION, TABLE, TableLog};
use crate::catalog::FoundTable;
use crate::error::{Error, Result};
use crate::layout::described;
use crate::model::{DataFile, DatabaseName, Partition, TableName, TableSchema};

impl TableLog {
    /// Reads what others have committed since; one request lists that there is nothing.
    ///
    /// # Errors
    /// [`Error::Delta`] and [`Error::ObjectStore`] when the log cannot be read.
    pub(crate) async fn refresh(&mut self, app_id: &str) -> Result<()> {
        let store = self.log_store.object_store(None);
        let known = Path::from(format!("{LOG}/{:020}.json", self.version()));
        let newer = store.list_with_offset(Some(&Path::from(LOG)), &known).try_filter_map(|object| {
            let version = version_of(&object.location);
            std::future::ready(Ok(version.filter(|version| *version > self.version())))
        });
        if std::pin::pin!(newer).try_next().await?.is_none() {
            return Ok(());
        }
        let mut state = self.state.clone();
        if state.update(self.log_store.as_ref(), None).await.is_err() {
            // What lies between may have been removed: an erasure leaves the newest version alone.
            return self.reload(app_id).await;
        }
        self.state = state;
        self.transactions.clear();
        self.load_transaction(app_id).await
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
