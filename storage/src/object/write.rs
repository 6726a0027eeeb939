//! The order of calls that makes a change durable. Everything here blocks.

use std::cell::Cell;
use std::io::ErrorKind;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hashbrown::HashSet;
use object_store::path::Path;
use object_store::{Error, PutPayload, PutResult, Result};
use parking_lot::Mutex;

use super::folders::{Folders, temporary_name};
use super::read::e_tag;
use crate::clock;
use crate::disk::{Disk, DiskFile, Metadata};

/// The store's name in errors.
pub(super) const STORE: &str = "DurableLocalStore";

/// Bytes that a copy moves at a time: large enough that a call's cost does not show.
const COPY_BYTES: usize = 1 << 20;

/// How a written file gets its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Publish {
    /// It replaces what is there.
    Overwrite,
    /// It fails when something is there.
    Create,
}

/// Makes the file of a temporary name.
type Make<'a> = dyn Fn(&FsPath) -> crate::Result<Box<dyn DiskFile>> + 'a;

/// Writes below one root.
#[derive(Debug)]
pub(super) struct Writer {
    root: PathBuf,
    disk: Arc<dyn Disk>,
    folders: Folders,
    next_temporary: AtomicU64,
    poisoned: AtomicBool,
    /// Names whose folder could not be synced after they changed.
    doubtful: Mutex<HashSet<PathBuf>>,
}

/// A file that is being written and has no name of its own yet. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Temporary {
    pub(super) file: Box<dyn DiskFile>,
    path: PathBuf,
    disk: Arc<dyn Disk>,
    moved: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.moved
            && let Err(error) = self.disk.remove(&self.path)
        {
            tracing::debug!(%error, path = %self.path.display(), "a temporary file stays until the next start");
        }
    }
}

impl Writer {
    pub(super) fn new(root: PathBuf, disk: Arc<dyn Disk>) -> Self {
        Self {
            root,
            disk,
            folders: Folders::default(),
            next_temporary: AtomicU64::new(1),
            poisoned: AtomicBool::new(false),
            doubtful: Mutex::new(HashSet::new()),
        }
    }

    pub(super) fn root(&self) -> &FsPath {
        &self.root
    }

    pub(super) fn disk(&self) -> &dyn Disk {
        self.disk.as_ref()
    }

    /// Writes a whole object. On return it is durable under its name.
    pub(super) fn put(&self, target: &FsPath, payload: &PutPayload, publish: Publish) -> Result<PutResult> {
        let temporary = self.begin(target)?;
        let mut offset = 0;
        for bytes in payload {
            let write = temporary.file.write_at(offset, bytes);
            write.map_err(|error| failed(target, error))?;
            offset += bytes.len() as u64;
        }
        self.publish(temporary, target, publish)
    }

    /// Opens a temporary file in the folder of `target`.
    pub(super) fn begin(&self, target: &FsPath) -> Result<Temporary> {
        self.begin_with(target, &|path| self.disk.create_new(path))
    }

    fn begin_with(&self, target: &FsPath, make: &Make<'_>) -> Result<Temporary> {
        self.check_writable()?;
        let folder = folder_of(target)?;
        let first = self.folders.make_durable(self.disk(), &self.root, folder);
        let opened = first.and_then(|()| self.create_temporary(folder, make));
        match opened {
            // The folder is remembered but was taken away from outside.
            Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => {
                self.folders.forget_all();
                let again = self.folders.make_durable(self.disk(), &self.root, folder);
                again
                    .and_then(|()| self.create_temporary(folder, make))
                    .map_err(|error| failed(target, error))
            }
            opened => opened.map_err(|error| failed(target, error)),
        }
    }

    fn create_temporary(&self, folder: &FsPath, make: &Make<'_>) -> crate::Result<Temporary> {
        let path = folder.join(temporary_name(self.next_temporary.fetch_add(1, Ordering::Relaxed)));
        let file = make(&path)?;
        Ok(Temporary { file, path, disk: Arc::clone(&self.disk), moved: false })
    }

    /// Syncs a written file and gives it its name. On return both are durable.
    pub(super) fn publish(
        &self,
        mut temporary: Temporary,
        target: &FsPath,
        publish: Publish,
    ) -> Result<PutResult> {
        self.check_writable()?;
        // Not `sync`: a reader compares the time, which the log's own files need not have.
        temporary.file.sync_all().map_err(|error| failed(target, error))?;
        let e_tag = e_tag(&temporary.file.metadata().map_err(|error| failed(target, error))?);
        fail::fail_point!("object-put-before-rename");
        let named = match publish {
            Publish::Overwrite => self.disk.rename(&temporary.path, target),
            Publish::Create => self.disk.link(&temporary.path, target),
        };
        named.map_err(|error| failed(target, error))?;
        temporary.moved = publish == Publish::Overwrite;
        drop(temporary);
        fail::fail_point!("object-put-before-folder-sync");
        self.sync_folder_of(&[target])?;
        Ok(PutResult { e_tag: Some(e_tag), version: None })
    }

