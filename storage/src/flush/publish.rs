//! Publishes a staged set: files into the table's folder, then one Delta commit, then the view.

use std::collections::HashMap;
use std::sync::Arc;

use object_store::path::Path;

use super::{StagedSet, StagingArea};
use crate::delta::TableLog;
use crate::engine::Shared;
use crate::error::{Error, Result};
use crate::layout;
use crate::model::{DataFile, FilePlace, TableId, TableSchema};
use crate::object;

/// Puts and commits a set, exactly once however often it is tried: a put has the same name and bytes each
/// time, and the commit carries the set's sequence (TXN-1).
pub(super) async fn publish(
    shared: &Shared,
    tables: &mut HashMap<TableId, TableLog>,
    set: &Arc<StagedSet>,
) -> Result<()> {
    let schema = shared.catalog.table_by_id(set.table);
    let schema =
        schema.ok_or_else(|| Error::Internal(format!("table {} has files and no schema", set.table)))?;
    let folder = layout::table_folder(&schema);
    let mut files = Vec::with_capacity(set.files.len());
    for staged in &set.files {
        files.push(put(shared, &schema, staged).await?);
    }
    fail::fail_point!("published-before-commit");
    let table = match tables.entry(set.table) {
        std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
        std::collections::hash_map::Entry::Vacant(new) => {
            let store = Arc::clone(&shared.table_store);
            let opened = TableLog::open(Arc::clone(&store), &folder, &shared.app_id()).await?;
            new.insert(match opened {
                Some(table) => table,
                None => TableLog::create(store, &folder, &schema).await?,
            })
        }
    };
    let version = i64::try_from(set.sealed_at.get())
        .map_err(|_| Error::Internal("a sequence is beyond what Delta Lake can say".into()))?;
    table.commit(&files, &shared.app_id(), version, Some(&schema)).await?;
    fail::fail_point!("published-after-commit");
    shared.view.change(set.table, |view| {
        for (staged, file) in set.files.iter().zip(files) {
            if let Some(place) = view.files.iter_mut().find(|f| Arc::ptr_eq(f, staged)) {
                *place = Arc::new(file);
            }
        }
    });
    StagingArea::new(shared).remove_manifest(set)
}

async fn put(shared: &Shared, schema: &TableSchema, staged: &DataFile) -> Result<DataFile> {
    let folder = layout::table_folder(schema);
    // The epoch keeps apart what two nodes of one table stage within one range of sequences.
    let name = format!("{}-{}", shared.epoch, staged.path);
    let path = format!("{folder}/{}/{name}", layout::partition_folder(staged.date)?);
    let path = Path::parse(path).map_err(object_store::Error::from)?;
    let file = DataFile { place: FilePlace::Table, path, ..staged.clone() };
    let source = StagingArea::new(shared).path_of(staged);
    object::upload(shared.table_store.as_ref(), &file.path, &source).await?;
    fail::fail_point!("published-after-put");
    Ok(file)
}
