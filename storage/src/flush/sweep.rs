//! What lies in the staging area and is of no set: copies, or other names, of files that are in their tables, and what was left half-written.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Paused, StagingArea};
use crate::engine::Shared;
use crate::error::Result;

/// What a sweep of the staging area has done.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    /// Number of files there.
    pub(crate) found: usize,
    /// Sizes of those that were removed.
    pub(crate) removed: Vec<u64>,
    /// Names of those that are in their table and still read.
    pub(crate) still_read: Vec<String>,
}

impl Paused {
    /// Removes what is of no set and read by nobody. Neither a compaction nor a merge of runs may be on its way: their
    /// output lies there, too.
    ///
    /// # Errors
    /// The failure of the disk.
    pub(crate) fn sweep(&mut self, shared: &Shared) -> Result<Swept> {
        let area = StagingArea::new(shared);
        let mut wanted = HashSet::new();
        for set in self.0.staged() {
            wanted.extend(area.manifest(set)?.map(|(name, _)| name));
            wanted.extend(set.files.iter().map(|file| file.path.to_string()));
        }
        let read = self.0.replaced.iter().filter(|file| Arc::strong_count(file) > 1);
        let mut swept =
            Swept { still_read: read.map(|file| file.path.to_string()).collect(), ..Swept::default() };
        let names = area.disk().list(area.folder())?;
        swept.found = names.len();
        for name in names.iter().filter(|name| !wanted.contains(*name)) {
            if !swept.still_read.contains(name) {
                swept.removed.push(area.disk().metadata(&area.path_of(name))?.bytes);
                area.disk().remove(&area.path_of(name))?;
            }
        }
        // One that was read when it was looked at is still there.
        self.0.replaced.retain(|file| {
            let is_there = swept.still_read.iter().any(|name| name == file.path.as_ref());
            if !is_there {
                shared.disk_use.remove_staged(file);
            }
            is_there
        });
        area.disk().sync_folder(area.folder())?;
        Ok(swept)
    }
}
