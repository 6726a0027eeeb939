//! Values of rows that were dropped because they have expired leave, and so do series that have none left: what has gone
//! from the files stays gone, also when rows are kept for longer afterwards.
//!
//! Nothing is read anew. A value that is taken away is the newest of its field, so every other one of the field is older:
//! its partition has been dropped before, or is now. Only where rows of these times are left outside of the table's files
//! all values are made anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Followed;
use super::catch_up::load;
use super::position::Position;
use crate::engine::Shared;
use crate::error::{Error, Result};
use crate::model::{DataFile, FilePlace, TableId, TimeRange};
use crate::view::TableView;

/// Takes the values of these files away, whose partitions go as a whole. To be called before they leave the table, so that
/// nothing that is saved brings them back after a crash, and when no reader can find them in the view any more: meanwhile
/// they may have been read.
///
/// # Errors
/// The failure of the disk: what is saved may hold them still.
pub(crate) async fn forget_dropped(
    shared: &Arc<Shared>,
    table: TableId,
    files: &[Arc<DataFile>],
) -> Result<()> {
    let mut times: BTreeMap<i32, TimeRange> = BTreeMap::new();
    for file in files {
        let of_date = times.entry(file.date).or_insert(file.times);
        *of_date = of_date.union(file.times);
    }
    let (shared, times) = (Arc::clone(shared), times.into_values().collect::<Vec<_>>());
    let forget = move || forget(&shared, &shared.last_values.followed(table), &times);
    let forgotten = tokio::task::spawn_blocking(forget).await;
    forgotten.map_err(|error| Error::Internal(format!("forgetting values ended badly: {error}")))?
}

fn forget(shared: &Shared, followed: &Followed, times: &[TimeRange]) -> Result<()> {
    // What is being folded or saved may hold what is forgotten.
    let (_following, _saving) = (followed.following.lock(), followed.saving.lock());
    load(shared, followed)?;
    let is_left = {
        let snapshot = shared.view.snapshot();
        let view = snapshot.table(followed.table);
        view.is_some_and(|view| times.iter().any(|times| has_rows_outside_of_files(view, *times)))
    };
    {
        let mut state = followed.state.write();
        let mut has_any = false;
        for times in times {
            has_any |= state.values.forget(*times, &|_| true);
        }
        if !has_any {
            return Ok(());
        }
        state.values.free_empty_slots()?;
        if is_left {
            state.position = Position { deleted: state.position.deleted, ..Position::default() };
        }
        state.resets += 1;
        state.saved = Position::default();
        followed.account(&state);
    }
    shared.last_values.place.remove(followed.table)
}

/// Makes the values of a table anew from what its view has: files that were to go have stayed.
pub(crate) fn make_anew(shared: &Shared, table: TableId) {
    let followed = shared.last_values.followed(table);
    let mut state = followed.state.write();
    state.position = Position { deleted: state.position.deleted, ..Position::default() };
    state.resets += 1;
}

fn has_rows_outside_of_files(view: &TableView, times: TimeRange) -> bool {
    view.files.iter().any(|file| file.place == FilePlace::Staged && file.times.overlaps(&times))
        || view.memory_times().is_some_and(|of_memory| of_memory.overlaps(&times))
}
