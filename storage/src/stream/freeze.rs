//! A stream as it stood at one moment, for a backup.
//!
//! Invariants: what is frozen is whole records with contiguous numbers, so a copy of it opens (STREAM-2). Its segments
//! are held open: retention may take their names away meanwhile, not their bytes.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::segment::{self, Segment};
use super::{Stream, refuse_gap};
use crate::disk::{Disk, DiskFile, LocalDisk};
use crate::error::Result;

/// The records of a stream up to a moment.
#[derive(Debug)]
pub struct FrozenStream {
    /// The stream's folder.
    pub(crate) folder: PathBuf,
    pub(crate) segments: Vec<FrozenSegment>,
}

/// One segment, up to the moment.
#[derive(Debug)]
pub(crate) struct FrozenSegment {
    pub(crate) name: String,
    pub(crate) file: Arc<dyn DiskFile>,
    /// So many bytes of the file count.
    pub(crate) bytes: u64,
}

impl Stream {
    /// The records that are durable now.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) when a segment cannot be opened.
    pub fn freeze(&self) -> Result<FrozenStream> {
        let inner = self.inner.lock();
        let segments = inner.segments.iter().map(|segment| frozen(&self.folder, segment));
        Ok(FrozenStream { folder: self.folder.clone(), segments: segments.collect::<Result<_>>()? })
    }
}

/// All streams in `parent`, which nobody has open; none when it is missing. Torn tails are left out.
///
/// # Errors
/// [`Error::Damaged`](crate::Error::Damaged) says which file is damaged and where; the failure of the disk.
pub fn freeze_all(parent: &Path) -> Result<Vec<FrozenStream>> {
    let names = match LocalDisk.list(parent) {
        Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => return Ok(Vec::new()),
        names => names?,
    };
    let folders = names.iter().map(|name| parent.join(name)).filter(|path| path.is_dir());
    folders.map(|folder| freeze(&folder)).collect()
}

fn freeze(folder: &Path) -> Result<FrozenStream> {
    let firsts = segment::firsts(folder)?;
    let (mut next, mut segments) = (None, Vec::with_capacity(firsts.len()));
    for (i, first) in firsts.iter().enumerate() {
        refuse_gap(folder, next, *first)?;
        let (segment, _) = Segment::survey(folder, *first, i + 1 == firsts.len())?;
        next = Some(segment.next());
        segments.push(frozen(folder, &segment)?);
    }
    Ok(FrozenStream { folder: folder.to_owned(), segments })
}

fn frozen(folder: &Path, segment: &Segment) -> Result<FrozenSegment> {
    let path = segment::path(folder, segment.first);
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(FrozenSegment { name, file: Arc::from(LocalDisk.open_to_read(&path)?), bytes: segment.bytes })
}
