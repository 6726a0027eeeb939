//! Refreshing: what other nodes have committed becomes visible here.
//!
//! 1. Own deletes that the others cannot know of are put and announced.
//! 2. Tables that others have made are found by listing folders, and adopted.
//! 3. Each table's log is asked for newer entries. If it has any: its columns are adopted, new objects of deletes are read,
//!    the clock is raised, and files and deletes are shown in one change of the view.
//! 4. The node's mark is put, if a delete waits for it.
//!
//! Invariant: the table's log is taken from before it is read until the view shows it, so no commit of this node is in between.
//! Files that left the table stay readable: their objects are kept for `vacuum.min_age` at least.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::{StreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::marks;
use crate::delta::{TableLog, TakenLog};
use crate::engine::Shared;
use crate::error::{Error, Result};
use crate::last_value;
use crate::layout::{partition_folder, table_folder};
use crate::model::{DataFile, DatabaseName, Sequence, TableName, TableSchema};
use crate::tombstone::{Tombstone, stored};
use crate::{flush, layout};

/// Tables that are asked for at a time.
const TABLES_AT_ONCE: usize = 16;

/// Hears of everything once. What fails keeps nothing else from it, and is the error.
pub(crate) async fn run(shared: &Arc<Shared>) -> Result<()> {
    let told = stored::put_all(shared).await;
    let found = find(shared).await;
    let tables =
        shared.catalog.all_tables().into_iter().map(|schema| async move { table(shared, &schema).await });
    let refreshed: Vec<Result<()>> = stream::iter(tables).buffer_unordered(TABLES_AT_ONCE).collect().await;
    let refreshed = refreshed.into_iter().collect::<Result<()>>();
    told.and(found).and(refreshed).and(marks::put_due(shared).await)
}

/// Shows what others have committed to a table.
pub(crate) async fn table(shared: &Arc<Shared>, schema: &TableSchema) -> Result<()> {
    let Some(mut table) = shared.tables.take(schema).await? else { return Ok(()) };
    table.refresh(shared.tables.app_id()).await?;
    show(shared, schema, &table).await
}

/// Shows a table as its log, which is taken, has it.
pub(crate) async fn show(shared: &Arc<Shared>, schema: &TableSchema, table: &TakenLog) -> Result<()> {
    let version = table.version();
    if shared.cluster.shown.lock().get(&schema.id) == Some(&version) {
        return Ok(());
    }
    if let Some(found) = table.found() {
        shared.catalog.adopt(&found)?;
    }
    let schema = shared.schema(schema.id)?;
    let files = table.files()?;
    let deletes = deletes(shared, &schema).await?;
    let of_files = files.iter().map(|file| file.sequences.max.max(file.deleted_up_to));
    let seen = of_files.chain(deletes.sequences()).max().unwrap_or_default();
    shared.cluster.raise(seen);
    warn_of_straddled(&schema, &files, &deletes.heard);
    let of_table: HashSet<Path> = files.iter().map(|file| file.path.clone()).collect();
    let is_published = |staged: &DataFile| {
        let path = partition_folder(staged.date).map(|partition| {
            format!("{}/{partition}/{}", table_folder(&schema), flush::name_in_table(shared, staged))
        });
        path.is_ok_and(|path| of_table.contains(&Path::from(path)))
    };
    let gone = shared.view.refresh(schema.id, files, is_published, &deletes);
    shared.view.note_gone(&gone);
    // After the view has them: what is folded from now on lacks what they hide. While someone folds, it is tried again.
    if !last_value::forget_heard(shared, &schema, &deletes.heard)? {
        return Ok(());
    }
    shared.cluster.heard.lock().insert(schema.id, deletes.objects);
    shared.cluster.shown.lock().insert(schema.id, version);
    shared.compact_wanted.notify_one();
    Ok(())
}

/// The deletes of a table of which there are objects.
#[derive(Debug, Default)]
pub(crate) struct Deletes {
    /// All of them.
    pub(crate) objects: HashMap<Path, Arc<Tombstone>>,
    /// Those of other nodes of which this one has not heard, oldest first.
    pub(crate) heard: Vec<Arc<Tombstone>>,
}

impl Deletes {
    fn sequences(&self) -> impl Iterator<Item = Sequence> {
        self.objects.values().map(|delete| delete.sequence)
    }
}

