//! A disk that notes every call, can fail one, and knows what the worst power cut would leave.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::object::{Disk, LocalDisk};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    CreateFolder(PathBuf),
    CreateFile(PathBuf),
    Write(PathBuf),
    SyncFile(PathBuf),
    SyncFolder(PathBuf),
    Rename(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
    Remove(PathBuf),
}

/// Says of which call it speaks.
pub(crate) type Which = fn(&Call) -> bool;

/// Does what [`LocalDisk`] does, and notes it.
#[derive(Debug, Default)]
pub(crate) struct RecordingDisk {
    calls: Mutex<Vec<Call>>,
    /// The next call of this kind fails.
    failing: Mutex<Option<Which>>,
}

impl RecordingDisk {
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().clone()
    }

    pub(crate) fn fail_next(&self, which: Which) {
        *self.failing.lock() = Some(which);
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

    fn note(&self, call: Call) -> io::Result<()> {
        let mut failing = self.failing.lock();
        if failing.is_some_and(|which| which(&call)) {
            *failing = None;
            return Err(io::Error::other("the disk is broken"));
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
            Call::Write(path) => {
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
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        LocalDisk.create_folder(folder)?;
        self.note(Call::CreateFolder(folder.into()))
    }

    fn create_file(&self, path: &Path) -> io::Result<File> {
        let file = LocalDisk.create_file(path)?;
        self.note(Call::CreateFile(path.into()))?;
        Ok(file)
    }

    fn write_at(&self, file: &File, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.note(Call::Write(path.into()))?;
        LocalDisk.write_at(file, path, bytes, offset)
    }

    fn sync_file(&self, file: &File, path: &Path) -> io::Result<()> {
        self.note(Call::SyncFile(path.into()))?;
        LocalDisk.sync_file(file, path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.note(Call::SyncFolder(folder.into()))?;
        LocalDisk.sync_folder(folder)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        LocalDisk.rename(from, to)?;
        self.note(Call::Rename(from.into(), to.into()))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        LocalDisk.link(from, to)?;
        self.note(Call::Link(from.into(), to.into()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        LocalDisk.remove(path)?;
        self.note(Call::Remove(path.into()))
    }
}
