//! Leaves nothing of deleted rows in what is saved, not even the names of series that have no value any more.

use std::collections::HashSet;
use std::sync::Arc;

use super::catch_up::catch_up;
use super::position::Position;
use super::values::TableValues;
use super::{Followed, saved};
use crate::engine::Shared;
use crate::error::Result;
use crate::model::{TableId, TableSchema};

/// What became of the saved values of some tables.
#[derive(Debug, Default)]
pub(crate) struct Erased {
    /// Sizes of files that were written anew.
    pub(crate) rewritten: Vec<u64>,
    /// Sizes of files that were removed.
    pub(crate) removed: Vec<u64>,
}

/// Writes the saved values of `tables` anew, or removes them where series have lost all their values: those tables are
/// read again in the background. What no table owns goes, too. Every delete must have been settled. Blocks.
///
/// # Errors
/// The failure of the disk.
pub(crate) fn erase(shared: &Shared, tables: &[Arc<TableSchema>]) -> Result<Erased> {
    let mut erased = Erased::default();
    for schema in tables {
        let followed = shared.last_values.followed(schema.id);
        // What is saved is taken over first, if it can be.
        catch_up(shared, &followed, None)?;
        erase_table(shared, &followed, &mut erased)?;
    }
    remove_orphans(shared, &mut erased)?;
    Ok(erased)
}

fn erase_table(shared: &Shared, followed: &Followed, erased: &mut Erased) -> Result<()> {
    let place = &shared.last_values.place;
    let (_following, _saving) = (followed.following.lock(), followed.saving.lock());
    let bytes = place.size(followed.table)?;
    let (is_saved_again, is_behind) = {
        let mut state = followed.state.write();
        let is_stale = state.values.has_empty_slots();
        if is_stale {
            state.values = TableValues::default();
            state.position = Position { deleted: state.position.deleted, ..Position::default() };
            state.resets += 1;
            followed.account(&state);
        }
        state.saved = Position::default();
        (bytes.is_some() && !is_stale && state.is_kept && state.is_loaded, is_stale)
    };
    if is_saved_again {
        let position = place.save(shared, followed.table, &followed.state)?;
        followed.state.write().saved = position;
        erased.rewritten.extend(bytes);
    } else {
        place.remove(followed.table)?;
        erased.removed.extend(bytes);
    }
    erased.removed.extend(place.remove_unfinished(followed.table)?);
    if is_behind {
        shared.last_values.fell_behind(followed);
    }
    Ok(())
}

/// Removes files of tables that are not there.
fn remove_orphans(shared: &Shared, erased: &mut Erased) -> Result<()> {
    let place = &shared.last_values.place;
    let known: HashSet<TableId> = shared.catalog.all_tables().iter().map(|schema| schema.id).collect();
    for name in place.names()? {
        if saved::table_of(&name).is_none_or(|table| !known.contains(&table)) {
            erased.removed.push(place.remove_named(&name)?);
        }
    }
    Ok(())
}
