//! Segments that are set aside: what they held was deleted and shall be gone, so they are overwritten before they are
//! used again.
//!
//! 1. [`LogWriter::set_aside`]: spares get the name `{number}.aside`, and so does what is retired from then on.
//! 2. [`overwrite_aside`] writes zeros over each, without the log being locked: nobody else opens such a file.
//! 3. [`LogWriter::add_spares`]: as spares, as many as are kept; the others are removed.
//!
//! Invariant: while somebody holds what 1. has returned, no segment is begun in a file that has held frames and was not
//! overwritten. What a killed process leaves aside is removed at the next start.

use std::path::Path;

use super::segment;
use super::spare::{self, Zeroed};
use super::writer::LogWriter;
use crate::disk::Disk;
use crate::engine::hold::Held;
use crate::error::Result;

impl LogWriter {
    /// Sets the spares aside, and whatever is retired until the answer is dropped.
    ///
    /// # Errors
    /// The failure of the disk.
    pub(crate) fn set_aside(&mut self) -> Result<Held> {
        let held = self.place.aside.hold();
        let (disk, folder) = (&*self.place.disk, &self.place.folder);
        for name in disk.list(folder)? {
            let number = name.strip_suffix(".spare").and_then(|digits| digits.parse().ok());
            if let Some(number) = number {
                disk.rename(&folder.join(&name), &folder.join(segment::aside_name(number)))?;
            }
        }
        disk.sync_folder(folder)?;
        Ok(held)
    }
}

/// Writes zeros over every segment that is set aside in `folder`, durably. Blocks.
///
/// # Errors
/// The failure of the disk.
pub(crate) fn overwrite_aside(disk: &dyn Disk, folder: &Path) -> Result<Vec<Zeroed>> {
    let mut overwritten = Vec::new();
    for name in disk.list(folder)? {
        let Some(number) = segment::number_of_aside(&name) else { continue };
        let path = folder.join(name);
        let file = disk.open(&path, false)?;
        let bytes = file.length()?;
        segment::write_zeros(&*file, bytes, || Ok(()))?;
        file.sync()?;
        overwritten.push(Zeroed { bytes, number, path });
    }
    Ok(overwritten)
}

/// Removes what a process that was killed had set aside, or not finished.
pub(super) fn remove_left(disk: &dyn Disk, folder: &Path) -> Result<()> {
    let is_left = |name: &&String| segment::number_of_aside(name).is_some() || spare::is_unfinished(name);
    for name in disk.list(folder)?.iter().filter(is_left) {
        disk.remove(&folder.join(name))?;
    }
    Ok(())
}
