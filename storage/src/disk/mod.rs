//! The disk as the log and other durable files see it: a seam, so that a test can watch the order of writes
//! and syncs, or make one fail.
//!
//! Invariant: what a method promises is true of the medium on return, not of a cache, where it says *durable*.

mod observed;

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

pub use observed::{ObservedDisk, Observer, Operation};

use crate::error::{Error, Result};

/// A disk.
pub trait Disk: Debug + Send + Sync {
    /// Makes the folder and its parents, durably.
    ///
    /// # Errors
    /// The failure of the disk.
    fn create_folder(&self, path: &Path) -> Result<()>;

    /// Opens a file for reading and writing; makes it if `create`.
    ///
    /// # Errors
    /// The failure of the disk.
    fn open(&self, path: &Path, create: bool) -> Result<Box<dyn DiskFile>>;

    /// The names of the files in a folder, in order.
    ///
    /// # Errors
    /// The failure of the disk.
    fn list(&self, folder: &Path) -> Result<Vec<String>>;

    /// Renames a file within its folder. Durable after [`Disk::sync_folder`].
    ///
    /// # Errors
    /// The failure of the disk.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;

    /// Removes a file. Durable after [`Disk::sync_folder`].
    ///
    /// # Errors
    /// The failure of the disk.
    fn remove(&self, path: &Path) -> Result<()>;

    /// Makes creations, renames and removals in a folder durable.
    ///
    /// # Errors
    /// The failure of the disk.
    fn sync_folder(&self, folder: &Path) -> Result<()>;
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
    fn length(&self) -> Result<u64>;

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
}

/// The machine's own file system.
#[derive(Debug, Default, Clone, Copy)]
pub struct LocalDisk;

#[derive(Debug)]
struct LocalFile {
    file: File,
    path: PathBuf,
}

impl Disk for LocalDisk {
    fn create_folder(&self, path: &Path) -> Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(path).map_err(Error::io("create folder", path))?;
        // A new folder is an entry of its parent, which may be new as well.
        for folder in path.ancestors().skip(1).take_while(|p| !p.as_os_str().is_empty()) {
            self.sync_folder(folder)?;
        }
        Ok(())
    }

    fn open(&self, path: &Path, create: bool) -> Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create(create).truncate(false).open(path);
        let file = file.map_err(Error::io("open", path))?;
        Ok(Box::new(LocalFile { file, path: path.into() }))
    }

    fn list(&self, folder: &Path) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
            let entry = entry.map_err(Error::io("list", folder))?;
            if let Ok(name) = entry.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(from, to).map_err(Error::io("rename", from))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        fs::remove_file(path).map_err(Error::io("remove", path))
    }

    fn sync_folder(&self, folder: &Path) -> Result<()> {
        let open = File::open(folder).map_err(Error::io("open folder", folder))?;
        open.sync_all().map_err(Error::io("sync folder", folder))
    }
}

impl DiskFile for LocalFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, offset).map_err(Error::io("write", &self.path))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("read", &self.path)(error)),
            }
        }
        Ok(filled)
    }

    fn length(&self) -> Result<u64> {
        Ok(self.file.metadata().map_err(Error::io("read length of", &self.path))?.len())
    }

    fn set_length(&self, length: u64) -> Result<()> {
        self.file.set_len(length).map_err(Error::io("set length of", &self.path))
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(Error::io("sync", &self.path))
    }
}
