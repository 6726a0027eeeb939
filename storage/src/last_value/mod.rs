//! Last values: for every series of a table and each of its fields the value with the greatest time, and that time;
//! of equal times the later write.
//!
//! How a table is followed:
//! 1. Its *sources* are its files, oldest first, and its memtables: the order in which a later one wins (SEQ-2). They
//!    are *folded* in this order, each value that may be a last one into the slot of its series. Folding a source and
//!    all that follow it once more changes nothing in the end, so there is no way to fold one too often.
//! 2. A [`Position`] says which sources are in. *Catching up* with a view folds its first source
//!    that is not in, and everything after it. There is no other way to make last values anew: one begins at nothing.
//! 3. A reader catches up if its snapshot is not in, so it sees what was acknowledged before it began; it may see what
//!    came since. Each flush catches up with what it has sealed before that leaves the memory: no file is read but
//!    after a restart. Nothing here is on the writer's way.
//! 4. Values and position are saved beside the tables now and then ([`saved`]). The log is not kept for them: what a
//!    saved state lacks is in files, and the log's rows are in memory again after a restart.
//!
//! Invariants: a reader waits until its view is covered; memory is bounded by [`LastValuesConfig::max_bytes`]: where
//! it does not suffice, the largest table's values are dropped, and readers are told that they are not kept.

mod catch_up;
mod codec;
mod column;
mod erase;
mod expire;
mod follower;
mod newest;
mod position;
mod rows;
mod saved;
mod tag_index;
#[cfg(test)]
mod tests;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, Semaphore};

pub use self::rows::{LastRows, TagTest};

pub(crate) use self::catch_up::{follow_sealed, read};
pub(crate) use self::erase::erase;
pub(crate) use self::expire::{forget_dropped, make_anew};
pub(crate) use self::follower::Follower;

use self::position::Position;
use self::saved::Place;
use self::values::TableValues;
use crate::disk::Disk;
use crate::engine::Shared;
use crate::error::{Error, Result};
use crate::limits;
use crate::log::Epoch;
use crate::model::{Sequence, TableId, TableSchema, TimeRange};
use crate::series::KeyRef;
use crate::tombstone::Tombstones;
use crate::view::TableView;

/// Bounds of last values.
#[derive(Debug, Clone)]
pub struct LastValuesConfig {
    /// Bytes of memory of all tables together.
    pub max_bytes: usize,
    /// A table's values are saved when a restart would have to read so many bytes of files again; and at least half as
    /// many as it has bytes of values, so that at most about twice as much is written for them as for files.
    pub save_bytes: u64,
    /// They are also saved when it would have to read so many files.
    pub save_files: usize,
}

impl Default for LastValuesConfig {
    fn default() -> Self {
        Self {
            max_bytes: limits::LAST_VALUE_BYTES,
            // A tenth of a second of reading.
            save_bytes: 4 << 20,
            // Opening a file on a local disk takes half a millisecond.
            save_files: 64,
        }
    }
}

/// Readers that catch up at one time. Reading files takes threads of the pool that readers wait in: few of them wait.
const READERS: usize = 4;

/// What was asked for lately is kept up to date between flushes as well.
const WARM: std::time::Duration = std::time::Duration::from_secs(60);

/// An engine that closes saves what a restart would take some milliseconds for.
const SAVE_AT_CLOSE_BYTES: u64 = 1 << 20;
const SAVE_AT_CLOSE_FILES: usize = 16;

/// The last values of all tables of an engine.
#[derive(Debug)]
pub(crate) struct LastValues {
    config: LastValuesConfig,
    place: Place,
    /// What the names of files of this log begin with: see [`position::is_own`].
    own: String,
    /// The greatest sequence when the engine was opened: what is saved cannot be newer.
    newest: Sequence,
    tables: Mutex<BTreeMap<TableId, Arc<Followed>>>,
    /// Bytes of memory that all values take.
    bytes: Arc<AtomicUsize>,
    /// Tables that can only be followed by reading files.
    behind: Mutex<BTreeSet<TableId>>,
    /// Wakes the follower when there are any.
    behind_wanted: Notify,
    /// Readers that may wait in a thread for files, or for another who reads them.
    readers: Semaphore,
}

/// One table that is followed.
#[derive(Debug)]
pub(super) struct Followed {
    table: TableId,
    /// Held by whoever catches up.
    following: Mutex<()>,
    /// Held by whoever changes what is saved.
    saving: Mutex<()>,
    state: RwLock<State>,
    /// Its share of `bytes_of_all`.
    bytes: AtomicUsize,
    bytes_of_all: Arc<AtomicUsize>,
    /// When it was asked for last.
    asked: Mutex<Option<Instant>>,
}

#[derive(Debug)]
pub(super) struct State {
    values: TableValues,
    position: Position,
    /// The position of what is on the disk.
    saved: Position,
    is_loaded: bool,
    is_kept: bool,
    /// How often values were taken away: what was found before, a reader must look for again.
    resets: u64,
}

