//! The view: what a query sees of every table, as of one sequence.
//!
//! Invariants (VIEW-1): there is one view; a change of it — rows that became durable, a sealed memtable that
//! became staged files, staged files that became table files — is made under one short lock, so a snapshot
//! sees each row exactly once. Taking a snapshot copies one pointer and never makes the writer wait: the
//! writer copies what a snapshot still holds (copy on write).
//!
//! A delete seals the memtables of its tables when it is applied, so a memtable holds rows of before or of after it
//! (DEL-1); what it sealed waits here for the next flush.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};

use crate::cluster::refresh::Deletes;
use crate::error::Result;
use crate::memtable::{Memtable, OrderedRows, RowFilter, SealedMemtable};
use crate::model::{
    Change, DataFile, Delete, FilePlace, FrameNumber, Sequence, TableId, TableSchema, TimeRange,
};
use crate::series::{SeriesIndex, SeriesPin};
use crate::tombstone::{Tombstone, Tombstones};

/// The current state of all tables.
#[derive(Debug, Default)]
pub struct View {
    state: RwLock<Arc<State>>,
    /// What deletes have sealed and no flush has taken yet, in order. It is locked after `state`.
    sealed_by_deletes: Mutex<SealedTables>,
    /// Files that tables do not have any more, as long as a snapshot may read them.
    gone: Mutex<Vec<Weak<DataFile>>>,
    /// Whether other nodes have the same tables.
    is_shared: bool,
}

/// Sealed memtables, in the order of their seals.
pub(crate) type SealedTables = Vec<(TableId, Arc<SealedMemtable>)>;

/// What a round of the flush begins with.
#[derive(Debug)]
pub(crate) struct Sealed {
    /// The sealed memtables, with those that deletes have sealed before.
    pub(crate) tables: SealedTables,
    /// The last frame that is visible.
    pub(crate) visible: FrameNumber,
    /// The frame up to which rows are in sealed memtables or files.
    pub(crate) frame: FrameNumber,
    /// When the oldest row came that was left, by its sequence.
    pub(crate) oldest_left: Option<Sequence>,
}

#[derive(Debug, Clone, Default)]
struct State {
    sequence: Sequence,
    frame: FrameNumber,
    tables: BTreeMap<TableId, Arc<TableView>>,
}

/// All tables as of one sequence.
#[derive(Debug, Clone)]
pub struct Snapshot {
    state: Arc<State>,
}

/// One table as of a snapshot.
#[derive(Debug, Clone, Default)]
pub struct TableView {
    /// Files, oldest first by the upper end of their sequences: later files win over earlier ones.
    pub files: Vec<Arc<DataFile>>,
    /// Memtables that take no more rows and are on their way to files, oldest first. They win over all files.
    pub sealed: Vec<Arc<SealedMemtable>>,
    /// The memtable that takes rows. It wins over everything else.
    pub active: Arc<Memtable>,
    /// The frame of its first rows, if it has any.
    active_since: FrameNumber,
    /// The deletes that hide rows of some file or sealed memtable, oldest first.
    pub tombstones: Tombstones,
}

/// Memtables that the same deletes hide rows of, oldest first.
#[derive(Debug)]
pub struct MemtableGroup<'a> {
    /// The memtables.
    pub memtables: Vec<&'a Memtable>,
    /// The deletes.
    pub tombstones: Tombstones,
}

impl MemtableGroup<'_> {
    /// The rows that pass `filter` and are not deleted, in order.
    ///
    /// # Errors
    /// Those of [`OrderedRows::of`] and [`OrderedRows::without`].
    pub fn ordered(
        &self,
        schema: &TableSchema,
        index: &SeriesIndex,
        filter: RowFilter<'_>,
    ) -> Result<OrderedRows> {
        OrderedRows::of(self.memtables.iter().copied(), index, filter)?.without(&self.tombstones, schema)
    }
}

impl Snapshot {
    /// The sequence up to which the snapshot sees every row.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        self.state.sequence
    }

    /// The frame of the log up to which the snapshot sees every row.
    #[must_use]
    pub fn frame(&self) -> FrameNumber {
        self.state.frame
    }

    /// How many hold what this snapshot holds: the view, as long as nothing has changed, and every snapshot.
    #[must_use]
    pub fn holders(&self) -> usize {
        Arc::strong_count(&self.state)
    }

    /// The table as of this snapshot; `None` when it has no rows yet.
    #[must_use]
    pub fn table(&self, id: TableId) -> Option<&Arc<TableView>> {
        self.state.tables.get(&id)
    }

    /// All tables that have rows.
    pub fn tables(&self) -> impl Iterator<Item = (TableId, &Arc<TableView>)> {
        self.state.tables.iter().map(|(id, view)| (*id, view))
    }
}

