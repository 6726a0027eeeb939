//! One process per data directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use crate::disk::{Disk, LocalDisk};
use crate::error::{Error, Result};

/// Held while the engine is open; the operating system frees it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _file: File,
}

/// Whether some process has the data directory open.
#[must_use]
pub fn is_in_use(data_dir: &Path) -> bool {
    let file = OpenOptions::new().write(true).open(data_dir.join("lock"));
    file.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

impl DirectoryLock {
    /// Makes the data directory if needed, and locks it.
    pub(crate) fn take(data_dir: &Path) -> Result<Self> {
        LocalDisk.create_folder(data_dir)?;
        let path = data_dir.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(Error::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(Error::Invalid(format!(
                "{} is in use by another process; stop it or choose another data directory",
                data_dir.display()
            ))),
            Err(TryLockError::Error(error)) => Err(Error::io("lock", path)(error)),
        }
    }
}
