//! The epoch: the identity of a log directory.

use std::path::Path;

use uuid::Uuid;

use crate::disk::Disk;
use crate::error::{Error, Result};

/// A UUID made with the log directory (TXN-1). It seeds every checksum and names the node's transactions in
/// Delta tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch(Uuid);

/// The file that holds it.
const FILE: &str = "epoch";

impl Epoch {
    /// Reads the epoch of the log in `folder`, or makes a new one, durably, when there is none.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the file does not hold a UUID; the failure of the disk.
    pub fn open(disk: &dyn Disk, folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        if disk.list(folder)?.iter().any(|name| name == FILE) {
            let mut bytes = [0; 36];
            let read = disk.open(&path, false)?.read_at(0, &mut bytes)?;
            let text = std::str::from_utf8(bytes.get(..read).unwrap_or_default()).ok();
            let uuid = text.and_then(|text| Uuid::try_parse(text).ok());
            return uuid.map(Self).ok_or_else(|| {
                Error::Damaged(format!(
                    "{} does not hold the log's epoch; restore it from a backup",
                    path.display()
                ))
            });
        }
        let epoch = Self(Uuid::new_v4());
        // Written beside and renamed, so that it is there as a whole or not at all.
        let fresh = folder.join("epoch.new");
        let file = disk.open(&fresh, true)?;
        file.write_at(0, epoch.0.to_string().as_bytes())?;
        file.sync()?;
        disk.rename(&fresh, &path)?;
        disk.sync_folder(folder)?;
        Ok(epoch)
    }

    /// The epoch that a text says.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(Self)
    }

    /// The epoch with these bytes.
    pub(super) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The UUID's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// An epoch for tests and tools, from a UUID.
    #[must_use]
    pub fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
