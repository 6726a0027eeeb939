//! Catching up with the view: folds what is not in yet.
//!
//! Invariants: one thread at a time catches up with a table, and with the newest view there is, so nobody folds what an
//! older view ends with over newer values. Values are readable meanwhile, and are as new as some view only when
//! [`Position::covers`] says so. What fails half-way is folded again from where the position says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt;
use object_store::ObjectStore;
use tokio::runtime::Handle;

use super::newest::newest_rows;
use super::position::{Position, applied_deletes, is_own, last_delete};
use super::rows::LastRows;
use super::values::TableValues;
use super::{Followed, LastValues, State};
use crate::clock;
use crate::compaction::Pace;
use crate::engine::Shared;
use crate::error::{Error, Result};
use crate::memtable::{Chunk, Memtable, RowFilter};
use crate::model::{DataFile, Sequence, TableBatch, TableId, TableSchema};
use crate::parquet_file::read_sorted;
use crate::series::KeyRef;
use crate::view::TableView;

/// How files are read.
pub(super) struct FileReader {
    pub(super) handle: Handle,
    /// The reading ends early when it is set.
    pub(super) cancelled: Arc<AtomicBool>,
    /// Pauses between batches, where nobody waits.
    pub(super) pace: Option<Pace>,
}

/// Times that a reader catches up: once is enough, unless a delete comes between.
const MAX_TURNS: usize = 8;

/// What there is for a reader of a view.
enum Found {
    /// All of it, as of so many resets.
    Covered(u64),
    Behind,
    NotKept,
}

/// How far catching up came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    /// The view is covered.
    View,
    /// Files must be read first.
    Behind,
    /// The values of the table are not kept.
    NotKept,
}

/// The last values of a table, at least as of `view`; `None` when they are not kept.
///
/// # Errors
/// The failure of store or disk.
pub(crate) async fn read(
    shared: &Arc<Shared>,
    schema: &Arc<TableSchema>,
    view: &Arc<TableView>,
) -> Result<Option<LastRows>> {
    let followed = shared.last_values.followed(schema.id);
    *followed.asked.lock() = Some(clock::instant());
    for _ in 0..MAX_TURNS {
        match followed.at(view, &shared.last_values.own) {
            Found::Covered(resets) => return Ok(Some(LastRows::new(followed, Arc::clone(schema), resets))),
            Found::NotKept => return Ok(None),
            Found::Behind => read_up(shared, &followed).await?,
        }
    }
    Err(Error::Conflict("the table is deleted from all the time: send the query again".into()))
}

/// Catches up for a reader; when the reader goes away it ends.
async fn read_up(shared: &Arc<Shared>, followed: &Arc<Followed>) -> Result<()> {
    let closed = |_| Error::Internal("readers of last values cannot wait".into());
    let _turn = shared.last_values.readers.acquire().await.map_err(closed)?;
    let gone = CancelOnDrop(Arc::default());
    let reader = FileReader { handle: Handle::current(), cancelled: Arc::clone(&gone.0), pace: None };
    let (shared, followed) = (Arc::clone(shared), Arc::clone(followed));
    let caught_up = tokio::task::spawn_blocking(move || catch_up(&shared, &followed, Some(reader)));
    caught_up.await.map_err(|error| Error::Internal(format!("catching up ended badly: {error}")))??;
    Ok(())
}

/// Sets its flag when it is dropped.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Catches up with all tables that have sealed memtables, from memory.
pub(crate) async fn follow_sealed(shared: &Arc<Shared>) {
    let shared = Arc::clone(shared);
    let follow = move || {
        let snapshot = shared.view.snapshot();
        let sealed = snapshot.tables().filter(|(_, view)| !view.sealed.is_empty());
        let tables: Vec<TableId> = sealed.map(|(table, _)| table).collect();
        drop(snapshot);
        for table in tables {
            follow(&shared, &shared.last_values.followed(table));
        }
    };
    if let Err(error) = tokio::task::spawn_blocking(follow).await {
        tracing::error!(%error, "following a flush ended badly");
    }
}

/// Catches up with a table from memory, or leaves it to the follower. Whatever fails is only put off.
pub(super) fn follow(shared: &Shared, followed: &Followed) {
    match catch_up(shared, followed, None) {
        Ok(Reached::View | Reached::NotKept) => {}
        Ok(Reached::Behind) => shared.last_values.fell_behind(followed),
        Err(error) => tracing::warn!(%error, "last values could not be followed; the next reader will"),
    }
}