impl LastValues {
    /// Last values of an engine whose greatest sequence is `newest`.
    pub(crate) fn new(
        config: LastValuesConfig,
        disk: Arc<dyn Disk>,
        data_dir: &Path,
        (epoch, newest): (Epoch, Sequence),
    ) -> Self {
        Self {
            config,
            place: Place { disk, folder: data_dir.join(saved::FOLDER), epoch },
            own: format!("{epoch}-"),
            newest,
            tables: Mutex::default(),
            bytes: Arc::default(),
            behind: Mutex::default(),
            behind_wanted: Notify::new(),
            readers: Semaphore::new(READERS),
        }
    }

    /// Bytes of memory that all values take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Takes away what `delete` has hit: the values within `times` of the series for which `series` holds. Whoever
    /// reads the table next makes them anew from its sources, which must not give the deleted rows any more. What is
    /// saved of the table is removed: to be called before nothing remembers the delete. `false`, and nothing is done,
    /// while someone else catches up or saves: that may take as long as reading the table.
    ///
    /// # Errors
    /// The failure of the disk: the deleted values may come back with a restart, so call it again.
    pub(crate) fn forget(
        &self,
        table: TableId,
        (delete, times): (Sequence, TimeRange),
        series: &dyn Fn(KeyRef<'_>) -> bool,
    ) -> Result<bool> {
        let followed = self.followed(table);
        // What is being folded or saved may hold what was forgotten.
        let (turn, saving) = (followed.following.try_lock(), followed.saving.try_lock());
        if turn.is_none() || saving.is_none() {
            return Ok(false);
        }
        {
            let mut state = followed.state.write();
            // What is not loaded is not loaded any more: it is on the disk, where it is removed.
            state.is_loaded = true;
            if state.values.forget(times, series) {
                let deleted = state.position.deleted;
                state.position = Position { deleted, ..Position::default() };
            }
            state.position.deleted = state.position.deleted.max(delete);
            state.resets += 1;
            state.saved = Position::default();
        }
        self.place.remove(table)?;
        Ok(true)
    }

    fn followed(&self, table: TableId) -> Arc<Followed> {
        let mut tables = self.tables.lock();
        let new = || Arc::new(Followed::new(table, Arc::clone(&self.bytes)));
        Arc::clone(tables.entry(table).or_insert_with(new))
    }

    /// The tables of which values are kept in memory.
    fn all(&self) -> Vec<Arc<Followed>> {
        self.tables.lock().values().cloned().collect()
    }

    /// Drops the values of the largest tables until the bound is kept.
    fn keep_bound(&self) {
        while self.bytes() > self.config.max_bytes {
            let all = self.all();
            let largest = all.iter().max_by_key(|followed| followed.bytes.load(Ordering::Relaxed));
            let Some(largest) = largest else { return };
            let _saving = largest.saving.lock();
            let bytes = largest.drop_values();
            if let Err(error) = self.place.remove(largest.table) {
                tracing::warn!(%error, "saved last values that are of no use any more could not be removed");
            }
            tracing::warn!(
                table = %largest.table,
                bytes,
                limit = self.config.max_bytes,
                "the last values of a table are not kept until a restart, because they take too much memory: raise \
                 last_values.max_bytes"
            );
        }
    }

    /// Saves the tables of which a restart would have to read much again. A failure is told and tried again later.
    fn save_due(&self, shared: &Shared, bytes: u64, files: usize) {
        let snapshot = shared.view.snapshot();
        for followed in self.all() {
            let Some(view) = snapshot.table(followed.table) else { continue };
            if !followed.is_due(view, &self.own, bytes, files) {
                continue;
            }
            let _saving = followed.saving.lock();
            match self.place.save(shared, followed.table, &followed.state) {
                Ok(position) => followed.state.write().saved = position,
                Err(error) => tracing::warn!(%error, "last values could not be saved; it is tried again"),
            }
        }
    }
}

impl Followed {
    fn new(table: TableId, bytes_of_all: Arc<AtomicUsize>) -> Self {
        let state = State {
            values: TableValues::default(),
            position: Position::default(),
            saved: Position::default(),
            is_loaded: false,
            is_kept: true,
            resets: 0,
        };
        Self {
            table,
            following: Mutex::default(),
            saving: Mutex::default(),
            state: RwLock::new(state),
            bytes: AtomicUsize::new(0),
            bytes_of_all,
            asked: Mutex::default(),
        }
    }

