//! How far a table's last values go: which of a view's sources are in them.
//!
//! Invariants: a source that is *covered* is in the values, and so is every source before it. Rows of this log are
//! covered by their sequence; files of other logs, whose sequences say nothing about ours, by their names.

use std::collections::BTreeMap;

use object_store::path::Path;

use crate::memtable::Chunk;
use crate::model::{DataFile, FilePlace, Sequence};
use crate::tombstone::last_of;
use crate::view::TableView;

/// See the module's header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// Files of this log up to here are in.
    pub(super) files: Sequence,
    /// Rows of this log up to here are in, wherever they are now. Zero while files are being read.
    pub(super) rows: Sequence,
    /// Files of other logs that are in, and the upper ends of their sequences.
    pub(super) foreign: BTreeMap<Path, Sequence>,
    /// What deletes up to here have hit is not in.
    pub(super) deleted: Sequence,
}

impl Position {
    /// The greatest sequence that is in.
    pub(super) fn greatest(&self) -> Sequence {
        self.files.max(self.rows)
    }

    /// Whether a file is in.
    pub(super) fn covers_file(&self, file: &DataFile, own: &str) -> bool {
        if is_own(file, own) {
            file.sequences.max <= self.greatest()
        } else {
            self.foreign.contains_key(&file.path)
        }
    }

    /// Whether rows in memory are in.
    pub(super) fn covers_chunk(&self, chunk: &Chunk) -> bool {
        chunk.sequences.max <= self.rows
    }

    /// Whether all rows of a view are in.
    pub(super) fn covers(&self, view: &TableView, own: &str) -> bool {
        let last = view.memtables().filter_map(|memtable| memtable.chunks().last());
        last.into_iter().all(|chunk| self.covers_chunk(chunk))
            && last_delete(view) <= self.deleted
            && view.files.iter().all(|file| self.covers_file(file, own))
    }

    /// Goes back to before a file: it, the files after it, and all rows in memory are to be folded (again).
    pub(super) fn go_back_before(&mut self, file: &DataFile) {
        let upper = file.sequences.max;
        self.files = self.greatest().min(Sequence::new(upper.get().saturating_sub(1)));
        self.rows = Sequence::ZERO;
        self.foreign.retain(|_, known| *known < upper);
    }

    /// Takes note of a file that was folded.
    pub(super) fn add_file(&mut self, file: &DataFile, own: &str) {
        if !is_own(file, own) {
            self.foreign.insert(file.path.clone(), file.sequences.max);
        }
    }
}

/// The last delete that is known to a view, or was applied to a file of it.
pub(super) fn last_delete(view: &TableView) -> Sequence {
    applied_deletes(view).max(last_of(&view.tombstones))
}

/// The last delete that was applied to a file of a view; the view need not know it any more.
pub(super) fn applied_deletes(view: &TableView) -> Sequence {
    view.files.iter().map(|file| file.deleted_up_to).max().unwrap_or_default()
}

/// Whether a file holds rows of this log, whose epoch is `own`: a flush or a merge of this node has named it.
pub(super) fn is_own(file: &DataFile, own: &str) -> bool {
    let name = file.path.filename().unwrap_or_default();
    file.place == FilePlace::Staged || name.starts_with(own)
}