/// Folds what the view has and the values lack. Without a reader nothing is waited for, neither files nor others who
/// catch up.
pub(super) fn catch_up(
    shared: &Shared,
    followed: &Followed,
    mut reader: Option<FileReader>,
) -> Result<Reached> {
    let turn = if reader.is_some() { Some(followed.following.lock()) } else { followed.following.try_lock() };
    let Some(_turn) = turn else { return Ok(Reached::Behind) };
    let last_values = &shared.last_values;
    load(shared, followed)?;
    last_values.keep_bound();
    let Some(view) = shared.view.snapshot().table(followed.table).cloned() else { return Ok(Reached::View) };
    // Looked up after the view, so it knows every column of its rows.
    let schema = shared.schema(followed.table)?;
    forget_deleted(followed, &view, &schema);
    let first = {
        let state = followed.state.read();
        if !state.is_kept {
            return Ok(Reached::NotKept);
        }
        if state.position.covers(&view, &last_values.own) {
            return Ok(Reached::View);
        }
        let is_in = |file: &Arc<DataFile>| state.position.covers_file(file, &last_values.own);
        view.files.iter().position(|file| !is_in(file))
    };
    let fold = Fold { shared, followed, schema: &schema, view: &view };
    if let Some(first) = first {
        let Some(reader) = &mut reader else { return Ok(Reached::Behind) };
        fold.files(view.files.get(first..).unwrap_or_default(), reader)?;
    }
    fold.memory()?;
    fold.finish();
    Ok(if followed.state.read().is_kept { Reached::View } else { Reached::NotKept })
}

/// Takes away what deletes have hit that the values do not know of. If it was the last of anything, the one before it
/// is only in the sources: all are to be folded anew. So they are where a file has had a delete applied that the values
/// do not know: nothing else may know it any more.
fn forget_deleted(followed: &Followed, view: &TableView, schema: &TableSchema) {
    let mut state = followed.state.write();
    let known = state.position.deleted;
    let mut is_hit = applied_deletes(view) > known;
    if is_hit {
        state.values = TableValues::default();
    }
    for tombstone in view.tombstones.iter().filter(|tombstone| tombstone.sequence > known) {
        let covers = |key: KeyRef<'_>| tombstone.covers_series(schema, key);
        is_hit |= state.values.forget(tombstone.times, &covers);
    }
    if is_hit {
        state.position = Position::default();
        state.resets += 1;
        followed.account(&state);
    }
    state.position.deleted = known.max(last_delete(view));
}

/// Takes over what is saved, once.
pub(super) fn load(shared: &Shared, followed: &Followed) -> Result<()> {
    if followed.state.read().is_loaded {
        return Ok(());
    }
    let (schema, last_values) = (shared.schema(followed.table)?, &shared.last_values);
    let loaded = last_values.place.load(&schema, last_values.newest)?;
    let mut state = followed.state.write();
    // A delete may have come meanwhile, and then nothing that was saved counts.
    if !state.is_loaded
        && let Some((values, position)) = loaded
    {
        state.values = values;
        state.saved = position.clone();
        state.position = position;
        followed.account(&state);
    }
    state.is_loaded = true;
    Ok(())
}

/// One table, brought up to one view.
struct Fold<'a> {
    shared: &'a Shared,
    followed: &'a Followed,
    schema: &'a Arc<TableSchema>,
    view: &'a TableView,
}

