//! Vacuum: removes objects of tables that nothing can want any more.
//!
//! 1. The objects in the folder of a table that are old enough are listed.
//! 2. Then, with the table's log taken: kept is what the table has now, what it had within the time that old
//!    versions are kept, and what a staged file on its way to the table is called.
//! 3. Of the rest each is looked at once more, and removed if it is still as old.
//!
//! Where nodes share a table one of them does this, and asks before each removal whether it still may. What left a table lately
//! stays for `min_age` at least: another node may be reading it.
//!
//! Invariant (TXN-3): an object without a reference that is younger than [`VacuumConfig::min_age`] stays: a flush puts
//! its files again at each try, and commits at once after.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};

use crate::clock;
use crate::cluster::{self, Lease};
use crate::engine::Shared;
use crate::error::Result;
use crate::flush;
use crate::layout::{DATE_COLUMN, table_folder};
use crate::model::{FilePlace, TableSchema};
use crate::tombstone::swept;

/// What is kept.
#[derive(Debug, Clone)]
pub struct VacuumConfig {
    /// An object without a reference stays for so long: it may be on its way into the table.
    pub min_age: Duration,
    /// A file that a compaction has replaced stays for so long, for readers of older versions of the table and for
    /// going back in time.
    pub keep_replaced: Duration,
}

impl Default for VacuumConfig {
    fn default() -> Self {
        Self { min_age: Duration::from_secs(3_600), keep_replaced: Duration::from_secs(86_400) }
    }
}

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Vacuumed {
    /// Number of objects.
    pub objects: usize,
    /// Their size.
    pub bytes: u64,
}

/// Removes what nothing can want from the folders of all tables.
pub(crate) async fn run(shared: &Arc<Shared>) -> Result<Vacuumed> {
    let mut removed = Vacuumed::default();
    let Some(_right) = shared.holds.try_remove() else {
        tracing::debug!("nothing is removed while a backup copies");
        return Ok(removed);
    };
    for schema in shared.catalog.all_tables() {
        let Some(lease) = cluster::take_turn(shared, schema.id).await? else { continue };
        let done = of_table(shared, &schema, &lease, &mut removed).await;
        lease.release().await;
        done?;
    }
    Ok(removed)
}

/// Removes what nothing can want from the folder of a table, as long as the lease holds.
pub(crate) async fn of_table(
    shared: &Shared,
    schema: &TableSchema,
    lease: &Lease,
    removed: &mut Vacuumed,
) -> Result<()> {
    for object in unreferenced(shared, schema).await? {
        if is_still(shared, &object).await? && lease.is_held() {
            shared.table_store.delete(&object.location).await?;
            tracing::debug!(path = %object.location, "an object that no table wants is removed");
            removed.objects += 1;
            removed.bytes += object.size;
        }
    }
    if shared.cluster.is_shared()
        && let Some(table) = shared.tables.take(schema).await?
    {
        for bytes in swept::sweep(shared, schema, &table, lease).await? {
            removed.objects += 1;
            removed.bytes += bytes;
        }
    }
    Ok(())
}

/// The objects of a table that are old enough and wanted by nothing.
async fn unreferenced(shared: &Shared, schema: &TableSchema) -> Result<Vec<ObjectMeta>> {
    let config = &shared.config.vacuum;
    let folder = table_folder(schema);
    let now_ms = i64::try_from(clock::now().unix_millis()).unwrap_or(i64::MAX);
    let before = |age: Duration| now_ms.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
    let old = |object: &ObjectMeta| object.last_modified.timestamp_millis() <= before(config.min_age);
    let of_partitions = |object: &ObjectMeta| {
        let mut parts = object.location.prefix_match(&folder).into_iter().flatten();
        parts.next().is_some_and(|part| part.as_ref().starts_with(DATE_COLUMN))
    };
    let mut listed: Vec<ObjectMeta> = shared.table_store.list(Some(&folder)).try_collect().await?;
    listed.retain(|object| old(object) && of_partitions(object));
    if listed.is_empty() {
        return Ok(listed);
    }
    let Some(mut table) = shared.tables.take(schema).await? else { return Ok(Vec::new()) };
    let mut keep_replaced = config.keep_replaced;
    if shared.cluster.is_shared() {
        // Others commit what was put before it was listed.
        table.refresh(shared.tables.app_id()).await?;
        keep_replaced = keep_replaced.max(config.min_age);
    }
    let mut wanted: HashSet<Path> = table.files()?.into_iter().map(|file| file.path).collect();
    wanted.extend(table.replaced_since(before(keep_replaced)).await?);
    let snapshot = shared.view.snapshot();
    let files = snapshot.table(schema.id).map(|view| view.files.as_slice()).unwrap_or_default();
    // A merge whose commit was answered by silence is in the table, and its inputs are what queries still read.
    wanted.extend(files.iter().filter(|file| file.place == FilePlace::Table).map(|file| file.path.clone()));
    let staged = files.iter().filter(|file| file.place == FilePlace::Staged);
    let staged: HashSet<String> = staged.map(|file| flush::name_in_table(shared, file)).collect();
    let is_staged =
        |object: &ObjectMeta| object.location.filename().is_some_and(|name| staged.contains(name));
    listed.retain(|object| !wanted.contains(&object.location) && !is_staged(object));
    Ok(listed)
}

/// Whether nobody has put the object again since it was listed.
async fn is_still(shared: &Shared, object: &ObjectMeta) -> Result<bool> {
    match shared.table_store.head(&object.location).await {
        Ok(now) => Ok(now.last_modified == object.last_modified),
        Err(object_store::Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
