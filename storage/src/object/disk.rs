//! The few file-system calls that durability depends on, behind a trait so that a test can watch their order
//! or make one fail.
//!
//! Invariant: nothing here is clever. What must be called in which order is decided by the callers.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// The calls of a local file system that change it.
pub(crate) trait Disk: Debug + Send + Sync + 'static {
    /// Makes one folder; its parent exists.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;
    /// Makes a file that did not exist, to be written and read.
    fn create_file(&self, path: &Path) -> io::Result<File>;
    /// Writes all of `bytes` at `offset` of `file`, which lies at `path`.
    fn write_at(&self, file: &File, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Returns when the content of `file`, which lies at `path`, is on the disk.
    fn sync_file(&self, file: &File, path: &Path) -> io::Result<()>;
    /// Returns when the names within `folder` are on the disk.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// Moves a file over whatever is at `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file a second name; fails when `to` exists.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file's name.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// The machine's file system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalDisk;

impl Disk for LocalDisk {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir(folder)
    }

    fn create_file(&self, path: &Path) -> io::Result<File> {
        File::options().read(true).write(true).create_new(true).open(path)
    }

    fn write_at(&self, file: &File, _path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
    }

    fn sync_file(&self, file: &File, _path: &Path) -> io::Result<()> {
        // Not `sync_data`: a reader compares sizes and times that the log's own files need not have.
        file.sync_all()
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}