    /// Gives the file at `source`, which is synced and which nobody will change, a second name: an object without a copy.
    /// It is as old as if it had been put now, so that nobody takes it for a leftover. `false` when the file system
    /// does not do it for these files, and then nothing is done.
    pub(super) fn adopt(&self, source: &FsPath, target: &FsPath) -> Result<bool> {
        let now = clock::system_time();
        let found = self.disk.metadata(source).map_err(|error| failed(source, error))?;
        let is_source = |other: Metadata| (other.device, other.inode) == (found.device, found.inode);
        if self.disk.metadata(target).is_ok_and(is_source) {
            // An earlier try came so far; to rename one name of a file over another does nothing.
            self.check_writable()?;
            let file = self.disk.open_to_read(target);
            file.and_then(|file| file.set_modified(now).and_then(|()| file.sync_all()))
                .map_err(|error| failed(target, error))?;
            return self.sync_folder_of(&[target]).map(|()| true);
        }
        let refused = Cell::new(false);
        let link = |path: &FsPath| {
            self.disk.link(source, path).inspect_err(|error| refused.set(is_refused(error)))?;
            // Without a name of its own yet, it would stay: a name that holds all bytes and that nobody lists.
            let opened = self.disk.open_to_read(path);
            opened.or_else(|error| self.disk.remove(path).and(Err(error)))
        };
        let temporary = match self.begin_with(target, &link) {
            Err(_) if refused.get() => return Ok(false),
            begun => begun?,
        };
        match temporary.file.set_modified(now) {
            Err(error) if is_refused(&error) => return Ok(false),
            set => set.map_err(|error| failed(target, error))?,
        }
        self.publish(temporary, target, Publish::Overwrite).map(|_| true)
    }

    /// Copies a file's bytes to a new durable object.
    pub(super) fn copy(&self, source: &FsPath, target: &FsPath, publish: Publish) -> Result<()> {
        self.check_readable(source)?;
        let from = self.disk.open_to_read(source).map_err(|error| failed(source, error))?;
        let temporary = self.begin(target)?;
        let mut buffer = vec![0; COPY_BYTES];
        let mut offset = 0;
        loop {
            let read = from.read_at(offset, &mut buffer).map_err(|error| failed(source, error))?;
            let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
            let write = temporary.file.write_at(offset, bytes);
            write.map_err(|error| failed(target, error))?;
            offset += bytes.len() as u64;
        }
        self.publish(temporary, target, publish).map(|_| ())
    }

    /// Moves an object over another. On return the move is durable; in between the object has a name at any
    /// time.
    pub(super) fn rename(&self, source: &FsPath, target: &FsPath) -> Result<()> {
        self.check_writable()?;
        self.check_readable(source)?;
        let folder = folder_of(target)?;
        self.folders.make_durable(self.disk(), &self.root, folder).map_err(|error| failed(target, error))?;
        self.disk.rename(source, target).map_err(|error| failed(source, error))?;
        // The new name first: a power cut between the two must not lose both.
        self.sync_folder_of(&[target, source])
    }

    /// Removes objects, and syncs each folder once. An answer is `Ok` only when the removal is durable.
    pub(super) fn delete(&self, targets: Vec<Result<(Path, PathBuf)>>) -> Vec<Result<Path>> {
        let mut removed = Vec::new();
        let mut answers = Vec::with_capacity(targets.len());
        for target in targets {
            let answer = target.and_then(|(location, target)| {
                self.check_writable()?;
                self.disk.remove(&target).map_err(|error| failed(&target, error))?;
                removed.push(target);
                Ok(location)
            });
            answers.push(answer);
        }
        let removed: Vec<&FsPath> = removed.iter().map(PathBuf::as_path).collect();
        if let Err(error) = self.sync_folder_of(&removed) {
            let message = error.to_string();
            for answer in &mut answers {
                if answer.is_ok() {
                    *answer = Err(generic(message.clone()));
                }
            }
        }
        answers
    }

    /// Syncs the folder of each of `targets`, once each, in order. A failure poisons the store.
    fn sync_folder_of(&self, targets: &[&FsPath]) -> Result<()> {
        let mut done: Vec<&FsPath> = Vec::new();
        for target in targets {
            let folder = folder_of(target)?;
            if done.contains(&folder) {
                continue;
            }
            if let Err(error) = self.disk.sync_folder(folder) {
                self.doubtful.lock().extend(targets.iter().map(|target| target.to_path_buf()));
                self.poisoned.store(true, Ordering::SeqCst);
                tracing::error!(%error, folder = %folder.display(), "a folder cannot be synced, no more writes");
                return Err(failed(target, error));
            }
            done.push(folder);
        }
        Ok(())
    }

    fn check_writable(&self) -> Result<()> {
        if !self.poisoned.load(Ordering::SeqCst) {
            return Ok(());
        }
        Err(generic("a folder could not be synced; mend the disk and restart".to_owned()))
    }

    /// Refuses an object whose last change may not be on the disk.
    pub(super) fn check_readable(&self, target: &FsPath) -> Result<()> {
        if !self.poisoned.load(Ordering::SeqCst) || !self.doubtful.lock().contains(target) {
            return Ok(());
        }
        Err(generic(format!("{} may not be on the disk; mend the disk and restart", target.display())))
    }
}

/// Whether a call failed because the file system does not do it for these files, whenever it is asked.
fn is_refused(error: &crate::Error) -> bool {
    matches!(
        error.io_kind(),
        Some(
            ErrorKind::CrossesDevices
                | ErrorKind::Unsupported
                | ErrorKind::PermissionDenied
                | ErrorKind::TooManyLinks
        )
    )
}

fn folder_of(target: &FsPath) -> Result<&FsPath> {
    target.parent().ok_or_else(|| generic(format!("{} lies in no folder", target.display())))
}

pub(super) fn generic(message: String) -> Error {
    Error::Generic { store: STORE, source: message.into() }
}

/// Wraps a failed call with the path it was for.
pub(super) fn failed(target: &FsPath, error: crate::Error) -> Error {
    let path = target.display().to_string();
    match error.io_kind() {
        Some(ErrorKind::NotFound) => Error::NotFound { path, source: error.into() },
        Some(ErrorKind::AlreadyExists) => Error::AlreadyExists { path, source: error.into() },
        _ => Error::Generic { store: STORE, source: error.into() },
    }
}
