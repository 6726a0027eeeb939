//! Objects of deletes in tables that nodes share, when nobody needs them any more.
//!
//! An object goes when every node has said that no row which is older than the delete waits on it any more
//! ([`crate::cluster::marks`]), and no file of the table has rows left that the delete hides. A node that is away keeps
//! them, however long. Whoever sweeps holds the table's lease.

use object_store::ObjectStoreExt;

use super::stored;
use crate::cluster::{Lease, marks};
use crate::delta::TableLog;
use crate::engine::Shared;
use crate::error::Result;
use crate::model::{Sequence, TableSchema};

/// Removes the objects of a table's deletes that nobody needs any more; returns their sizes.
pub(crate) async fn sweep(
    shared: &Shared,
    schema: &TableSchema,
    table: &TableLog,
    lease: &Lease,
) -> Result<Vec<u64>> {
    let mut removed = Vec::new();
    let objects = stored::list(shared, schema).await?;
    if objects.is_empty() {
        return Ok(removed);
    }
    let no_node_needs = marks::least(shared).await?;
    let files = table.files()?;
    for object in objects {
        let Some(sequence) = stored::sequence_of(&object.location) else { continue };
        if sequence > no_node_needs || shared.view.has_tombstone(schema.id, sequence) {
            continue;
        }
        let bytes = shared.table_store.get(&object.location).await?.bytes().await?;
        let tombstone = stored::parse(&object.location, &bytes)?;
        if files.iter().any(|file| tombstone.touches(file)) || !lease.is_held() {
            continue;
        }
        shared.table_store.delete(&object.location).await?;
        shared.cluster.forget_delete(schema.id, &object.location);
        removed.push(object.size);
    }
    Ok(removed)
}

/// Whether an object must stay for other nodes, whatever this one thinks of it.
pub(crate) fn others_may_need(no_node_needs: Option<Sequence>, delete: Option<Sequence>) -> bool {
    no_node_needs.is_some_and(|least| delete.is_none_or(|delete| delete > least))
}
