//! Last values on the disk: one file per table, replaced as a whole (`FORMAT.md` has its bytes).
//!
//! Invariants: a file that has its name is complete. It need not be new: what it lacks is in files and log, and its
//! [`Position`] says from where on. Nothing of it is used unless all of it is as it was written, by this log.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;

use super::State;
use super::codec;
use super::position::Position;
use super::values::TableValues;
use crate::disk::{Disk, DiskFile, read_file};
use crate::engine::Shared;
use crate::error::{Error, Result};
use crate::log::Epoch;
use crate::model::{Sequence, TableId, TableSchema};

/// The folder below the data directory.
pub(super) const FOLDER: &str = "last-values";

/// Where last values are saved, and whose they are.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) folder: PathBuf,
    pub(super) epoch: Epoch,
}

impl Place {
    fn path(&self, table: TableId) -> PathBuf {
        self.folder.join(format!("{:08x}.values", table.get()))
    }

    /// Writes the values and position of a table as they are now or become meanwhile: nobody waits for the disk. A
    /// value may be newer than the position says, which folding again what follows that position puts right.
    ///
    /// # Errors
    /// The failure of the disk. The file is as it was then.
    pub(super) fn save(&self, shared: &Shared, table: TableId, state: &RwLock<State>) -> Result<Position> {
        self.disk.create_folder(&self.folder)?;
        let (path, fresh) = (self.path(table), self.folder.join(format!("{:08x}.new", table.get())));
        let file = self.disk.open(&fresh, true)?;
        file.set_length(0)?;
        let mut out = Out { file: &*file, offset: 0, checksum: 0 };
        let (schema, head, position, resets) = {
            let state = state.read();
            // It is looked up when the values stand still, so it knows every column of them.
            let schema = shared.schema(table)?;
            let head = codec::encode_head(self.epoch, &schema, &state.values, &state.position)?;
            (schema, head, state.position.clone(), state.resets)
        };
        out.write(&head.bytes)?;
        for field in head.fields {
            let column = {
                let state = state.read();
                if state.resets != resets {
                    return Err(Error::Conflict("a delete took values away while they were saved".into()));
                }
                codec::encode_column(&schema, field, state.values.column(field), head.slots)?
            };
            out.write(&column)?;
        }
        let checksum = out.checksum;
        out.write(&checksum.to_le_bytes())?;
        file.sync()?;
        drop(file);
        self.disk.rename(&fresh, &path)?;
        self.disk.sync_folder(&self.folder)?;
        Ok(position)
    }

    /// Reads the values of a table; `None` when there are none of this log up to `newest`, which says why.
    ///
    /// # Errors
    /// The failure of the disk.
    pub(super) fn load(
        &self,
        schema: &TableSchema,
        newest: Sequence,
    ) -> Result<Option<(TableValues, Position)>> {
        let path = self.path(schema.id);
        if !self.is_there(&path)? {
            return Ok(None);
        }
        let bytes = read_file(&*self.disk, &path)?;
        match codec::decode(self.epoch, schema, &bytes) {
            Ok((_, position)) if position.greatest() > newest => {
                tracing::warn!(path = %path.display(), "saved last values are of rows that the log has lost: they are made anew");
                Ok(None)
            }
            Ok(loaded) => Ok(Some(loaded)),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "saved last values cannot be used: they are made anew");
                Ok(None)
            }
        }
    }

    /// Removes what is saved of a table, durably.
    ///
    /// # Errors
    /// The failure of the disk.
    pub(super) fn remove(&self, table: TableId) -> Result<()> {
        let path = self.path(table);
        if self.is_there(&path)? {
            self.disk.remove(&path)?;
        }
        // Also where it was removed before: whether that is durable is not known.
        if self.is_there(&self.folder)? { self.disk.sync_folder(&self.folder) } else { Ok(()) }
    }

    /// Bytes of what is saved of a table; `None` when nothing is.
    pub(super) fn size(&self, table: TableId) -> Result<Option<u64>> {
        let path = self.path(table);
        if self.is_there(&path)? { Ok(Some(self.disk.metadata(&path)?.bytes)) } else { Ok(None) }
    }

    /// The names of all files.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        if self.is_there(&self.folder)? { self.disk.list(&self.folder) } else { Ok(Vec::new()) }
    }

    /// Removes what a process that was killed had not finished of a table; returns its size.
    pub(super) fn remove_unfinished(&self, table: TableId) -> Result<Option<u64>> {
        let name = format!("{:08x}.new", table.get());
        if self.is_there(&self.folder.join(&name))? { self.remove_named(&name).map(Some) } else { Ok(None) }
    }

    /// Removes a file, durably; returns its size.
    pub(super) fn remove_named(&self, name: &str) -> Result<u64> {
        let path = self.folder.join(name);
        let bytes = self.disk.metadata(&path)?.bytes;
        self.disk.remove(&path)?;
        self.disk.sync_folder(&self.folder)?;
        Ok(bytes)
    }

    /// Removes what is saved of every table, durably.
    ///
    /// # Errors
    /// The failure of the disk.
    pub(super) fn remove_all(disk: &dyn Disk, folder: &FilePath) -> Result<()> {
        let found = match disk.list(folder) {
            Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => return Ok(()),
            found => found?,
        };
        for name in found {
            disk.remove(&folder.join(name))?;
        }
        disk.sync_folder(folder)
    }

    fn is_there(&self, path: &FilePath) -> Result<bool> {
        match self.disk.metadata(path) {
            Ok(_) => Ok(true),
            Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The table of a file's name.
pub(super) fn table_of(name: &str) -> Option<TableId> {
    let (digits, _) = name.split_once('.')?;
    u32::from_str_radix(digits, 16).ok().map(TableId::new)
}

/// A file that is being written, and the checksum of what is in it.
struct Out<'a> {
    file: &'a dyn DiskFile,
    offset: u64,
    checksum: u32,
}

impl Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_at(self.offset, bytes)?;
        self.offset += bytes.len() as u64;
        self.checksum = crc32c::crc32c_append(self.checksum, bytes);
        Ok(())
    }
}
