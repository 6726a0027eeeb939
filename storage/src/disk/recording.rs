//! A disk that notes every call, can fail one, and knows what the worst power cut would leave.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

use super::{Disk, DiskFile, LocalDisk, Metadata};
use crate::error::{Error, Result};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    CreateFolder(PathBuf),
    CreateFile(PathBuf),
    Write(PathBuf),
    SetModified(PathBuf),
    SyncFile(PathBuf),
    SyncFolder(PathBuf),
    Rename(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
    Remove(PathBuf),
}

/// Says of which call it speaks.
pub(crate) type Which = fn(&Call) -> bool;

/// Does what [`LocalDisk`] does, and notes it. Clones are the same disk.
#[derive(Debug, Default, Clone)]
pub(crate) struct RecordingDisk {
    notes: Arc<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    calls: Mutex<Vec<Call>>,
    /// The next call of this kind fails.
    failing: Mutex<Option<Which>>,
}

#[derive(Debug)]
struct RecordedFile {
    inner: Box<dyn DiskFile>,
    path: PathBuf,
    notes: Arc<Notes>,
}

impl RecordingDisk {
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.notes.calls.lock().clone()
    }

    pub(crate) fn fail_next(&self, which: Which) {
        *self.notes.failing.lock() = Some(which);
    }

    /// Whether `path`, with all that was written to it, survives a power cut now at the most forgetful disk:
    /// one that keeps only what was synced. `root` was there before.
    pub(crate) fn survives(&self, root: &Path, path: &Path) -> bool {
        let after = PowerCut::after(&self.calls());
        let folders = path.ancestors().skip(1).take_while(|folder| *folder != root);
        let reachable = folders.into_iter().all(|folder| after.names.contains_key(folder));
        let content = after.names.get(path).and_then(|file| after.synced.get(file));
        reachable && content == Some(&true)
    }

    fn recorded(&self, path: &Path, inner: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(RecordedFile { inner, path: path.into(), notes: Arc::clone(&self.notes) })
    }
}

impl Notes {
    fn note(&self, call: Call) -> Result<()> {
        let mut failing = self.failing.lock();
        if failing.is_some_and(|which| which(&call)) {
            *failing = None;
            return Err(Error::io("use", "the disk")(io::Error::other("the disk is broken")));
        }
        self.calls.lock().push(call);
        Ok(())
    }
}

/// What the most forgetful disk has after some calls.
#[derive(Default)]
struct PowerCut {
    /// Synced names, and the file or folder (by the number of the call that made it) they lead to.
    names: HashMap<PathBuf, usize>,
    live: HashMap<PathBuf, usize>,
    /// Whether a file's content was synced after its last write.
    synced: HashMap<usize, bool>,
}

impl PowerCut {
    fn after(calls: &[Call]) -> Self {
        let mut disk = Self::default();
        for (number, call) in calls.iter().enumerate() {
            disk.apply(number, call);
        }
        disk
    }

    fn apply(&mut self, number: usize, call: &Call) {
        match call {
            Call::CreateFolder(path) => {
                self.live.insert(path.clone(), number);
            }
            Call::CreateFile(path) => {
                self.live.insert(path.clone(), number);
                self.synced.insert(number, false);
            }
            Call::Write(path) | Call::SetModified(path) => {
                self.synced.insert(self.live[path], false);
            }
            Call::SyncFile(path) => {
                self.synced.insert(self.live[path], true);
            }
            Call::SyncFolder(folder) => {
                let within = |path: &Path| path.parent() == Some(folder);
                self.names.retain(|path, _| !within(path));
                let live = self.live.iter().filter(|(path, _)| within(path));
                self.names.extend(live.map(|(path, file)| (path.clone(), *file)));
            }
            Call::Rename(from, to) => {
                let file = self.live.remove(from).unwrap();
                self.live.insert(to.clone(), file);
            }
            Call::Link(from, to) => {
                self.live.insert(to.clone(), self.live[from]);
            }
            Call::Remove(path) => {
                self.live.remove(path);
            }
        }
    }
}

impl Disk for RecordingDisk {
    fn make_folder(&self, folder: &Path) -> Result<()> {
        LocalDisk.make_folder(folder)?;
        self.notes.note(Call::CreateFolder(folder.into()))
    }

    fn open(&self, path: &Path, create: bool) -> Result<Box<dyn DiskFile>> {
        if create && !path.exists() { self.create_new(path) } else { self.open_to_read(path) }
    }

    fn open_to_read(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        Ok(self.recorded(path, LocalDisk.open(path, false)?))
    }

    fn create_new(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        let file = LocalDisk.create_new(path)?;
        self.notes.note(Call::CreateFile(path.into()))?;
        Ok(self.recorded(path, file))
    }

    fn metadata(&self, path: &Path) -> Result<Metadata> {
        LocalDisk.metadata(path)
    }

    fn list(&self, folder: &Path) -> Result<Vec<String>> {
        LocalDisk.list(folder)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        LocalDisk.rename(from, to)?;
        self.notes.note(Call::Rename(from.into(), to.into()))
    }

    fn link(&self, from: &Path, to: &Path) -> Result<()> {
        LocalDisk.link(from, to)?;
        self.notes.note(Call::Link(from.into(), to.into()))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        LocalDisk.remove(path)?;
        self.notes.note(Call::Remove(path.into()))
    }

    fn sync_folder(&self, folder: &Path) -> Result<()> {
        self.notes.note(Call::SyncFolder(folder.into()))?;
        LocalDisk.sync_folder(folder)
    }
}

impl DiskFile for RecordedFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.notes.note(Call::Write(self.path.clone()))?;
        self.inner.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.inner.read_at(offset, buffer)
    }

    fn metadata(&self) -> Result<Metadata> {
        self.inner.metadata()
    }

    fn set_length(&self, length: u64) -> Result<()> {
        self.notes.note(Call::Write(self.path.clone()))?;
        self.inner.set_length(length)
    }

    fn set_modified(&self, time: SystemTime) -> Result<()> {
        self.notes.note(Call::SetModified(self.path.clone()))?;
        self.inner.set_modified(time)
    }

    fn sync(&self) -> Result<()> {
        self.notes.note(Call::SyncFile(self.path.clone()))?;
        self.inner.sync()
    }

    fn sync_all(&self) -> Result<()> {
        self.notes.note(Call::SyncFile(self.path.clone()))?;
        self.inner.sync_all()
    }
}