impl TableView {
    /// The times of the rows in memory; `None` when there are none.
    #[must_use]
    pub fn memory_times(&self) -> Option<TimeRange> {
        let sealed = self.sealed.iter().filter_map(|s| s.rows.times());
        sealed.chain(self.active.times()).reduce(TimeRange::union)
    }

    /// Rows in memory, before last-write-wins.
    #[must_use]
    pub fn memory_rows(&self) -> usize {
        self.sealed.iter().map(|s| s.rows.rows()).sum::<usize>() + self.active.rows()
    }

    /// The memtables, oldest first; some of their rows may be deleted.
    pub fn memtables(&self) -> impl Iterator<Item = &Memtable> {
        self.sealed.iter().map(|s| &*s.rows).chain(std::iter::once(&*self.active))
    }

    /// The memtables, oldest first, in groups of neighbours that the same deletes hide rows of. It is one group as long
    /// as nothing in memory is deleted.
    #[must_use]
    pub fn memtable_groups(&self) -> Vec<MemtableGroup<'_>> {
        let sealed = self.sealed.iter().map(|sealed| (&*sealed.rows, self.tombstones_of_sealed(sealed)));
        let mut groups: Vec<MemtableGroup<'_>> = Vec::new();
        for (rows, tombstones) in sealed.chain(std::iter::once((&*self.active, Tombstones::new()))) {
            let sequences = |tombstones: &Tombstones| -> Vec<Sequence> {
                tombstones.iter().map(|tombstone| tombstone.sequence).collect()
            };
            match groups.last_mut() {
                Some(last) if sequences(&last.tombstones) == sequences(&tombstones) => {
                    last.memtables.push(rows);
                }
                _ => groups.push(MemtableGroup { memtables: vec![rows], tombstones }),
            }
        }
        groups
    }

    /// The deletes that may hide rows of a file.
    #[must_use]
    pub fn tombstones_of(&self, file: &DataFile) -> Tombstones {
        self.tombstones.iter().filter(|tombstone| tombstone.touches(file)).cloned().collect()
    }

    /// The deletes that may hide rows of a sealed memtable.
    pub(crate) fn tombstones_of_sealed(&self, sealed: &SealedMemtable) -> Tombstones {
        self.tombstones.iter().filter(|tombstone| tombstone.touches_sealed(sealed)).cloned().collect()
    }

    /// Whether a delete may hide rows of anything here. The active memtable has none that are older than a delete.
    fn needs(&self, tombstone: &Tombstone) -> bool {
        tombstone.is_owed()
            || self.files.iter().any(|file| tombstone.touches(file))
            || self.sealed.iter().any(|sealed| tombstone.touches_sealed(sealed))
    }

    /// The deletes that hide nothing here any more.
    pub(crate) fn settled_tombstones(&self) -> impl Iterator<Item = &Arc<Tombstone>> {
        self.tombstones.iter().filter(|tombstone| !self.needs(tombstone))
    }

    /// Adds a delete, unless it hides nothing here or is known.
    pub(crate) fn add_tombstone(&mut self, tombstone: Arc<Tombstone>) {
        let place = self.tombstones.partition_point(|other| other.sequence < tombstone.sequence);
        let is_known = self.tombstones.iter().any(|other| other.is(&tombstone));
        if !is_known && self.needs(&tombstone) {
            self.tombstones.insert(place, tombstone);
        }
    }

    /// Adds files, so that all stand in the order in which later ones win: by their upper ends.
    pub(crate) fn add_files(&mut self, files: impl IntoIterator<Item = Arc<DataFile>>) {
        self.files.extend(files);
        self.files.sort_by_key(|file| file.sequences.max);
    }

    /// Where a delete of which this node heard stands between the rows in memory and one of this sequence: the sequence
    /// before the delete. It happens when the log is read again, and to rows that were on their way when it was heard of.
    fn crossed(&self, sequence: Sequence) -> Option<Sequence> {
        let oldest = self.active.sequences()?.min;
        let between = |it: &&Arc<Tombstone>| it.is_heard() && oldest < it.sequence && it.sequence <= sequence;
        let last = self.tombstones.iter().rev().find(between)?;
        Some(Sequence::new(last.sequence.get().saturating_sub(1)))
    }

    /// Seals the active memtable at `sequence`; `None` when it has no rows.
    fn seal(&mut self, sequence: Sequence) -> Option<Arc<SealedMemtable>> {
        if self.active.is_empty() {
            return None;
        }
        let rows = std::mem::take(&mut self.active);
        let sealed = Arc::new(SealedMemtable { rows, sealed_at: sequence });
        self.sealed.push(Arc::clone(&sealed));
        Some(sealed)
    }
}

