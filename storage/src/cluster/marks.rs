//! Marks: each node says up to which sequence all of its rows are in tables, `_busbar/nodes/{epoch}.json`.
//!
//! A delete's object must stay while some node has an older row in its log: after a restart that row would come back.
//! So the mark of a node is below the oldest row that is not in a table, and later rows are above it: the clock was raised
//! above the mark before it was put. A node that has no mark yet puts one before it takes its first row. It is put again only when a
//! delete waits for it. Of a node that will not come back the operator removes the mark.

use std::collections::HashSet;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde::{Deserialize, Serialize};

use super::refresh::greatest;
use crate::engine::Shared;
use crate::error::{Error, Result};
use crate::flush::signed;
use crate::model::{FilePlace, Sequence};

/// The folder of marks in the store of tables.
pub(super) const FOLDER: &str = "_busbar/nodes";

#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    node: String,
    /// Every row of the node up to here is in a table.
    up_to: u64,
}

/// Puts the mark of this node, if there is none or a delete waits for it.
pub(crate) async fn put_due(shared: &Shared) -> Result<()> {
    let newest = newest_delete(shared);
    let marked = *shared.cluster.marked.lock();
    if marked.is_some_and(|marked| newest.is_none_or(|newest| newest <= marked)) {
        return Ok(());
    }
    let up_to = in_tables(shared);
    if marked.is_some_and(|marked| up_to <= marked) {
        return Ok(());
    }
    let mark = Mark { node: shared.config.node.clone(), up_to: up_to.get() };
    let bytes = serde_json::to_vec(&mark).map_err(|error| Error::Internal(error.to_string()))?;
    let path = Path::from(format!("{FOLDER}/{}.json", shared.epoch));
    shared.table_store.put(&path, signed::sign(bytes).into()).await?;
    *shared.cluster.marked.lock() = Some(up_to);
    Ok(())
}

/// The newest delete of which there is an object.
fn newest_delete(shared: &Shared) -> Option<Sequence> {
    let heard = shared.cluster.heard.lock();
    heard.values().flat_map(|objects| objects.values()).map(|delete| delete.sequence).max()
}

/// The least mark of all nodes. A mark that cannot be read holds everything.
///
/// # Errors
/// The failure of the store.
pub(crate) async fn least(shared: &Shared) -> Result<Sequence> {
    let objects: Vec<_> = shared.table_store.list(Some(&Path::from(FOLDER))).try_collect().await?;
    let mut least = Sequence::new(u64::MAX);
    let own = format!("{}.json", shared.epoch);
    let names: HashSet<_> = objects.iter().filter_map(|object| object.location.filename()).collect();
    if !names.contains(own.as_str()) {
        return Ok(Sequence::ZERO);
    }
    for object in &objects {
        let bytes = shared.table_store.get(&object.location).await?.bytes().await?;
        let mark = signed::verified(&bytes).and_then(|content| serde_json::from_slice::<Mark>(content).ok());
        least = least.min(mark.map_or(Sequence::ZERO, |mark| Sequence::new(mark.up_to)));
    }
    Ok(least)
}

/// The sequence up to which every row of this node is in a table, now and for ever.
fn in_tables(shared: &Shared) -> Sequence {
    let up_to = greatest(shared);
    shared.cluster.raise(up_to);
    // Whoever takes the log from here on gives a greater sequence; whoever had it before has said which.
    drop(shared.log.lock());
    let appended = shared.cluster.appended();
    let snapshot = shared.view.snapshot();
    if appended > snapshot.sequence() {
        return Sequence::ZERO;
    }
    let waiting = snapshot.tables().flat_map(|(_, view)| {
        let memory = view.memtables().filter_map(|memtable| memtable.sequences());
        let staged = view.files.iter().filter(|file| file.place == FilePlace::Staged);
        memory.map(|rows| rows.min).chain(staged.map(|file| file.sequences.min)).collect::<Vec<_>>()
    });
    let oldest = waiting.min().map(|oldest| Sequence::new(oldest.get().saturating_sub(1)));
    oldest.map_or(up_to, |oldest| oldest.min(up_to))
}
