//! A disk that tells an observer of every operation before it is done. Tests use it to see the order of writes
//! and syncs, to hold one up, or to make one fail.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Disk, DiskFile, LocalDisk};
use crate::error::Result;

/// An operation that is about to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Bytes are written to a file.
    Write,
    /// A file is made durable.
    Sync,
    /// A file is made or opened.
    Open,
    /// A file is renamed.
    Rename,
    /// A file is removed.
    Remove,
    /// A folder is made durable.
    SyncFolder,
}

/// Called before each operation with the path that it concerns; an error is what the caller of the disk gets,
/// and the operation is not done.
pub type Observer = dyn Fn(Operation, &Path) -> Result<()> + Send + Sync;

/// The local disk, observed.
#[derive(Clone)]
pub struct ObservedDisk {
    observer: Arc<Observer>,
}

struct ObservedFile {
    inner: Box<dyn DiskFile>,
    path: PathBuf,
    observer: Arc<Observer>,
}

impl ObservedDisk {
    /// The local disk with this observer.
    #[must_use]
    pub fn new(observer: Arc<Observer>) -> Self {
        Self { observer }
    }
}

impl fmt::Debug for ObservedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ObservedDisk")
    }
}

impl fmt::Debug for ObservedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ObservedFile").field(&self.path).finish()
    }
}

impl Disk for ObservedDisk {
    fn create_folder(&self, path: &Path) -> Result<()> {
        LocalDisk.create_folder(path)
    }

    fn open(&self, path: &Path, create: bool) -> Result<Box<dyn DiskFile>> {
        (self.observer)(Operation::Open, path)?;
        let inner = LocalDisk.open(path, create)?;
        Ok(Box::new(ObservedFile { inner, path: path.into(), observer: Arc::clone(&self.observer) }))
    }

    fn list(&self, folder: &Path) -> Result<Vec<String>> {
        LocalDisk.list(folder)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        (self.observer)(Operation::Rename, from)?;
        LocalDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        (self.observer)(Operation::Remove, path)?;
        LocalDisk.remove(path)
    }

    fn sync_folder(&self, folder: &Path) -> Result<()> {
        (self.observer)(Operation::SyncFolder, folder)?;
        LocalDisk.sync_folder(folder)
    }
}

impl DiskFile for ObservedFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        (self.observer)(Operation::Write, &self.path)?;
        self.inner.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.inner.read_at(offset, buffer)
    }

    fn length(&self) -> Result<u64> {
        self.inner.length()
    }

    fn set_length(&self, length: u64) -> Result<()> {
        self.inner.set_length(length)
    }

    fn sync(&self) -> Result<()> {
        (self.observer)(Operation::Sync, &self.path)?;
        self.inner.sync()
    }
}
