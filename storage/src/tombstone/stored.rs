//! Tombstones as objects in the folders of their tables: `{table}/_busbar/deletes/{sequence:016x}.json`, where nodes share the
//! table `{sequence:016x}-{epoch}.json`, announced by a commit of the table's log that holds nothing else.
//!
//! Readers of Delta Lake pass over what begins with `_`, and so does the vacuum. An object is written before the log is
//! trimmed, read at open, and removed once nothing needs it. What a crash leaves of it is harmless: a tombstone that is
//! read again hides nothing that is still wanted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use serde::{Deserialize, Serialize};

use super::{Tombstone, Tombstones, last_of};
use crate::engine::Shared;
use crate::error::{Error, Result};
use crate::flush::signed;
use crate::last_value;
use crate::layout;
use crate::model::{Sequence, TableSchema, TagTest, TimeRange, Timestamp};

/// The folder of tombstones in that of their table.
pub(crate) const FOLDER: &str = "_busbar/deletes";

#[derive(Debug, Serialize, Deserialize)]
struct Object {
    sequence: u64,
    min_time: i64,
    max_time: i64,
    tags: Vec<TagTest>,
}

/// Writes every tombstone of the view that is in the log only: afterwards its record may be trimmed (DEL-1).
pub(crate) async fn put_all(shared: &Shared) -> Result<()> {
    let snapshot = shared.view.snapshot();
    for (id, view) in snapshot.tables().filter(|(_, view)| !view.tombstones.is_empty()) {
        let schema = shared.schema(id)?;
        for tombstone in view.tombstones.iter().filter(|tombstone| !tombstone.is_stored()) {
            put(shared, &schema, tombstone).await?;
        }
    }
    Ok(())
}

async fn put(shared: &Shared, schema: &TableSchema, tombstone: &Tombstone) -> Result<()> {
    let object = Object {
        sequence: tombstone.sequence.get(),
        min_time: tombstone.times.min.nanos(),
        max_time: tombstone.times.max.nanos(),
        tags: tombstone.tags.clone(),
    };
    let bytes = serde_json::to_vec(&object).map_err(|error| Error::Internal(error.to_string()))?;
    shared.table_store.put(&path(shared, schema, tombstone.sequence), signed::sign(bytes).into()).await?;
    announce(shared, schema, tombstone.sequence).await?;
    tombstone.is_stored.store(true, Ordering::Release);
    fail::fail_point!("tombstone-after-put");
    if !shared.cluster.is_shared() && !shared.view.has_tombstone(schema.id, tombstone.sequence) {
        // Meanwhile a compaction has applied it to the last file, and found no object to remove.
        remove(shared, schema, tombstone).await;
    }
    Ok(())
}

/// Makes the table's log say that there is a delete, so that other nodes look for it.
async fn announce(shared: &Shared, schema: &TableSchema, delete: Sequence) -> Result<()> {
    if !shared.cluster.is_shared() {
        return Ok(());
    }
    let Some(mut table) = shared.tables.take(schema).await? else { return Ok(()) };
    let app_id = format!("busbar-deletes-{}", shared.epoch);
    let version = i64::try_from(delete.get())
        .map_err(|_| Error::Internal("a sequence is beyond what Delta Lake can say".into()))?;
    table.commit(&[], &app_id, version, None).await?;
    Ok(())
}

/// The tombstones in a table's folder, oldest first.
pub(crate) async fn read_all(shared: &Shared, schema: &TableSchema) -> Result<Tombstones> {
    let mut tombstones = Tombstones::new();
    for object in
        list(shared, schema).await?.iter().filter(|object| object.location.extension() == Some("json"))
    {
        let bytes = shared.table_store.get(&object.location).await?.bytes().await?;
        let tombstone = parse(&object.location, &bytes)?;
        // The log may be read up to rows of before it, and then seals them there.
        let heard_at = if shared.cluster.is_shared() { tombstone.sequence } else { Sequence::ZERO };
        tombstones.push(Arc::new(tombstone.heard_at(heard_at)));
    }
    tombstones.sort_by_key(|tombstone| tombstone.sequence);
    Ok(tombstones)
}

