//! Folders below a root: made durably, and swept once when the store is opened.
//!
//! Invariant: a folder is in `durable` only when its own name, and those of its parents up to the root, have
//! been synced by this process. A folder that merely exists proves nothing: the process that made it may have
//! been killed before its sync.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use hashbrown::HashSet;
use parking_lot::Mutex;

use crate::disk::Disk;
use crate::error::{Error, Result};

/// Folders that are remembered as durable. One costs some 150 bytes, so about 10 MB; beyond it the memory is
/// emptied, which costs one more sync for each folder and nothing else.
const REMEMBERED_FOLDERS: usize = 65_536;

/// The folders that are known to be durable.
#[derive(Debug, Default)]
pub(super) struct Folders {
    durable: Mutex<HashSet<PathBuf>>,
}

impl Folders {
    /// Makes `folder` and its missing parents below `root`. On return all their names are on the disk.
    pub(super) fn make_durable(&self, disk: &dyn Disk, root: &Path, folder: &Path) -> Result<()> {
        if folder == root || self.durable.lock().contains(folder) {
            return Ok(());
        }
        let Some(parent) = folder.parent().filter(|_| folder.starts_with(root)) else {
            return Err(Error::Internal(format!("{} lies outside of the root", folder.display())));
        };
        self.make_durable(disk, root, parent)?;
        match disk.make_folder(folder) {
            Err(error) if error.io_kind() != Some(ErrorKind::AlreadyExists) => return Err(error),
            // Another task may have made it and not have synced it yet: both sync.
            Ok(()) | Err(_) => disk.sync_folder(parent)?,
        }
        let mut durable = self.durable.lock();
        if durable.len() >= REMEMBERED_FOLDERS {
            durable.clear();
        }
        durable.insert(folder.to_owned());
        Ok(())
    }

    /// Forgets a folder that turned out to be gone, and so all that may have gone with it.
    pub(super) fn forget_all(&self) {
        self.durable.lock().clear();
    }
}

/// Removes the temporary files that a crash left below `root` and syncs every folder, so that each name which
/// can be seen from now on is also on the disk.
pub(super) fn sweep(disk: &dyn Disk, root: &Path) -> Result<()> {
    let mut waiting = vec![root.to_owned()];
    while let Some(folder) = waiting.pop() {
        for name in disk.list(&folder)? {
            let path = folder.join(&name);
            if disk.metadata(&path)?.is_folder {
                waiting.push(path);
            } else if is_temporary(&name) {
                disk.remove(&path)?;
            }
        }
        disk.sync_folder(&folder)?;
    }
    Ok(())
}

/// The name of the `number`th temporary file. The store neither lists nor opens it as an object.
pub(super) fn temporary_name(number: u64) -> String {
    format!("{TEMPORARY}{number}")
}

const TEMPORARY: &str = "busbar#";

/// Whether it is the name of a temporary file.
pub(super) fn is_temporary(name: &str) -> bool {
    let number = name.strip_prefix(TEMPORARY);
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}
