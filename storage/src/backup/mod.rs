//! Backup: a copy of one moment of a running engine, and the way back.
//!
//! 1. A [cut](crate::engine::cut) is taken: one moment of log, staged files, tables and streams, kept until it is copied.
//! 2. What the log needs is copied first, and then the log may be trimmed again: streams, log up to the last durable
//!    frame, `definitions.log`, staged files with their manifests. Then the registry, by SQLite's own way.
//! 3. Of each table the log of its version is copied, and every data file that the place does not have yet: data files
//!    never change, so each is copied once, whatever number of backups has it.
//! 4. The manifest is written: from then on it is a backup.
//!
//! [`restore`] copies a backup into an empty directory; [`Restored`] is its first start.
//!
//! Invariants: a backup with a manifest is whole, and each byte of it has a checksum. What is copied of data files is
//! what was written, or the backup fails and says which file is damaged. A backup that ends early leaves nothing that
//! a later one, a restore or the engine would take for something whole. See
//! `decisions/013-a-backup-is-a-crash-that-is-copied.md`.

mod copy;
mod destination;
mod manifest;
mod progress;
mod restore;
mod settle;
#[cfg(test)]
mod tests;

use std::future::Future;

pub use self::destination::{Destination, Place};
pub use self::manifest::{BackupId, Entry, Manifest};
pub use self::progress::{Counts, Progress};
pub use self::restore::{Target, restore};
pub use self::settle::Restored;
pub(crate) use self::settle::refuse_restored;

use self::copy::Copying;
use crate::engine::Engine;
use crate::error::Result;
use crate::stream::FrozenStream;

/// Backs up the engine's state at a moment of this call to `destination`. `streams` freezes the streams of those that
/// follow the log; it is waited for when the time has come.
///
/// # Errors
/// [`Error::Damaged`](crate::Error::Damaged) names a file that is not what was written; that of `streams`; the failure
/// of disk, object store or registry. There is no backup then, and it may be tried again.
pub async fn back_up(
    engine: &Engine,
    streams: impl Future<Output = Result<Vec<FrozenStream>>> + Send,
    destination: &Destination,
    progress: &Progress,
) -> Result<Manifest> {
    progress.stage("waiting for a moment");
    let mut cut = engine.cut(streams).await?;
    let id = BackupId::new(cut.unix_millis, cut.log.sequence);
    let mut copying = Copying::new(destination, id.clone(), progress);
    progress.stage("log");
    copying.log(&cut).await?;
    cut.release_log();
    progress.stage("registry");
    copying.registry(cut.data_dir()).await?;
    progress.stage("table logs");
    copying.table_logs(&cut).await?;
    progress.stage("data files");
    copying.data_files(&mut cut).await?;
    fail::fail_point!("backup-before-manifest");
    let moment = (cut.unix_millis, cut.log.sequence, cut.log.frame.get());
    let manifest = Manifest::new(id, moment, cut.epoch.to_string(), copying.into_files());
    destination.finish(&manifest).await?;
    progress.stage("done");
    Ok(manifest)
}
