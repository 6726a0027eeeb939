//! The first start of a restored directory.
//!
//! The directory has the log, and the epoch, of the engine that it is a copy of. Under that epoch the tables say which of
//! the log's rows they hold (TXN-1), so under it the log is replayed. But two engines may never commit under one epoch:
//! 1. The engine is opened under the old epoch. Whoever follows the log catches up with all of it.
//! 2. A new segment is begun, everything is flushed, and the log is trimmed in the ordinary way, until it is empty: what
//!    it said is in files and in `definitions.log`, and nobody needs a frame of it.
//! 3. An empty log with an epoch of its own takes its place. Its first frame has the number after the last one, so that
//!    positions in the log mean what they meant.
//!
//! Invariant: after a crash anywhere in this, the next start goes on where it was: the marker is removed last.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::manifest::BackupId;
use crate::disk::{Disk, LocalDisk, read_file};
use crate::engine::lock::DirectoryLock;
use crate::engine::{Committer, Engine, EngineConfig, Layout};
use crate::error::{Error, Result};
use crate::flush::signed;
use crate::log;
use crate::model::FrameNumber;

/// The file in a data directory that says that it was restored.
const MARKER: &str = "restored.json";

/// What is known of a restored directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Marker {
    pub(super) state: State,
    pub(super) backup: BackupId,
    /// The epoch of the copied log.
    pub(super) epoch: String,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// Files are missing.
    Copying,
    /// All is there; its log has the old epoch.
    Copied,
    /// Nothing needs the old log, and a new one is ready.
    Renewing,
}

/// A restored directory at its first start, open under its old epoch. Let whoever follows the log catch up with
/// [`engine`](Self::engine), and then [settle](Self::settle) it.
#[derive(Debug)]
pub struct Restored {
    engine: Engine,
    committer: Committer,
    marker: Marker,
    lock: Arc<DirectoryLock>,
}

/// Refuses a directory that was restored and is not settled.
pub(crate) fn refuse_restored(data_dir: &Path) -> Result<()> {
    match Marker::read(data_dir)? {
        None => Ok(()),
        Some(marker) => Err(Error::Invalid(format!(
            "{} was restored from {} and has not been started since: start it with `busbar serve`",
            data_dir.display(),
            marker.backup
        ))),
    }
}

impl Restored {
    /// Opens the directory of `config` if it was restored and is not settled; `None` for any other.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the restore did not end; else as [`Engine::open`].
    pub async fn open(config: EngineConfig) -> Result<Option<Self>> {
        if !config.data_dir.join(MARKER).exists() {
            return Ok(None);
        }
        let lock = DirectoryLock::take(&config.data_dir)?;
        let Some(marker) = Marker::read(&config.data_dir)? else { return Ok(None) };
        match marker.state {
            State::Copying => {
                return Err(Error::Invalid(format!(
                    "the restore of {} into {} did not end: empty the directory and restore again",
                    marker.backup,
                    config.data_dir.display()
                )));
            }
            State::Renewing => {
                renew(&config.data_dir)?;
                return Ok(None);
            }
            State::Copied => {}
        }
        tracing::info!(backup = %marker.backup, "the directory was restored: its log is replayed and ended");
        let (engine, committer) =
            Engine::open_locked(EngineConfig { background: false, ..config }, lock).await?;
        let lock = engine.lock();
        Ok(Some(Self { engine, committer, marker, lock }))
    }

    /// The engine under the old epoch. It takes no rows.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Ends the old log and begins a new one. On return the directory is like any other, and closed. Clones of the engine
    /// must be gone.
    ///
    /// # Errors
    /// [`Error::Internal`] when somebody who follows the log has not caught up with it; the failure of disk or object
    /// store, after which the next start tries again.
    pub async fn settle(self) -> Result<()> {
        let Self { engine, committer, marker, lock } = self;
        drop(committer);
        let next = engine.end_log().await?;
        let config = engine.config().clone();
        engine.close().await?;
        drop(engine);
        let fresh = fresh_log(&config.data_dir);
        remove_folder(&fresh)?;
        LocalDisk.create_folder(&fresh)?;
        let epoch = log::found(Arc::new(LocalDisk), fresh, config.segment_bytes, next)?;
        fail::fail_point!("settle-before-renewing");
        Marker { state: State::Renewing, ..marker }.write(&config.data_dir)?;
        renew(&config.data_dir)?;
        tracing::info!(%epoch, "the restored directory has a log of its own");
        drop(lock);
        Ok(())
    }
}

/// Puts the new log in the place of the old one, as far as that is not done.
fn renew(data_dir: &Path) -> Result<()> {
    let (current, fresh, old) = (Layout(data_dir).log(), fresh_log(data_dir), data_dir.join("log.old"));
    if fresh.exists() {
        if current.exists() {
            LocalDisk.rename(&current, &old)?;
            LocalDisk.sync_folder(data_dir)?;
        }
        fail::fail_point!("settle-between-logs");
        LocalDisk.rename(&fresh, &current)?;
        LocalDisk.sync_folder(data_dir)?;
    }
    remove_folder(&old)?;
    LocalDisk.remove(&data_dir.join(MARKER))?;
    LocalDisk.sync_folder(data_dir)
}

fn fresh_log(data_dir: &Path) -> PathBuf {
    data_dir.join("log.next")
}

fn remove_folder(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", folder)(error)),
        _ => Ok(()),
    }
}

impl Marker {
    fn read(data_dir: &Path) -> Result<Option<Self>> {
        let path = data_dir.join(MARKER);
        let bytes = match read_file(&LocalDisk, &path) {
            Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => return Ok(None),
            bytes => bytes?,
        };
        let marker = serde_json::from_slice(signed::content(&path, &bytes)?);
        marker
            .map(Some)
            .map_err(|error| Error::Damaged(format!("{} is not readable: {error}", path.display())))
    }

    /// Written beside and renamed, so that one state or the other is there.
    pub(super) fn write(&self, data_dir: &Path) -> Result<()> {
        let json = serde_json::to_vec(self).map_err(|error| Error::Internal(error.to_string()))?;
        let fresh = data_dir.join("restored.new");
        let file = LocalDisk.open(&fresh, true)?;
        file.set_length(0)?;
        file.write_at(0, &signed::sign(json))?;
        file.sync()?;
        LocalDisk.rename(&fresh, &data_dir.join(MARKER))?;
        LocalDisk.sync_folder(data_dir)
    }
}

impl Engine {
    /// Empties the log in the ordinary way. Returns the number of the frame that would come next.
    async fn end_log(&self) -> Result<FrameNumber> {
        self.shared().log.lock().roll()?;
        self.flush().await?;
        let next = FrameNumber::new(self.durable_frame().get() + 1);
        match self.log_extent() {
            (1, first) if first == next => Ok(next),
            (_, first) => Err(Error::Internal(format!(
                "the log still holds frames from {first} on, because somebody who follows it has not come to its end"
            ))),
        }
    }
}