/// What lies in the folder of a table's tombstones.
pub(crate) async fn list(shared: &Shared, schema: &TableSchema) -> Result<Vec<ObjectMeta>> {
    let folder = Path::from(format!("{}/{FOLDER}", layout::table_folder(schema)));
    Ok(shared.table_store.list(Some(&folder)).try_collect().await?)
}

/// The delete that an object is called after.
pub(crate) fn sequence_of(path: &Path) -> Option<Sequence> {
    let name = path.filename()?.strip_suffix(".json")?;
    let sequence = name.split_once('-').map_or(name, |(sequence, _)| sequence);
    u64::from_str_radix(sequence, 16).ok().map(Sequence::new)
}

/// The tombstone in an object.
///
/// # Errors
/// [`Error::Damaged`] when it is not what was written.
pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Tombstone> {
    let damaged = |what: &str| {
        Error::Damaged(format!(
            "the delete in {path} {what}; restore the object from a backup, or remove it to bring back the rows that it hides"
        ))
    };
    let content = signed::verified(bytes).ok_or_else(|| damaged("is not what was written"))?;
    let object: Object =
        serde_json::from_slice(content).map_err(|error| damaged(&format!("cannot be read: {error}")))?;
    let times =
        TimeRange::new(Timestamp::from_nanos(object.min_time), Timestamp::from_nanos(object.max_time));
    let is_stored = AtomicBool::new(true);
    let sequence = Sequence::new(object.sequence);
    let (heard_at, is_for_others) = (Sequence::ZERO, false);
    Ok(Tombstone { sequence, times, tags: object.tags, heard_at, is_for_others, is_stored })
}

/// Forgets the tombstones that nothing needs any more, of all tables.
///
/// An object that cannot be removed is read again at the next start, hides nothing, and is removed then.
pub(crate) async fn drop_settled(shared: &Arc<Shared>) {
    let snapshot = shared.view.snapshot();
    let tables = snapshot.tables().map(|(id, view)| {
        let settled: Tombstones = view.settled_tombstones().cloned().collect();
        // Last values know deletes by the last one: what they are to know of it, they must know of those before.
        let up_to = last_of(&settled);
        let known: Tombstones =
            view.tombstones.iter().filter(|known| known.sequence <= up_to).cloned().collect();
        (id, settled, known)
    });
    let tables: Vec<_> = tables.filter(|(_, settled, _)| !settled.is_empty()).collect();
    drop(snapshot);
    for (id, settled, known) in tables {
        let Ok(schema) = shared.schema(id) else { continue };
        match last_value::settle(shared, &schema, known).await {
            Ok(true) => {}
            Ok(false) => continue,
            Err(error) => {
                tracing::warn!(%error, "last values that a delete has hit are still saved; it is tried again");
                continue;
            }
        }
        let settled = shared.view.take_settled(id, &settled);
        // Others may still need it: it is swept when no node does.
        let may_go = !shared.cluster.is_shared();
        for tombstone in settled.iter().filter(|tombstone| may_go && tombstone.is_stored()) {
            remove(shared, &schema, tombstone).await;
        }
    }
}

async fn remove(shared: &Shared, schema: &TableSchema, tombstone: &Tombstone) {
    if let Err(error) = shared.table_store.delete(&path(shared, schema, tombstone.sequence)).await {
        tracing::warn!(%error, "the object of a delete that is applied everywhere could not be removed");
    }
}

/// Two nodes may give one sequence.
fn path(shared: &Shared, schema: &TableSchema, sequence: Sequence) -> Path {
    let node = if shared.cluster.is_shared() { format!("-{}", shared.epoch) } else { String::new() };
    Path::from(format!("{}/{FOLDER}/{:016x}{node}.json", layout::table_folder(schema), sequence.get()))
}
