//! The disk as everything durable sees it, log, definitions, staged files and local tables alike: a seam, so that
//! a test can watch the order of writes and syncs, make one fail, or cut the power.
//!
//! Invariants: what a method promises is true of the medium on return, not of a cache, where it says *durable*.
//! Nothing here is clever: what must be called in which order is decided by the callers. A failure is
//! [`Error::Io`], whose kind ([`Error::io_kind`]) is the operating system's.

mod local;
mod observed;
#[cfg(test)]
pub(crate) mod recording;
#[cfg(any(test, feature = "simulation"))]
pub mod sim;

use std::fmt::Debug;
use std::io::ErrorKind;
use std::path::Path;
use std::time::SystemTime;

pub use local::LocalDisk;
pub use observed::{ObservedDisk, Observer, Operation};

use crate::error::{Error, Result};

/// A disk.
pub trait Disk: Debug + Send + Sync {
    /// Makes one folder; its parent exists. Durable after [`Disk::sync_folder`] of the parent.
    ///
    /// # Errors
    /// `AlreadyExists` when something has the name; the failure of the disk.
    fn make_folder(&self, path: &Path) -> Result<()>;

    /// Opens a file for reading and writing; makes it if `create`.
    ///
    /// # Errors
    /// The failure of the disk.
    fn open(&self, path: &Path, create: bool) -> Result<Box<dyn DiskFile>>;

    /// Opens a file that is there, to be read only.
    ///
    /// # Errors
    /// The failure of the disk.
    fn open_to_read(&self, path: &Path) -> Result<Box<dyn DiskFile>>;

    /// Makes a file that did not exist, to be read and written.
    ///
    /// # Errors
    /// `AlreadyExists` when something has the name; the failure of the disk.
    fn create_new(&self, path: &Path) -> Result<Box<dyn DiskFile>>;

    /// What is at a path.
    ///
    /// # Errors
    /// `NotFound` when nothing is; the failure of the disk.
    fn metadata(&self, path: &Path) -> Result<Metadata>;

    /// The names in a folder, in order.
    ///
    /// # Errors
    /// The failure of the disk.
    fn list(&self, folder: &Path) -> Result<Vec<String>>;

    /// Moves a file over whatever is at `to`. Durable after [`Disk::sync_folder`] of both folders.
    ///
    /// # Errors
    /// The failure of the disk.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;

    /// Gives a file a second name. Durable after [`Disk::sync_folder`].
    ///
    /// # Errors
    /// `AlreadyExists` when something is at `to`; the failure of the disk.
    fn link(&self, from: &Path, to: &Path) -> Result<()>;

    /// Removes a file's name. Durable after [`Disk::sync_folder`].
    ///
    /// # Errors
    /// The failure of the disk.
    fn remove(&self, path: &Path) -> Result<()>;

    /// Makes creations, renames and removals in a folder durable.
    ///
    /// # Errors
    /// The failure of the disk. What is durable is unknown then, and a second sync would not tell.
    fn sync_folder(&self, folder: &Path) -> Result<()>;

    /// Makes the folder and its missing parents, each durable in its own parent.
    ///
    /// # Errors
    /// The failure of the disk.
    fn create_folder(&self, path: &Path) -> Result<()> {
        match self.metadata(path) {
            Ok(found) if found.is_folder => return Ok(()),
            Ok(_) => return Err(Error::io("create folder", path)(ErrorKind::AlreadyExists.into())),
            Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => {}
            Err(error) => return Err(error),
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or_else(|| Path::new("."));
        self.create_folder(parent)?;
        match self.make_folder(path) {
            // Another task was quicker and may not have synced it yet.
            Err(error) if error.io_kind() != Some(ErrorKind::AlreadyExists) => return Err(error),
            Ok(()) | Err(_) => {}
        }
        self.sync_folder(parent)
    }
}

/// An open file.
pub trait DiskFile: Debug + Send + Sync {
    /// Writes all bytes at an offset.
    ///
    /// # Errors
    /// The failure of the disk.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Fills the buffer from an offset as far as the file goes; returns the bytes read.
    ///
    /// # Errors
    /// The failure of the disk.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize>;

    /// The file's length in bytes.
    ///
    /// # Errors
    /// The failure of the disk.
    fn length(&self) -> Result<u64> {
        Ok(self.metadata()?.bytes)
    }

    /// What the file is.
    ///
    /// # Errors
    /// The failure of the disk.
    fn metadata(&self) -> Result<Metadata>;

    /// Cuts or extends the file.
    ///
    /// # Errors
    /// The failure of the disk.
    fn set_length(&self, length: u64) -> Result<()>;

    /// Makes all written bytes, and the length, durable (`fdatasync`).
    ///
    /// # Errors
    /// The failure of the disk. What is durable is unknown then: the caller must not go on (LOG-4).
    fn sync(&self) -> Result<()>;

    /// Says when it was last written. Durable after [`sync_all`](Self::sync_all).
    ///
    /// # Errors
    /// The failure of the disk.
    fn set_modified(&self, time: SystemTime) -> Result<()>;

    /// As [`sync`](Self::sync), and the file's times too (`fsync`).
    ///
    /// # Errors
    /// As [`sync`](Self::sync).
    fn sync_all(&self) -> Result<()>;
}

/// What is known of a file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Its length.
    pub bytes: u64,
    /// When it was last written.
    pub modified: SystemTime,
    /// Its number on its file system, which a rename does not change.
    pub inode: u64,
    /// The file system: only with it does the number tell two files apart.
    pub device: u64,
}

/// All bytes of a file.
///
/// # Errors
/// The failure of the disk.
pub(crate) fn read_file(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>> {
    let file = disk.open_to_read(path)?;
    let length = usize::try_from(file.length()?)
        .map_err(|_| Error::LimitExceeded(format!("{} does not fit into memory", path.display())))?;
    let mut bytes = vec![0; length];
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}
