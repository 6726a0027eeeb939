//! Publishes a staged set: files into the table's folder, then one Delta commit, then the view.

use std::collections::HashMap;
use std::sync::Arc;

use object_store::path::Path;

use super::{StagedSet, StagingArea};
use crate::cluster::refresh;
use crate::engine::Shared;
use crate::error::{Error, Result};
use crate::layout;
use crate::model::{DataFile, FilePlace, TableSchema};
use crate::object;

/// Puts and commits a set, exactly once however often it is tried: a put has the same name and bytes each
/// time, and the commit carries the set's sequence (TXN-1).
pub(super) async fn publish(shared: &Arc<Shared>, set: &Arc<StagedSet>) -> Result<()> {
    let schema = shared.schema(set.table)?;
    let mut files = Vec::with_capacity(set.files.len());
    for staged in &set.files {
        files.push(put(shared, &schema, staged, &name_in_table(shared, staged)).await?);
    }
    fail::fail_point!("published-before-commit");
    let version = i64::try_from(set.sealed_at.get())
        .map_err(|_| Error::Internal("a sequence is beyond what Delta Lake can say".into()))?;
    let mut table = shared.tables.take_or_create(&schema).await?;
    table.commit(&files, shared.tables.app_id(), version, Some(&schema)).await?;
    fail::fail_point!("published-after-commit");
    // There may be thousands of both.
    shared.view.change(set.table, |view| {
        let mut published: HashMap<_, _> = set.files.iter().map(Arc::as_ptr).zip(files).collect();
        for place in &mut view.files {
            if let Some(file) = published.remove(&Arc::as_ptr(place)) {
                *place = Arc::new(file);
            }
        }
    });
    if shared.cluster.is_shared() {
        // Others may have committed before. The set is in its table whatever becomes of this.
        if let Err(error) = refresh::show(shared, &schema, &table).await {
            tracing::debug!(%error, table = %schema.name, "what others have committed is shown later");
            shared.cluster.want_refresh();
        }
    }
    drop(table);
    StagingArea::new(shared).remove_manifest(set)
}

/// Puts a staged file into its table's folder, under a name: a copy, but for a table on the same disk.
pub(crate) async fn put(
    shared: &Shared,
    schema: &TableSchema,
    staged: &DataFile,
    name: &str,
) -> Result<DataFile> {
    let folder = layout::table_folder(schema);
    let path = format!("{folder}/{}/{name}", layout::partition_folder(staged.date)?);
    let path = Path::parse(path).map_err(object_store::Error::from)?;
    let file = DataFile { place: FilePlace::Table, path, ..staged.clone() };
    let is_linked = match &shared.local_tables {
        Some(tables) => {
            tables.adopt(StagingArea::new(shared).path_of(staged.path.as_ref()), &file.path).await?
        }
        None => false,
    };
    if !is_linked {
        let (from, to) = (&*shared.staged_store, &*shared.table_store);
        object::transfer(from, &staged.path, staged.bytes, to, &file.path).await?;
    }
    fail::fail_point!("published-after-put");
    Ok(file)
}

/// The name of a staged file in its table. The log's epoch keeps apart what two nodes of one table stage within one
/// range of sequences.
pub(crate) fn name_in_table(shared: &Shared, staged: &DataFile) -> String {
    format!("{}-{}", shared.epoch, staged.path)
}
