//! The view: what a query sees of every table, as of one sequence.
//!
//! Invariants (VIEW-1): there is one view; a change of it — rows that became durable, a sealed memtable that
//! became staged files, staged files that became table files — is made under one short lock, so a snapshot
//! sees each row exactly once. Taking a snapshot copies one pointer and never makes the writer wait: the
//! writer copies what a snapshot still holds (copy on write).

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::memtable::{Memtable, SealedMemtable};
use crate::model::{DataFile, FrameNumber, Sequence, TableBatch, TableId, TimeRange};
use crate::series::SeriesPin;

/// The current state of all tables.
#[derive(Debug, Default)]
pub struct View {
    state: RwLock<Arc<State>>,
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

    /// The memtables, oldest first.
    pub fn memtables(&self) -> impl Iterator<Item = &Memtable> {
        self.sealed.iter().map(|s| &*s.rows).chain(std::iter::once(&*self.active))
    }
}

impl View {
    /// All tables as of now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { state: Arc::clone(&self.state.read()) }
    }

    /// Makes the rows of a durable frame visible, all at once; returns the bytes that they take in memory.
    ///
    /// `rows` are in order of their sequences; `pin` keeps their series.
    pub(crate) fn apply<'a>(
        &self,
        frame: FrameNumber,
        sequence: Sequence,
        rows: impl Iterator<Item = (Sequence, &'a TableBatch)>,
        pin: Option<&SeriesPin>,
    ) -> usize {
        let mut guard = self.state.write();
        let state = Arc::make_mut(&mut guard);
        let mut bytes = 0;
        for (sequence, rows) in rows {
            let table = Arc::make_mut(state.tables.entry(rows.table).or_default());
            Arc::make_mut(&mut table.active).append(sequence, rows, pin);
            bytes += rows.memory_bytes();
        }
        state.frame = state.frame.max(frame);
        state.sequence = state.sequence.max(sequence);
        bytes
    }

    /// Seals every memtable that holds rows. Returns the frame up to which rows are in sealed memtables or
    /// files now, and the sealed memtables.
    pub(crate) fn seal(&self) -> (FrameNumber, Vec<(TableId, Arc<SealedMemtable>)>) {
        let mut guard = self.state.write();
        let state = Arc::make_mut(&mut guard);
        let mut sealed = Vec::new();
        for (id, table) in state.tables.iter_mut().filter(|(_, table)| !table.active.is_empty()) {
            let table = Arc::make_mut(table);
            let rows = std::mem::take(&mut table.active);
            let memtable = Arc::new(SealedMemtable { rows, sealed_at: state.sequence });
            table.sealed.push(Arc::clone(&memtable));
            sealed.push((*id, memtable));
        }
        (state.frame, sealed)
    }

    /// Changes one table's view; the change is visible as a whole.
    pub(crate) fn change(&self, id: TableId, change: impl FnOnce(&mut TableView)) {
        let mut guard = self.state.write();
        let state = Arc::make_mut(&mut guard);
        change(Arc::make_mut(state.tables.entry(id).or_default()));
    }
}
