//! A simulated disk: a file system in memory that forgets what was not synced, tears writes, fills up and fails,
//! all of it as a seed says.
//!
//! The model (after TigerBeetle's and SQLite's test disks):
//! - A file has the bytes that readers see and the bytes that are on the medium. A write changes the former, sector
//!   by sector (512 bytes); a sync copies the changed sectors, and the length, to the medium.
//! - A name (made, moved, linked, removed) is on the medium after a sync of its folder; a move is there as a whole
//!   or not at all.
//! - [`SimDisk::power_cut`] keeps the medium, and of what was not synced any subset: single sectors, the new length or
//!   the old one, single names. What was synced is never touched. [`SimDisk::kill`] keeps everything: the process
//!   has died, not the machine.
//! - After a failed sync the changed sectors count as clean, as on Linux: readers still see them, some are on the
//!   medium, and no later sync writes the others.
//! - A write that fails, also for want of room, has written some sectors and never all of it.
//!
//! Not modelled: bytes that rot, misdirected writes, time. What is chosen for a file depends on the seed and on the
//! file alone, so that the same operations give the same disk.

mod file;
mod medium;
mod names;
mod random;
#[cfg(test)]
mod tests;

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

use self::medium::Medium;
pub use self::random::Random;
use super::{Disk, DiskFile, Metadata, Operation};
use crate::error::{Error, Result};

/// A simulated disk. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct SimDisk {
    medium: Arc<Mutex<Medium>>,
}

#[derive(Debug)]
struct SimFile {
    medium: Arc<Mutex<Medium>>,
    inode: u64,
    path: PathBuf,
    writable: bool,
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::over(Medium::new(seed))
    }

    fn over(medium: Medium) -> Self {
        Self { medium: Arc::new(Mutex::new(medium)) }
    }

    /// Cuts the power: the disk as the next start finds it. This one fails from now on.
    #[must_use]
    pub fn power_cut(&self) -> Self {
        Self::over(self.medium.lock().power_cut())
    }

    /// Ends the process: the disk with all that was written. This one fails from now on.
    #[must_use]
    pub fn kill(&self) -> Self {
        Self::over(self.medium.lock().kill())
    }

    /// Lets `operations` more changes happen; from then on every operation fails, as if the power were off.
    pub fn turn_off_after(&self, operations: u64) {
        self.medium.lock().turn_off_after(operations);
    }

    /// Whether the disk is off.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.medium.lock().is_off()
    }

    /// Fails one operation of a kind, after `skip` others of it.
    pub fn fail(&self, operation: Operation, skip: u64) {
        self.medium.lock().fail(operation, skip);
    }

    /// Takes back what [`fail`](Self::fail) and [`turn_off_after`](Self::turn_off_after) have announced.
    pub fn disarm(&self) {
        self.medium.lock().disarm();
    }

    /// Bounds the bytes of all files, or sets no bound.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.medium.lock().capacity = bytes;
    }

    /// The bytes of all files.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.medium.lock().used_bytes()
    }

    /// The number of failures so far, those for want of room too.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.medium.lock().failures
    }

    /// A number that stands for all changes so far: equal for equal histories.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.medium.lock().trace
    }

    fn file(&self, path: &Path, inode: u64, writable: bool) -> Box<dyn DiskFile> {
        Box::new(SimFile { medium: Arc::clone(&self.medium), inode, path: path.into(), writable })
    }
}

impl Disk for SimDisk {
    fn make_folder(&self, path: &Path) -> Result<()> {
        self.medium.lock().make(path, true).map(|_| ()).map_err(Error::io("create folder", path))
    }

    fn open(&self, path: &Path, create: bool) -> Result<Box<dyn DiskFile>> {
        let mut medium = self.medium.lock();
        let inode = match medium.file_at(path) {
            Err(error) if create && error.kind() == ErrorKind::NotFound => medium.make(path, false),
            found => found,
        };
        Ok(self.file(path, inode.map_err(Error::io("open", path))?, true))
    }

    fn open_to_read(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        // A folder can be opened, and be looked at.
        let inode = self.medium.lock().find(path).map_err(Error::io("open", path))?;
        Ok(self.file(path, inode, false))
    }

    fn create_new(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        let inode = self.medium.lock().make(path, false).map_err(Error::io("create", path))?;
        Ok(self.file(path, inode, true))
    }

    fn metadata(&self, path: &Path) -> Result<Metadata> {
        let medium = self.medium.lock();
        medium.find(path).and_then(|inode| medium.metadata(inode)).map_err(Error::io("look at", path))
    }

    fn list(&self, folder: &Path) -> Result<Vec<String>> {
        self.medium.lock().list(folder).map_err(Error::io("list", folder))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.medium.lock().rename(from, to).map_err(Error::io("rename", from))
    }

    fn link(&self, from: &Path, to: &Path) -> Result<()> {
        self.medium.lock().link(from, to).map_err(Error::io("link", to))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.medium.lock().remove(path).map_err(Error::io("remove", path))
    }

    fn sync_folder(&self, folder: &Path) -> Result<()> {
        self.medium.lock().sync_folder(folder).map_err(Error::io("sync folder", folder))
    }
}

impl SimFile {
    fn refuse_read_only(&self) -> Result<()> {
        if self.writable {
            return Ok(());
        }
        Err(Error::io("write", &self.path)(io::Error::from(ErrorKind::PermissionDenied)))
    }
}

impl DiskFile for SimFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.refuse_read_only()?;
        self.medium.lock().write(self.inode, offset, bytes).map_err(Error::io("write", &self.path))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.medium.lock().read(self.inode, offset, buffer).map_err(Error::io("read", &self.path))
    }

    fn metadata(&self) -> Result<Metadata> {
        self.medium.lock().metadata(self.inode).map_err(Error::io("look at", &self.path))
    }

    fn set_length(&self, length: u64) -> Result<()> {
        self.refuse_read_only()?;
        self.medium.lock().set_length(self.inode, length).map_err(Error::io("set length of", &self.path))
    }

    /// Files of this disk are as old as their numbers.
    fn set_modified(&self, _time: SystemTime) -> Result<()> {
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        self.medium.lock().sync(self.inode).map_err(Error::io("sync", &self.path))
    }

    fn sync_all(&self) -> Result<()> {
        self.sync()
    }
}