    /// Notes what the values take now: to be called before `state` is let go.
    fn account(&self, state: &State) {
        let bytes = state.values.bytes();
        // In this order, so that the sum is never less than nothing.
        self.bytes_of_all.fetch_add(bytes, Ordering::Relaxed);
        self.bytes_of_all.fetch_sub(self.bytes.swap(bytes, Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Whether a delete was applied to the values and to what is saved of them.
    fn has_applied(&self, delete: Sequence) -> bool {
        let state = self.state.read();
        let saves_nothing = state.saved == Position::default();
        state.is_loaded
            && state.position.deleted >= delete
            && (saves_nothing || state.saved.deleted >= delete)
    }

    /// Drops the values for good; returns the bytes that they had.
    fn drop_values(&self) -> usize {
        let mut state = self.state.write();
        state.is_kept = false;
        state.resets += 1;
        state.values = TableValues::default();
        state.position = Position::default();
        let bytes = self.bytes.load(Ordering::Relaxed);
        self.account(&state);
        bytes
    }

    fn is_due(&self, view: &TableView, own: &str, least_bytes: u64, least_files: usize) -> bool {
        let state = self.state.read();
        if !state.is_kept || state.position.greatest() <= state.saved.greatest() {
            return false;
        }
        let unsaved = || view.files.iter().filter(|file| !state.saved.covers_file(file, own));
        let least_bytes = least_bytes.max(state.values.bytes() as u64 / 2);
        unsaved().count() >= least_files || unsaved().map(|file| file.bytes).sum::<u64>() >= least_bytes
    }
}

/// Makes sure that nothing of what these deletes have hit is left, neither in memory nor saved: afterwards nothing
/// remembers them. `false` when it must be tried again later.
///
/// # Errors
/// The failure of the disk.
pub(crate) async fn settle(
    shared: &Arc<Shared>,
    schema: &Arc<TableSchema>,
    deletes: Tombstones,
) -> Result<bool> {
    let (shared, schema) = (Arc::clone(shared), Arc::clone(schema));
    let settle = move || {
        let followed = shared.last_values.followed(schema.id);
        for tombstone in &deletes {
            if !followed.has_applied(tombstone.sequence) {
                let covers = |key: KeyRef<'_>| tombstone.covers_series(&schema, key);
                let hit = (tombstone.sequence, tombstone.times);
                if !shared.last_values.forget(schema.id, hit, &covers)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    };
    let settled = tokio::task::spawn_blocking(settle).await;
    settled.map_err(|error| Error::Internal(format!("settling a delete ended badly: {error}")))?
}

/// Takes away what other nodes' deletes have hit, as this node hears of them: they may be older than one that is known.
/// `false` when it must be tried again later.
///
/// # Errors
/// The failure of the disk.
pub(crate) fn forget_heard(shared: &Shared, schema: &TableSchema, deletes: &Tombstones) -> Result<bool> {
    for delete in deletes {
        let covers = |key: KeyRef<'_>| delete.covers_series(schema, key);
        if !shared.last_values.forget(schema.id, (delete.sequence, delete.times), &covers)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Saves what is due after a flush.
pub(crate) async fn save_due(shared: &Arc<Shared>) {
    let config = &shared.last_values.config;
    save(shared, config.save_bytes, config.save_files).await;
}

/// Saves what is worth it when the engine closes.
pub(crate) async fn save_at_close(shared: &Arc<Shared>) {
    let config = &shared.last_values.config;
    let bytes = config.save_bytes.min(SAVE_AT_CLOSE_BYTES);
    save(shared, bytes, config.save_files.min(SAVE_AT_CLOSE_FILES)).await;
}

async fn save(shared: &Arc<Shared>, bytes: u64, files: usize) {
    let shared = Arc::clone(shared);
    let saving = tokio::task::spawn_blocking(move || shared.last_values.save_due(&shared, bytes, files));
    if let Err(error) = saving.await {
        tracing::error!(%error, "saving last values ended badly");
    }
}

/// Removes what is saved for tables that have files of other logs which it does not know, durably: a merge would give
/// their rows a name of ours. Called when the view has its files and nothing runs yet.
///
/// # Errors
/// The failure of the disk.
pub(crate) fn refuse_foreign(shared: &Shared) -> Result<()> {
    let last_values = &shared.last_values;
    let snapshot = shared.view.snapshot();
    for (table, view) in snapshot.tables() {
        let foreign = || view.files.iter().filter(|file| !position::is_own(file, &last_values.own));
        if foreign().next().is_none() {
            continue;
        }
        let Ok(schema) = shared.schema(table) else { continue };
        let saved = last_values.place.load(&schema, last_values.newest)?;
        let knows = |position: &Position| foreign().all(|file| position.covers_file(file, &last_values.own));
        if !saved.is_some_and(|(_, position)| knows(&position)) {
            last_values.place.remove(table)?;
        }
    }
    Ok(())
}

/// Removes what was saved before deletes of which nothing but the log says anything any more: their rows have left every
/// source, and the engine was killed before it had made sure that they leave what is saved, too.
///
/// # Errors
/// The failure of the disk.
pub(crate) fn refuse_undeleted(shared: &Shared, deletes: &BTreeMap<TableId, Sequence>) -> Result<()> {
    let last_values = &shared.last_values;
    for (table, delete) in deletes {
        let Ok(schema) = shared.schema(*table) else { continue };
        let saved = last_values.place.load(&schema, last_values.newest)?;
        if saved.is_some_and(|(_, position)| position.deleted < *delete) {
            last_values.place.remove(*table)?;
        }
    }
    Ok(())
}

/// Removes all that is saved, durably: rows that it was made of are lost.
///
/// # Errors
/// The failure of the disk.
pub(crate) fn remove_saved(disk: &dyn Disk, data_dir: &Path) -> Result<()> {
    Place::remove_all(disk, &data_dir.join(saved::FOLDER))
}