impl View {
    /// The view of a node that shares its tables, if `is_shared`.
    pub(crate) fn shared_by_nodes(is_shared: bool) -> Self {
        Self { is_shared, ..Self::default() }
    }

    /// All tables as of now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { state: Arc::clone(&self.state.read()) }
    }

    /// Makes the changes of a durable frame visible, all at once; returns the bytes that its rows take in memory.
    ///
    /// `changes` are in order of their sequences; of one sequence deletes come first. `pin` keeps the series of all
    /// rows.
    pub(crate) fn apply<'a>(
        &self,
        frame: FrameNumber,
        sequence: Sequence,
        changes: impl Iterator<Item = (Sequence, Change<'a>)>,
        pin: Option<&SeriesPin>,
    ) -> usize {
        let mut guard = self.state.write();
        let state = Arc::make_mut(&mut guard);
        let mut bytes = 0;
        for (sequence, change) in changes {
            match change {
                // It would take no room: the memtable keeps nothing of it.
                Change::Rows(rows) if rows.rows() == 0 => {}
                Change::Rows(rows) => {
                    let table = Arc::make_mut(state.tables.entry(rows.table).or_default());
                    if let Some(before) = table.crossed(sequence)
                        && let Some(sealed) = table.seal(before)
                    {
                        self.sealed_by_deletes.lock().push((rows.table, sealed));
                    }
                    if table.active.is_empty() {
                        table.active_since = frame;
                    }
                    Arc::make_mut(&mut table.active).append(sequence, rows, pin);
                    bytes += rows.memory_bytes();
                }
                Change::Delete(delete) => self.delete(state, sequence, delete),
            }
        }
        state.frame = state.frame.max(frame);
        state.sequence = state.sequence.max(sequence);
        bytes
    }

    /// Seals what is older than the delete, and hides what it says of it.
    fn delete(&self, state: &mut State, sequence: Sequence, delete: &Delete) {
        // The rows of its own batch are younger; so what is sealed reaches up to the sequence before (TXN-1).
        let before = Sequence::new(sequence.get().saturating_sub(1));
        for id in &delete.tables {
            if self.is_shared {
                state.tables.entry(*id).or_default();
            }
            let Some(table) = state.tables.get_mut(id) else { continue };
            let table = Arc::make_mut(table);
            if table.active.times().is_some_and(|times| times.overlaps(&delete.times))
                && let Some(sealed) = table.seal(before)
            {
                self.sealed_by_deletes.lock().push((*id, sealed));
            }
            // One of its own: each table keeps an object of it.
            table.add_tombstone(Arc::new(Tombstone::new(sequence, delete).for_others(self.is_shared)));
        }
    }

    /// Seals every memtable that holds rows, but for those that `may_wait`, if all of these have at most `room` bytes.
    pub(crate) fn seal(&self, may_wait: impl Fn(&Memtable) -> bool, room: usize) -> Sealed {
        let mut guard = self.state.write();
        let state = Arc::make_mut(&mut guard);
        let mut tables = std::mem::take(&mut *self.sealed_by_deletes.lock());
        let waiting = state.tables.values().map(|table| &*table.active).filter(|active| may_wait(active));
        let leaves = waiting.map(Memtable::bytes).sum::<usize>() <= room;
        let mut sealed =
            Sealed { tables: Vec::new(), visible: state.frame, frame: state.frame, oldest_left: None };
        for (id, table) in state.tables.iter_mut().filter(|(_, table)| !table.active.is_empty()) {
            if leaves && may_wait(&table.active) {
                let before = FrameNumber::new(table.active_since.get().saturating_sub(1));
                sealed.frame = sealed.frame.min(before);
                let oldest = table.active.sequences().map(|sequences| sequences.min);
                sealed.oldest_left = sealed.oldest_left.into_iter().chain(oldest).min();
            } else {
                tables.extend(Arc::make_mut(table).seal(state.sequence).map(|memtable| (*id, memtable)));
            }
        }
        sealed.tables = tables;
        sealed
    }

    /// Whether a delete hides rows of a table still.
    pub(crate) fn has_tombstone(&self, id: TableId, sequence: Sequence) -> bool {
        let state = self.state.read();
        let of_table = state.tables.get(&id).map(|table| table.tombstones.iter());
        of_table.into_iter().flatten().any(|tombstone| tombstone.sequence == sequence)
    }

    /// Takes away those of a table's deletes that hide nothing there any more, as was found before.
    pub(crate) fn take_settled(&self, id: TableId, found: &[Arc<Tombstone>]) -> Tombstones {
        let mut guard = self.state.write();
        let is_found = |it: &Arc<Tombstone>| found.iter().any(|other| Arc::ptr_eq(it, other));
        let Some(table) = Arc::make_mut(&mut guard).tables.get_mut(&id) else { return Tombstones::new() };
        let table = Arc::make_mut(table);
        let (needed, settled): (Tombstones, Tombstones) = std::mem::take(&mut table.tombstones)
            .into_iter()
            .partition(|it| !is_found(it) || table.needs(it));
        table.tombstones = needed;
        settled
    }

    /// Seals rows that are older than a delete of which this node has heard, where no younger row has done it: when the log
    /// was read again.
    pub(crate) fn seal_before_heard(&self) {
        let mut guard = self.state.write();
        let state = Arc::make_mut(&mut guard);
        for (id, table) in &mut state.tables {
            if let Some(before) = table.crossed(Sequence::new(u64::MAX))
                && let Some(sealed) = Arc::make_mut(table).seal(before)
            {
                self.sealed_by_deletes.lock().push((*id, sealed));
            }
        }
    }

    /// Shows a table as its log has it now, `files`, with the deletes of which there are objects, some of which this node hears of now; returns the files that it has no
    /// more. Staged files stay but for those that `is_published`.
    pub(crate) fn refresh(
        &self,
        id: TableId,
        files: Vec<DataFile>,
        is_published: impl Fn(&DataFile) -> bool,
        deletes: &Deletes,
    ) -> Vec<Arc<DataFile>> {
        let mut guard = self.state.write();
        let state = Arc::make_mut(&mut guard);
        let now = state.sequence;
        let table = Arc::make_mut(state.tables.entry(id).or_default());
        let (staged, known): (Vec<_>, Vec<_>) =
            std::mem::take(&mut table.files).into_iter().partition(|file| file.place == FilePlace::Staged);
        let mut known: HashMap<_, _> = known.into_iter().map(|file| (file.path.clone(), file)).collect();
        let of_table =
            files.into_iter().map(|file| known.remove(&file.path).unwrap_or_else(|| Arc::new(file)));
        let files: Vec<_> = staged.into_iter().filter(|file| !is_published(file)).chain(of_table).collect();
        table.files = files;
        // Two nodes may give one sequence: then names decide, which begin with the node (SEQ-3).
        table.files.sort_by(|a, b| (a.sequences.max, &a.path).cmp(&(b.sequences.max, &b.path)));
        for tombstone in &deletes.heard {
            let is_older = table.active.sequences().is_some_and(|rows| rows.min < tombstone.sequence);
            if is_older
                && table.active.times().is_some_and(|times| times.overlaps(&tombstone.times))
                && let Some(sealed) = table.seal(now)
            {
                self.sealed_by_deletes.lock().push((id, sealed));
            }
            table.add_tombstone(Arc::new(tombstone.heard_at(Sequence::new(now.get() + 1))));
        }
        // A file may have come late, of which a delete hides rows that had settled here.
        for tombstone in deletes.objects.values() {
            table.add_tombstone(Arc::new(tombstone.heard_at(tombstone.sequence)));
        }
        known.into_values().collect()
    }

    /// Notes files that have left a table's view.
    pub(crate) fn note_gone(&self, files: &[Arc<DataFile>]) {
        let mut gone = self.gone.lock();
        gone.retain(|file| file.strong_count() > 0);
        gone.extend(files.iter().map(Arc::downgrade));
    }

    /// The files that no table has any more and that somebody may still read.
    pub(crate) fn still_read(&self) -> Vec<Arc<DataFile>> {
        self.gone.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Changes one table's view; the change is visible as a whole.
    pub(crate) fn change(&self, id: TableId, change: impl FnOnce(&mut TableView)) {
        let mut guard = self.state.write();
        let state = Arc::make_mut(&mut guard);
        change(Arc::make_mut(state.tables.entry(id).or_default()));
    }
}
