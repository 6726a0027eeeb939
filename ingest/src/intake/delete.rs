//! Deletes on their way to the log: the same way as rows, so that what was acknowledged before is hidden and what comes
//! after is not (DEL-1).

use storage::limits;
use storage::log::encode_batch;
use storage::model::{DatabaseName, Delete, TableId, TagTest, TimeRange, WriteBatch};
use storage::quarantine::Erasure;

use super::{Intake, RETRY_AFTER, WriteError};

/// Rows of a database that are to be deleted.
#[derive(Debug, Clone)]
pub struct DeleteRequest {
    /// The database.
    pub database: DatabaseName,
    /// The table; without one all tables of the database.
    pub table: Option<String>,
    /// The times of the rows.
    pub times: TimeRange,
    /// What their tags must be; all of it must hold.
    pub tags: Vec<TagTest>,
}

/// What a delete has done: the rows are deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Why lines of such rows are in the quarantine still. They go before any line of it is stored, unless the process
    /// ends before.
    pub lines_left: Option<String>,
}

impl Intake {
    /// Deletes rows. On return the delete is durable, the rows are hidden from every query, and lines of such rows have left
    /// the quarantine, if it [does not say otherwise](Deleted). What has no such rows is left as it is; so a table that does
    /// not exist is no error.
    ///
    /// # Errors
    /// Why nothing was deleted, neither rows nor lines.
    pub async fn delete(&self, request: DeleteRequest) -> Result<Deleted, WriteError> {
        let DeleteRequest { database, table, times, tags } = request;
        let catalog = self.engine.catalog();
        if !catalog.has_database(database.as_str()) {
            return Err(WriteError::DatabaseNotFound(database.to_string()));
        }
        if tags.len() > limits::TESTS_PER_DELETE {
            let limit = limits::TESTS_PER_DELETE;
            return Err(storage::Error::LimitExceeded(format!("a delete may test {limit} tags")).into());
        }
        let schemas = || match &table {
            Some(table) => catalog.table(database.as_str(), table).into_iter().collect(),
            None => catalog.tables(database.as_str()),
        };
        // Rows without a tag have the empty value, so a field would be taken for a tag that nothing has.
        for schema in schemas() {
            if let Some(test) = tags.iter().find(|test| schema.field(&test.tag).is_some()) {
                let (field, table) = (&test.tag, &schema.name);
                let why = format!("{field:?} is a field of {table}: a delete tests tags only");
                return Err(storage::Error::Invalid(why).into());
            }
        }
        // Until the lines of these rows are gone none is stored again; what was before is deleted with the rest, also in a
        // table that it made.
        let turn = match self.quarantine() {
            Some(quarantine) => Some((quarantine, quarantine.between_replays().await)),
            None => None,
        };
        let snapshot = self.engine.snapshot();
        let mut tables: Vec<TableId> = Vec::new();
        for schema in schemas() {
            let Some(view) = snapshot.table(schema.id) else { continue };
            if view.tombstones.len() >= limits::DELETES_PER_TABLE {
                return Err(WriteError::Busy { retry_after: RETRY_AFTER });
            }
            tables.push(schema.id);
        }
        drop(snapshot);
        if !tables.is_empty() {
            let delete = Delete { tables, times, tags: tags.clone() };
            self.commit(encode_batch(WriteBatch::of_deletes(vec![delete]))?).await?;
        }
        let mut deleted = Deleted::default();
        if let Some((quarantine, turn)) = turn {
            // What was refused meanwhile came before the delete was answered.
            let (database, table) = (database.as_str().into(), table.map(Into::into));
            let erased = quarantine.erase(&turn, Erasure { database, table, tags, times }).await;
            deleted.lines_left = erased.err().map(|error| error.to_string());
        }
        if let Some(error) = &deleted.lines_left {
            tracing::error!(
                error,
                "lines of deleted rows could not be erased from the quarantine; it is tried again"
            );
        }
        Ok(deleted)
    }
}
