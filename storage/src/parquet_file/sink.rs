//! The file under its temporary name: it counts and checks what is written, and gets its name at the end.

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Result};

/// The end of the name of a file that is being written. After a crash such files may be removed.
pub const UNFINISHED: &str = ".tmp";

/// A file in the making. Dropped before [`publish`](Self::publish) has renamed it, it is removed.
#[derive(Debug)]
pub(super) struct Sink<'a> {
    disk: &'a dyn Disk,
    file: Box<dyn DiskFile>,
    path: PathBuf,
    temporary: PathBuf,
    unfinished: bool,
    bytes: u64,
    checksum: u32,
}

impl<'a> Sink<'a> {
    /// Begins the file that will be at `path`, over what an earlier attempt left.
    pub(super) fn create(disk: &'a dyn Disk, path: &Path) -> Result<Self> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(UNFINISHED);
        let temporary = PathBuf::from(temporary);
        match disk.remove(&temporary) {
            Err(error) if error.io_kind() != Some(ErrorKind::NotFound) => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let file = disk.create_new(&temporary)?;
        Ok(Self { disk, file, path: path.to_owned(), temporary, unfinished: true, bytes: 0, checksum: 0 })
    }

    /// Syncs the file and gives it its name. Returns its size and checksum; it is durable then.
    pub(super) fn publish(mut self) -> Result<(u64, u32)> {
        let folder = self.path.parent();
        let folder = folder.ok_or_else(|| Error::Internal("a data file lies in no folder".to_owned()))?;
        self.file.sync_all()?;
        fail::fail_point!("parquet-written");
        self.disk.rename(&self.temporary, &self.path)?;
        self.unfinished = false;
        self.disk.sync_folder(folder)?;
        Ok((self.bytes, self.checksum))
    }

    /// The name that the file has until it is complete.
    pub(super) fn temporary(&self) -> &Path {
        &self.temporary
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(self.bytes, bytes).map_err(io_error)?;
        self.checksum = crc32c::crc32c_append(self.checksum, bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The error as the Parquet writer passes it on: its kind stays.
fn io_error(error: Error) -> io::Error {
    match error {
        Error::Io { source, .. } => source,
        other => io::Error::other(other),
    }
}

impl Drop for Sink<'_> {
    fn drop(&mut self) {
        if self.unfinished
            && let Err(error) = self.disk.remove(&self.temporary)
        {
            tracing::debug!(%error, path = %self.temporary.display(), "the unfinished file stays");
        }
    }
}
