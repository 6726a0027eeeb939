//! Restore: a backup becomes a data directory again.
//!
//! 1. The target must be empty: directory, and where tables are in a remote store, that place too.
//! 2. A marker says that the directory is not whole; the engine refuses to open it.
//! 3. Every file is copied, durably, and must have the size and the checksum that the manifest says.
//! 4. The marker says that all is there. The next start is that of a [`Restored`](super::Restored) directory.
//!
//! Invariant: a directory that the engine opens holds all of a backup.

use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use object_store::path::Path;

use super::destination::Destination;
use super::manifest::{BackupId, Entry, Manifest, TABLES};
use super::progress::Progress;
use super::settle::{Marker, State};
use crate::disk::LocalDisk;
use crate::error::{Error, Result};
use crate::object::{DurableLocalStore, Input, StoreSettings, transfer_checked};

/// Files that are copied at a time.
const FILES_AT_ONCE: usize = 8;

/// Where a backup is restored to.
#[derive(Debug, Clone)]
pub struct Target {
    /// The data directory: missing or empty.
    pub data_dir: PathBuf,
    /// Where its tables shall be.
    pub store: StoreSettings,
}

/// Copies a backup into an empty data directory.
///
/// # Errors
/// [`Error::Invalid`] when the target is not empty; [`Error::Damaged`] names the file of the backup that is not what was
/// written; [`Error::NotFound`] one that is missing; the failure of either store. The target is not whole then, and is to
/// be emptied before the next try.
pub async fn restore(
    destination: &Destination,
    manifest: &Manifest,
    target: &Target,
    progress: &Progress,
) -> Result<()> {
    progress.stage("looking at the target");
    refuse_content(&target.data_dir)?;
    let own: Arc<dyn ObjectStore> = Arc::new(DurableLocalStore::open(&target.data_dir)?);
    let tables = if target.store.is_remote() {
        let unused = target.data_dir.join("cache");
        let without_cache = StoreSettings { cache_bytes: 0, ..target.store.clone() };
        let tables = without_cache.open(Arc::new(LocalDisk), &unused, &unused)?;
        refuse_objects(&*tables).await?;
        Some(tables)
    } else {
        None
    };
    let marker = Marker { state: State::Copying, backup: manifest.id.clone(), epoch: manifest.epoch.clone() };
    marker.write(&target.data_dir)?;
    progress.expect(manifest.files.len() as u64, manifest.bytes());
    progress.stage("copying");
    let to = Stores { own, tables };
    let copies = stream::iter(manifest.files.clone());
    let copies = copies.map(|file| one(destination, &manifest.id, file, &to, progress));
    copies.buffer_unordered(FILES_AT_ONCE).try_collect::<()>().await?;
    fail::fail_point!("restore-before-marker");
    Marker { state: State::Copied, ..marker }.write(&target.data_dir)?;
    progress.stage("done");
    Ok(())
}

/// Where the files go.
struct Stores {
    own: Arc<dyn ObjectStore>,
    /// The tables, where they are not in the data directory.
    tables: Option<Arc<dyn ObjectStore>>,
}

async fn one(
    destination: &Destination,
    id: &BackupId,
    file: Entry,
    to: &Stores,
    progress: &Progress,
) -> Result<()> {
    let (store, path) = match (&to.tables, file.path.strip_prefix(TABLES)) {
        (Some(tables), Some(path)) => (tables, path),
        _ => (&to.own, file.path.as_str()),
    };
    let location = Path::parse(path).map_err(object_store::Error::from)?;
    let place = file.place(id)?;
    let input = Input::Object(&*destination.store, &place);
    match transfer_checked(input, file.bytes, Some(file.crc32c), &**store, &location).await {
        Ok(_) => {
            progress.done(file.bytes, true);
            Ok(())
        }
        Err(Error::ObjectStore(object_store::Error::NotFound { .. })) => {
            Err(Error::NotFound(format!("the backup {id} has lost {place}: choose another backup")))
        }
        // It reads beyond the end of a file that was cut.
        Err(Error::ObjectStore(error)) if destination.is_short(&place, file.bytes).await => {
            tracing::debug!(%error, "the file could not be read");
            Err(Error::Damaged(format!(
                "{place} is damaged: it had {} bytes: choose another backup",
                file.bytes
            )))
        }
        Err(error) => Err(error),
    }
}

/// Makes sure that nothing is overwritten.
fn refuse_content(data_dir: &FsPath) -> Result<()> {
    let entries = match std::fs::read_dir(data_dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(Error::io("list", data_dir))?,
    };
    match entries.flatten().next() {
        None => Ok(()),
        Some(entry) => Err(Error::Invalid(format!(
            "{} is not empty, it holds {:?}: restore into an empty directory, and keep the old one until you are sure",
            data_dir.display(),
            entry.file_name()
        ))),
    }
}

async fn refuse_objects(store: &dyn ObjectStore) -> Result<()> {
    match store.list(None).try_next().await? {
        None => Ok(()),
        Some(object) => Err(Error::Invalid(format!(
            "the place of the tables is not empty, it holds {}: set store.url to a prefix that is",
            object.location
        ))),
    }
}
