//! The place of backups: a folder or a prefix of a bucket, with any number of backups of one data directory.
//!
//! ```text
//! {id}/manifest.json                 what the backup is; written last
//! {id}/data/…                        its own files, by their path in the data directory
//! files/{table}/{partition}/{name}.{crc32c}     data files of tables, which never change: backups share them
//! ```
//!
//! Invariants: a folder without a manifest is no backup. A shared file goes only when no manifest names it, and none at
//! all while there is a folder without a manifest that may still get one. One engine writes to one place.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use hashbrown::HashMap;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload};

use super::manifest::{BackupId, MANIFEST, Manifest, SHARED};
use crate::clock;
use crate::disk::{Disk as _, LocalDisk};
use crate::error::{Error, Result};
use crate::model::Sequence;
use crate::object::{DurableLocalStore, S3Config, StoreSettings, TableStore};

/// A backup that has not finished within this time never will: its files are removed with the old ones.
const UNFINISHED_KEPT: Duration = Duration::from_secs(86_400);

/// Where backups are.
#[derive(Debug, Clone)]
pub enum Place {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A prefix of an S3 bucket.
    S3(S3Config),
    /// A store itself, in tests.
    Given(Arc<dyn ObjectStore>),
}

/// An open place of backups.
#[derive(Debug, Clone)]
pub struct Destination {
    pub(super) store: Arc<dyn ObjectStore>,
    folder: Option<PathBuf>,
    name: String,
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Destination {
    /// Opens a place to write to; a folder is made if it is missing. `data_dir` must lie beside it: a backup within what
    /// it is of would be lost with it. Blocks.
    ///
    /// # Errors
    /// [`Error::Invalid`] when one lies within the other; the failure of the disk; what is wrong with the settings of S3.
    pub fn open(place: &Place, data_dir: &FsPath) -> Result<Self> {
        let Place::Folder(folder) = place else { return Self::open_to_read(place) };
        let whole = |path: &FsPath| std::path::absolute(path).map_err(Error::io("find", path));
        refuse_nested(&whole(folder)?, &whole(data_dir)?)?;
        // Made, and looked at once more: only what exists shows where its links lead.
        LocalDisk.create_folder(folder)?;
        let resolved = |path: &FsPath| path.canonicalize().map_err(Error::io("find", path));
        refuse_nested(&resolved(folder)?, &resolved(data_dir)?)?;
        let store: Arc<dyn ObjectStore> = Arc::new(DurableLocalStore::open(folder)?);
        Ok(Self { store, name: folder.display().to_string(), folder: Some(folder.clone()) })
    }

    /// Opens a place to read from, whoever writes to it meanwhile.
    ///
    /// # Errors
    /// There is no such folder; what is wrong with the settings of S3.
    pub fn open_to_read(place: &Place) -> Result<Self> {
        let (store, name): (Arc<dyn ObjectStore>, String) = match place {
            Place::Folder(folder) => {
                (Arc::new(DurableLocalStore::open_to_read(folder)?), folder.display().to_string())
            }
            Place::S3(config) => {
                let name = format!("s3://{}/{}", config.bucket, config.prefix);
                let settings =
                    StoreSettings { tables: TableStore::S3(config.clone()), ..StoreSettings::default() };
                (settings.open(Arc::new(LocalDisk), FsPath::new(""), FsPath::new(""))?, name)
            }
            Place::Given(store) => (Arc::clone(store), store.to_string()),
        };
        Ok(Self { store, name, folder: None })
    }

    /// The names of all whole backups, oldest first.
    ///
    /// # Errors
    /// The failure of the store.
    pub async fn ids(&self) -> Result<Vec<BackupId>> {
        Ok(self.folders().await?.into_iter().filter(|(_, is_whole)| *is_whole).map(|(id, _)| id).collect())
    }

    /// One backup.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none of this name; [`Error::Damaged`] when its manifest is not what was written;
    /// the failure of the store.
    pub async fn manifest(&self, id: &BackupId) -> Result<Manifest> {
        let place = id.place(MANIFEST)?;
        match self.store.get(&place).await {
            Ok(found) => Manifest::from_bytes(&place, &found.bytes().await?),
            Err(object_store::Error::NotFound { .. }) => {
                Err(Error::NotFound(format!("there is no backup {id} in {self}")))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The newest backup that was taken at `unix_millis` or before.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none; else as [`manifest`](Self::manifest).
    pub async fn newest(&self, unix_millis: Option<u64>) -> Result<Manifest> {
        let limit = unix_millis.map(|until| BackupId::new(until.saturating_add(1), Sequence::ZERO));
        let ids = self.ids().await?;
        let newest = ids.iter().rev().find(|id| limit.as_ref().is_none_or(|limit| *id < limit));
        match newest {
            Some(id) => self.manifest(id).await,
            None if ids.is_empty() => Err(Error::NotFound(format!("there is no backup in {self}"))),
            None => Err(Error::NotFound(format!("every backup in {self} is newer than that"))),
        }
    }

    /// Makes a backup whole.
    pub(super) async fn finish(&self, manifest: &Manifest) -> Result<()> {
        let payload = PutPayload::from(manifest.to_bytes()?);
        self.store.put_opts(&manifest.id.place(MANIFEST)?, payload, PutMode::Create.into()).await?;
        Ok(())
    }

    /// The shared files that are there, with their sizes.
    pub(super) async fn shared(&self) -> Result<HashMap<Path, u64>> {
        let listed = self.store.list(Some(&Path::from(SHARED)));
        Ok(listed.map_ok(|object| (object.location, object.size)).try_collect().await?)
    }

    /// Drops all but the newest `keep` backups, what unfinished ones have left, and the files that no backup wants any
    /// more. Returns the number of backups that were dropped.
    ///
    /// # Errors
    /// A manifest that is kept cannot be read, so nobody knows what it wants; the failure of the store.
    pub async fn keep_newest(&self, keep: usize) -> Result<usize> {
        let folders = self.folders().await?;
        let whole: Vec<&BackupId> =
            folders.iter().filter(|(_, is_whole)| *is_whole).map(|(id, _)| id).collect();
        let old = whole.len().saturating_sub(keep.max(1));
        let kept = u64::try_from(UNFINISHED_KEPT.as_millis()).unwrap_or(u64::MAX);
        let given_up = BackupId::new(clock::now().unix_millis().saturating_sub(kept), Sequence::ZERO);
        let unfinished = || folders.iter().filter(|(_, is_whole)| !*is_whole).map(|(id, _)| id);
        let mut wanted = HashSet::new();
        for id in whole.iter().skip(old) {
            for file in self.manifest(id).await?.files.iter().filter(|file| file.shared) {
                wanted.insert(file.place(id)?);
            }
        }
        for id in whole.iter().copied().take(old).chain(unfinished().filter(|id| **id < given_up)) {
            self.drop_folder(id).await?;
        }
        if unfinished().all(|id| *id < given_up) {
            for place in self.shared().await?.into_keys().filter(|place| !wanted.contains(place)) {
                self.store.delete(&place).await?;
            }
        }
        Ok(old)
    }

    /// Whether an object is there with fewer bytes.
    pub(super) async fn is_short(&self, place: &Path, bytes: u64) -> bool {
        self.store.head(place).await.is_ok_and(|found| found.size < bytes)
    }

    /// The folders of backups, oldest first, and whether each has a manifest.
    async fn folders(&self) -> Result<Vec<(BackupId, bool)>> {
        let listed = self.store.list_with_delimiter(None).await?;
        let ids = listed.common_prefixes.iter().filter_map(|path| BackupId::parse(path.filename()?));
        let mut folders = Vec::new();
        for id in ids {
            match self.store.head(&id.place(MANIFEST)?).await {
                Ok(_) => folders.push((id, true)),
                Err(object_store::Error::NotFound { .. }) => folders.push((id, false)),
                Err(error) => return Err(error.into()),
            }
        }
        folders.sort_unstable();
        Ok(folders)
    }

    /// Removes a backup's own files, its manifest first: from then on it is none.
    async fn drop_folder(&self, id: &BackupId) -> Result<()> {
        match self.store.delete(&id.place(MANIFEST)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(folder) = &self.folder {
            let own = folder.join(id.as_str());
            return std::fs::remove_dir_all(&own).map_err(Error::io("remove", own));
        }
        let own = Path::parse(id.as_str()).map_err(object_store::Error::from)?;
        let objects: Vec<Path> =
            self.store.list(Some(&own)).map_ok(|object| object.location).try_collect().await?;
        for object in objects {
            self.store.delete(&object).await?;
        }
        Ok(())
    }
}

fn refuse_nested(folder: &FsPath, data_dir: &FsPath) -> Result<()> {
    if !folder.starts_with(data_dir) && !data_dir.starts_with(folder) {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "{} and the data directory {} lie within one another; choose a folder elsewhere, best on another disk",
        folder.display(),
        data_dir.display()
    )))
}
