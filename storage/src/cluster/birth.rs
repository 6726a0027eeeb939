//! Births: what is new of a shared table is committed to its Delta metadata before its first row is taken (KEY-4).
//!
//! 1. The table's log is read. If others have changed the table since the change was validated, their columns are adopted and
//!    nothing else happens: the source validates again.
//! 2. The columns are drafted with their types and stored names, and committed. Of two nodes one wins; the loser reads what the
//!    winner has committed.
//! 3. The columns are adopted from the log, by the winner as by everybody else.
//!
//! While the store is away this fails, and with it writes that need something new; others do not come here.

use std::sync::Arc;

use object_store::path::Path;
use tokio::sync::MutexGuard;

use super::refresh;
use crate::catalog::{SchemaChange, TableDeclaration};
use crate::delta::TableLog;
use crate::engine::Shared;
use crate::error::{Error, Result};
use crate::layout;
use crate::model::{DatabaseName, TableName, TableSchema};
use crate::object::REMOTE_STORE;

/// What is drafted when nothing has changed meanwhile.
type Draft<'a> = &'a (dyn Fn() -> Result<Option<TableSchema>> + Sync);

/// Gives birth to what a change asks for, or adopts what stands in its way; either way the change is to be validated
/// again.
///
/// # Errors
/// [`Error::LimitExceeded`] when a count limit would be passed; the failure of the store.
pub(crate) async fn bear(shared: &Arc<Shared>, change: &SchemaChange) -> Result<()> {
    let draft = || shared.catalog.draft(change);
    bear_draft(shared, &change.database, &change.table, &draft).await
}

/// Gives birth to what a declaration asks for.
///
/// # Errors
/// Those of [`Catalog::declare_table`](crate::catalog::Catalog::declare_table); the failure of the store.
pub(crate) async fn declare(shared: &Arc<Shared>, wanted: &TableDeclaration) -> Result<()> {
    let draft = || shared.catalog.draft_declared(wanted).map(Some);
    bear_draft(shared, &wanted.database, &wanted.table, &draft).await
}

async fn bear_draft(
    shared: &Arc<Shared>,
    database: &DatabaseName,
    table: &TableName,
    draft: Draft<'_>,
) -> Result<()> {
    let _turn = turn(shared).await?;
    let known = match shared.catalog.table(database.as_str(), table.as_str()) {
        Some(known) => Some(known),
        None => refresh::adopt_named(shared, database, table).await?,
    };
    if let Some(known) = known
        && let Some(()) = grow(shared, &known, draft).await?
    {
        return Ok(());
    }
    make(shared, database, table, draft).await
}

/// One birth at a time. While the store does not answer one of them waits for it, and the others not for that one.
async fn turn(shared: &Shared) -> Result<MutexGuard<'_, ()>> {
    let births = &shared.cluster.births;
    if let Ok(turn) = births.try_lock() {
        return Ok(turn);
    }
    match shared.config.store.activity.fault() {
        Some(why) => Err(object_store::Error::Generic { store: REMOTE_STORE, source: why.into() }.into()),
        None => Ok(births.lock().await),
    }
}

/// Adds columns to a table; `None` when its log is not there.
async fn grow(shared: &Arc<Shared>, known: &TableSchema, draft: Draft<'_>) -> Result<Option<()>> {
    let app_id = shared.tables.app_id();
    let Some(mut table) = shared.tables.take(known).await? else { return Ok(None) };
    table.refresh(app_id).await?;
    refresh::show(shared, known, &table).await?;
    let Some(drafted) = draft()? else { return Ok(Some(())) };
    if let Err(error) = table.grow(&drafted, app_id).await {
        tracing::debug!(%error, table = %known.name, "another node has changed the table");
        table.refresh(app_id).await?;
    }
    refresh::show(shared, known, &table).await?;
    Ok(Some(()))
}

/// Makes a table, or finds that another node has.
async fn make(
    shared: &Arc<Shared>,
    database: &DatabaseName,
    table: &TableName,
    draft: Draft<'_>,
) -> Result<()> {
    let Some(mut drafted) = draft()? else { return Ok(()) };
    let folder: Path = match shared.catalog.table(database.as_str(), table.as_str()) {
        // It was made here before tables were shared, and has no rows in files yet.
        Some(known) => layout::table_folder(&known),
        None => layout::shared_folder(database.as_str(), table.as_str()),
    };
    drafted.folder = Some(folder.as_ref().into());
    let made = TableLog::create(Arc::clone(&shared.table_store), &folder, &drafted).await;
    match refresh::adopt(shared, &folder).await? {
        Some(schema) => refresh::table(shared, &schema).await,
        None => Err(made
            .err()
            .unwrap_or_else(|| Error::Internal(format!("a table that was made in {folder} is gone")))),
    }
}