async fn deletes(shared: &Shared, schema: &TableSchema) -> Result<Deletes> {
    let mut known = shared.cluster.heard.lock().get(&schema.id).cloned().unwrap_or_default();
    let mut deletes = Deletes::default();
    let own = shared.epoch.to_string();
    for object in stored::list(shared, schema).await? {
        let path = object.location;
        if let Some(delete) = known.remove(&path) {
            deletes.objects.insert(path, delete);
            continue;
        }
        if stored::sequence_of(&path).is_none() {
            continue;
        }
        let found = match shared.table_store.get(&path).await {
            Ok(found) => found.bytes().await?,
            // No node needs it any more.
            Err(object_store::Error::NotFound { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        let delete = Arc::new(stored::parse(&path, &found)?);
        // Where a delete of its own stands between the rows of a node, its log says.
        if !path.as_ref().contains(&own) {
            deletes.heard.push(Arc::clone(&delete));
        }
        deletes.objects.insert(path, delete);
    }
    deletes.heard.sort_by_key(|delete| delete.sequence);
    Ok(deletes)
}

/// A file stands as a whole before or after a delete. What its node had sealed before it heard of the delete, and has rows
/// of both sides, stands after it.
fn warn_of_straddled(schema: &TableSchema, files: &[DataFile], heard: &[Arc<Tombstone>]) {
    for delete in heard {
        let is_straddled = |file: &&DataFile| {
            file.sequences.min < delete.sequence
                && delete.sequence <= file.sequences.max
                && file.deleted_up_to < delete.sequence
                && file.times.overlaps(&delete.times)
        };
        let straddled = files.iter().filter(is_straddled).count();
        if straddled > 0 {
            tracing::warn!(
                database = %schema.database,
                table = %schema.name,
                files = straddled,
                "a delete reached the store after another node had flushed rows of before and after it: send the delete again"
            );
        }
    }
}

/// Adopts tables that other nodes have made.
async fn find(shared: &Arc<Shared>) -> Result<()> {
    let known: HashSet<Path> =
        shared.catalog.all_tables().iter().map(|schema| table_folder(schema)).collect();
    let databases = shared.table_store.list_with_delimiter(None).await?.common_prefixes;
    for database in databases {
        for folder in shared.table_store.list_with_delimiter(Some(&database)).await?.common_prefixes {
            if folder.as_ref() == marks::FOLDER
                || known.contains(&folder)
                || shared.cluster.passed_over.lock().contains(&folder)
            {
                continue;
            }
            match adopt(shared, &folder).await {
                // A table that is being made has no log yet.
                Ok(None) => {}
                Ok(Some(schema)) => table(shared, &schema).await?,
                Err(error @ (Error::Conflict(_) | Error::LimitExceeded(_))) => {
                    tracing::warn!(%error, "a table of another node is not shown");
                    shared.cluster.passed_over.lock().insert(folder);
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Adopts the table in a folder; `None` when there is none.
pub(super) async fn adopt(shared: &Shared, folder: &Path) -> Result<Option<Arc<TableSchema>>> {
    let store = Arc::clone(&shared.table_store);
    let Some(table) = TableLog::open(store, folder, shared.tables.app_id()).await? else { return Ok(None) };
    let Some(found) = table.found() else {
        shared.cluster.passed_over.lock().insert(folder.clone());
        return Ok(None);
    };
    shared.catalog.adopt(&found).map(Some)
}

/// Adopts the table of this name, if the store has one.
pub(super) async fn adopt_named(
    shared: &Shared,
    database: &DatabaseName,
    table: &TableName,
) -> Result<Option<Arc<TableSchema>>> {
    let shared_folder = layout::shared_folder(database.as_str(), table.as_str());
    if let Some(schema) = adopt(shared, &shared_folder).await? {
        return Ok(Some(schema));
    }
    // It may have been made before tables were shared, and lie where its first node has put it.
    let Some((folder, of_table)) =
        shared_folder.as_ref().rsplit_once('.').and_then(|(path, _)| path.split_once('/'))
    else {
        return Ok(None);
    };
    let listed = shared.table_store.list_with_delimiter(Some(&Path::from(folder))).await?;
    for folder in listed.common_prefixes {
        let is_named_so = folder
            .filename()
            .and_then(|name| name.rsplit_once('.'))
            .is_some_and(|(name, _)| name == of_table);
        if !is_named_so || shared.cluster.passed_over.lock().contains(&folder) {
            continue;
        }
        if let Some(schema) = adopt(shared, &folder).await?
            && schema.name == *table
        {
            return Ok(Some(schema));
        }
    }
    Ok(None)
}

/// The greatest sequence that this node has given or seen.
pub(super) fn greatest(shared: &Shared) -> Sequence {
    shared.view.snapshot().sequence().max(shared.cluster.floor())
}
