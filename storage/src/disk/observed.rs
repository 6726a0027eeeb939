//! A disk that tells an observer of every operation before it is done. Tests use it to see the order of writes
//! and syncs, to hold one up, or to make one fail.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::{Disk, DiskFile, LocalDisk, Metadata};
use crate::error::Result;

/// An operation that is about to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A folder is made.
    MakeFolder,
    /// Bytes are written to a file, or its length is changed.
    Write,
    /// A file is made durable.
    Sync,
    /// A file is made or opened.
    Open,
    /// A file is renamed.
    Rename,
    /// A file gets a second name.
    Link,
    /// A file is removed.
    Remove,
    /// A folder is made durable.
    SyncFolder,
}

/// Called before each operation with the path that it concerns; an error is what the caller of the disk gets,
/// and the operation is not done.
pub type Observer = dyn Fn(Operation, &Path) -> Result<()> + Send + Sync;

/// A disk, observed.
#[derive(Clone)]
pub struct ObservedDisk {
    inner: Arc<dyn Disk>,
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
        Self::over(Arc::new(LocalDisk), observer)
    }

    /// A disk with this observer.
    #[must_use]
    pub fn over(inner: Arc<dyn Disk>, observer: Arc<Observer>) -> Self {
        Self { inner, observer }
    }

    fn file(&self, path: &Path, inner: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(ObservedFile { inner, path: path.into(), observer: Arc::clone(&self.observer) })
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
    fn make_folder(&self, path: &Path) -> Result<()> {
        (self.observer)(Operation::MakeFolder, path)?;
        self.inner.make_folder(path)
    }

    fn open(&self, path: &Path, create: bool) -> Result<Box<dyn DiskFile>> {
        (self.observer)(Operation::Open, path)?;
        Ok(self.file(path, self.inner.open(path, create)?))
    }

    fn open_to_read(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        (self.observer)(Operation::Open, path)?;
        Ok(self.file(path, self.inner.open_to_read(path)?))
    }

    fn create_new(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        (self.observer)(Operation::Open, path)?;
        Ok(self.file(path, self.inner.create_new(path)?))
    }

    fn metadata(&self, path: &Path) -> Result<Metadata> {
        self.inner.metadata(path)
    }

    fn list(&self, folder: &Path) -> Result<Vec<String>> {
        self.inner.list(folder)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        (self.observer)(Operation::Rename, from)?;
        self.inner.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> Result<()> {
        (self.observer)(Operation::Link, to)?;
        self.inner.link(from, to)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        (self.observer)(Operation::Remove, path)?;
        self.inner.remove(path)
    }

    fn sync_folder(&self, folder: &Path) -> Result<()> {
        (self.observer)(Operation::SyncFolder, folder)?;
        self.inner.sync_folder(folder)
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

    fn metadata(&self) -> Result<Metadata> {
        self.inner.metadata()
    }

    fn set_length(&self, length: u64) -> Result<()> {
        (self.observer)(Operation::Write, &self.path)?;
        self.inner.set_length(length)
    }

    fn set_modified(&self, time: SystemTime) -> Result<()> {
        (self.observer)(Operation::Write, &self.path)?;
        self.inner.set_modified(time)
    }

    fn sync(&self) -> Result<()> {
        (self.observer)(Operation::Sync, &self.path)?;
        self.inner.sync()
    }

    fn sync_all(&self) -> Result<()> {
        (self.observer)(Operation::Sync, &self.path)?;
        self.inner.sync_all()
    }
}