impl Fold<'_> {
    /// Folds files that follow each other up to the newest.
    fn files(&self, files: &[Arc<DataFile>], reader: &mut FileReader) -> Result<()> {
        let Some(first) = files.first() else { return Ok(()) };
        if files.len() > 1 {
            tracing::info!(table = %self.schema.name, files = files.len(), "files are read for last values");
        }
        if let Some(position) = self.followed.state.write().kept_position() {
            position.go_back_before(first);
        }
        let memory = self.view.memtables().filter_map(Memtable::sequences).map(|range| range.min).min();
        for (number, file) in files.iter().enumerate() {
            self.file(file, reader)?;
            let mut state = self.followed.state.write();
            let Some(position) = state.kept_position() else { return Ok(()) };
            let own = &self.shared.last_values.own;
            position.add_file(file, own);
            // What is folded so far need not be again, if no row in memory is older and no file is left of its flush.
            let upper = file.sequences.max;
            let is_last_of_its_flush = files.get(number + 1).is_none_or(|next| next.sequences.max > upper);
            if is_own(file, own) && is_last_of_its_flush && memory.is_none_or(|memory| upper < memory) {
                position.files = position.files.max(upper);
            }
        }
        Ok(())
    }

    fn file(&self, file: &Arc<DataFile>, reader: &mut FileReader) -> Result<()> {
        // A damaged row must not become a last value.
        let store = self.shared.verified(file.place);
        store.expect(file);
        let opened = read_sorted(Arc::clone(store) as Arc<dyn ObjectStore>, Arc::clone(self.schema), file);
        let mut rows = reader.handle.block_on(opened)?.rows;
        let tombstones = self.view.tombstones_of(file);
        while let Some(batch) = reader.handle.block_on(rows.next()) {
            if reader.cancelled.load(Ordering::Relaxed) {
                return Err(Error::Closing);
            }
            let batch = batch?.without(&tombstones, self.schema)?;
            if !self.fold(|values| values.fold_sorted(self.schema, &batch, &batch.fields))? {
                return Ok(());
            }
            if let Some(pace) = &mut reader.pace
                && let Some(pause) = pace.due()
            {
                reader.handle.block_on(tokio::time::sleep(pause));
                pace.resume();
            }
        }
        Ok(())
    }

    /// Folds what is in memory and not in yet.
    fn memory(&self) -> Result<()> {
        let series = &self.shared.series;
        for group in self.view.memtable_groups() {
            let is_in = |chunk: &Arc<Chunk>| self.followed.state.read().position.covers_chunk(chunk);
            let chunks = group.memtables.iter().flat_map(|memtable| memtable.chunks());
            let batches: Vec<&TableBatch> =
                chunks.filter(|chunk| !is_in(chunk)).map(|chunk| &chunk.batch).collect();
            if group.tombstones.is_empty() {
                for (batch, newest) in newest_rows(&batches)? {
                    if !self.fold(|values| values.fold_batch(self.schema, series, batch, &newest))? {
                        return Ok(());
                    }
                }
            } else if !batches.is_empty() {
                let rows = group.ordered(self.schema, series, RowFilter::ALL)?;
                // All fields at once, so that nobody sees one field of a row and another of an older one; but for those of
                // a table that takes too much, of which nothing is kept.
                let max_bytes = self.shared.last_values.config.max_bytes;
                let fold_fields = |values: &mut TableValues| {
                    for field in &self.schema.fields {
                        if values.bytes() > max_bytes {
                            break;
                        }
                        values.fold_sorted(self.schema, rows.rows(), &rows.field(field)?)?;
                    }
                    Ok(())
                };
                if !self.fold(fold_fields)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Folds a part, and keeps the bound: each series has room for a value of each field, and with hundreds of these
    /// one flush may bring gigabytes. Says whether the values are still kept.
    fn fold(&self, fold: impl FnOnce(&mut TableValues) -> Result<()>) -> Result<bool> {
        {
            let mut state = self.followed.state.write();
            if !state.is_kept {
                return Ok(false);
            }
            fold(&mut state.values)?;
            self.followed.account(&state);
        }
        self.shared.last_values.keep_bound();
        Ok(self.followed.state.read().is_kept)
    }

    /// Notes that the view is in, with every row up to its newest, unless the values were dropped.
    fn finish(&self) {
        let mut state = self.followed.state.write();
        let Some(position) = state.kept_position() else { return };
        let own = &self.shared.last_values.own;
        let files = self.view.files.iter().filter(|file| is_own(file, own));
        let files = files.map(|file| file.sequences.max).max().unwrap_or(Sequence::ZERO);
        let rows = self.view.memtables().filter_map(Memtable::sequences).map(|range| range.max).max();
        position.files = position.greatest().max(files).max(rows.unwrap_or_default());
        position.rows = position.files;
        // What was merged has a name of ours now.
        position.foreign.retain(|path, _| self.view.files.iter().any(|file| file.path == *path));
    }
}

impl State {
    /// The position, unless the values were dropped.
    fn kept_position(&mut self) -> Option<&mut Position> {
        self.is_kept.then_some(&mut self.position)
    }
}

impl Followed {
    fn at(&self, view: &TableView, own: &str) -> Found {
        let state = self.state.read();
        if !state.is_kept {
            return Found::NotKept;
        }
        let is_covered = state.is_loaded && state.position.covers(view, own);
        if is_covered { Found::Covered(state.resets) } else { Found::Behind }
    }
}

impl LastValues {
    /// A table that fell behind; it is not any more.
    pub(super) fn next_behind(&self) -> Option<TableId> {
        self.behind.lock().pop_first()
    }

    pub(super) fn fell_behind(&self, followed: &Followed) {
        self.behind.lock().insert(followed.table);
        self.behind_wanted.notify_one();
    }
}
