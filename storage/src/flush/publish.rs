//! Publishes a staged set: files into the table's folder, then one Delta commit, then the view.

use std::sync::Arc;

use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};

use super::{StagedSet, StagingArea};
use crate::engine::Shared;
use crate::error::{Error, Result};
use crate::layout;
use crate::model::{DataFile, FilePlace, TableSchema};

/// Puts and commits a set, exactly once however often it is tried: a put has the same name and bytes each
/// time, and the commit carries the set's sequence (TXN-1).
pub(super) async fn publish(shared: &Shared, set: &Arc<StagedSet>) -> Result<()> {
    let schema = shared.schema(set.table)?;
    let mut files = Vec::with_capacity(set.files.len());
    for staged in &set.files {
        files.push(put(shared, &schema, staged).await?);
    }
    fail::fail_point!("published-before-commit");
    let version = i64::try_from(set.sealed_at.get())
        .map_err(|_| Error::Internal("a sequence is beyond what Delta Lake can say".into()))?;
    let mut table = shared.tables.take_or_create(&schema).await?;
    table.commit(&files, shared.tables.app_id(), version, Some(&schema)).await?;
    fail::fail_point!("published-after-commit");
    shared.view.change(set.table, |view| {
        for (staged, file) in set.files.iter().zip(files) {
            if let Some(place) = view.files.iter_mut().find(|f| Arc::ptr_eq(f, staged)) {
                *place = Arc::new(file);
            }
        }
    });
    drop(table);
    StagingArea::new(shared).remove_manifest(set)
}

/// Copies a staged file into its table's folder.
pub(crate) async fn put(shared: &Shared, schema: &TableSchema, staged: &DataFile) -> Result<DataFile> {
    let folder = layout::table_folder(schema);
    let path = format!("{folder}/{}/{}", layout::partition_folder(staged.date)?, staged.path);
    let path = Path::parse(path).map_err(object_store::Error::from)?;
    let bytes = shared.staged_store.get(&staged.path).await?.bytes().await?;
    let file = DataFile { place: FilePlace::Table, path, ..staged.clone() };
    shared.table_store.put(&file.path, PutPayload::from_bytes(bytes)).await?;
    fail::fail_point!("published-after-put");
    Ok(file)
}
