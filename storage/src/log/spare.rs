//! Spares that are made ahead, so that nobody who begins a segment waits for its zeros.
//!
//! 1. When the active segment is half full, the log [says so](LogWriter::half_full).
//! 2. If there is no spare then, whoever hears it [makes](make) one, without the log being locked.
//! 3. [`LogWriter::add_spares`] gives it the name of a spare.
//!
//! In a log that is trimmed as fast as it grows there is always a spare, and this does nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use super::segment;
use super::writer::{LogWriter, SPARES_KEPT};
use crate::disk::Disk;
use crate::error::Result;

/// Whether this is the name of a spare that is not whole yet.
pub(super) fn is_unfinished(name: &str) -> bool {
    name.starts_with("spare.") && name.ends_with(".new")
}

/// Spares that are made have numbers from here on, in the order of the segments that they are made for: no segment has
/// had them.
const FIRST_MADE: u64 = 1 << 63;

/// Spares that this process has begun. One that belonged to an engine that is gone may not be finished yet.
static BEGUN: AtomicU64 = AtomicU64::new(0);

/// A file for a segment, in which there are only zeros.
#[derive(Debug)]
pub(crate) struct Zeroed {
    pub(crate) bytes: u64,
    /// The number that its name as a spare has.
    pub(super) number: u64,
    pub(super) path: PathBuf,
}

impl LogWriter {
    /// Is notified when a spare may be needed soon.
    pub(crate) fn half_full(&self) -> Arc<Notify> {
        Arc::clone(&self.half_full)
    }

    /// The number of the spare that is to be made, if one is needed and nothing speaks against it.
    ///
    /// # Errors
    /// The failure of the disk.
    pub(crate) fn wanted_spare(&self) -> Result<Option<u64>> {
        if !self.is_half_full() || self.is_poisoned() || self.place.aside.is_held() {
            return Ok(None);
        }
        let names = self.place.disk.list(&self.place.folder)?;
        let has_spare = names.iter().any(|name| segment::is_spare(name));
        Ok((!has_spare).then(|| FIRST_MADE + self.next_segment()))
    }

    /// Takes files as spares, as many as are kept, and removes the others. After a crash they may have their old names, by
    /// which they are removed; whoever begins a segment in one makes that durable.
    ///
    /// # Errors
    /// The failure of the disk.
    pub(crate) fn add_spares(&mut self, zeroed: &[Zeroed]) -> Result<()> {
        let (disk, folder) = (&*self.place.disk, &self.place.folder);
        let mut spares = disk.list(folder)?.iter().filter(|name| segment::is_spare(name)).count();
        for segment in zeroed {
            if spares < SPARES_KEPT && segment.bytes == self.place.segment_bytes {
                disk.rename(&segment.path, &folder.join(segment::spare_name(segment.number)))?;
                spares += 1;
            } else {
                disk.remove(&segment.path)?;
            }
        }
        Ok(())
    }
}

/// Makes the file of spare `number` in `folder`. Blocks.
///
/// # Errors
/// The failure of the disk; then nothing of it is left, if that can be.
pub(crate) fn make(disk: &dyn Disk, folder: &Path, number: u64, bytes: u64) -> Result<Zeroed> {
    let path = folder.join(format!("spare.{}.new", BEGUN.fetch_add(1, Ordering::Relaxed)));
    cleanly(disk, &path, || segment::prewrite_in_pieces(disk, &path, bytes))?;
    Ok(Zeroed { bytes, number, path })
}

/// Writes a file. If that fails, nothing of it takes room that a flush needs.
pub(super) fn cleanly(disk: &dyn Disk, path: &Path, write: impl FnOnce() -> Result<()>) -> Result<()> {
    write().inspect_err(|_| {
        if let Err(left) = disk.remove(path) {
            tracing::warn!(error = %left, "a half-written segment could not be removed");
        }
    })
}
