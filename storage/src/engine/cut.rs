//! A cut: everything that makes up the engine's state at one moment, kept until a backup has copied it.
//!
//! The order is what makes it one state:
//! 1. The log and the objects of the tables are held, so that what is named below stays.
//! 2. The streams are frozen. All that they say of the log is at or below a frame that is durable now.
//! 3. No flush runs. The staged sets and the version of each table are taken: their rows, too, were durable before.
//! 4. The log's end is taken. It is behind everything in 2 and 3, and the log holds every row that is not in 3.
//!
//! So opening a copy is opening after a crash at the moment of step 4: rows that the rules had not seen by step 2 are
//! replayed to them, and a transition that was recorded is recorded once. Between 2 and 4 nothing that was said to be
//! durable is left out.

use std::future::Future;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::sync::OwnedMutexGuard;

use super::hold::Held;
use super::{Engine, Layout, Shared};
use crate::clock;
use crate::disk::{Disk, DiskFile};
use crate::error::Result;
use crate::flush::{StagedSet, StagingArea};
use crate::layout::{DATE_COLUMN, table_folder};
use crate::log::{Epoch, LogCut};
use crate::model::{DataFile, TableSchema};
use crate::stream::FrozenStream;

/// Tables looked at at a time: it is waited for the store, not for the processor.
const TABLES_AT_ONCE: usize = 16;

/// The folder of a table's log.
pub(crate) const TABLE_LOG: &str = "_delta_log";

/// The engine's state at one moment. What it names is there until it is dropped.
#[derive(Debug)]
pub(crate) struct Cut {
    /// When it was.
    pub(crate) unix_millis: u64,
    pub(crate) epoch: Epoch,
    pub(crate) log: LogCut,
    /// The open `definitions.log`, and how much of it counts.
    pub(crate) definitions: Option<(Arc<dyn DiskFile>, u64)>,
    pub(crate) streams: Vec<FrozenStream>,
    pub(crate) staged: Vec<StagedCut>,
    pub(crate) tables: Vec<TableCut>,
    shared: Arc<Shared>,
    log_hold: Option<Held>,
    _history: Held,
    _objects: OwnedMutexGuard<()>,
}

/// A staged set: its files, and its manifest by name and bytes.
#[derive(Debug)]
pub(crate) struct StagedCut {
    pub(crate) set: Arc<StagedSet>,
    pub(crate) manifest: (String, Vec<u8>),
}

/// One version of a table.
#[derive(Debug)]
pub(crate) struct TableCut {
    pub(crate) folder: Path,
    pub(crate) version: u64,
    pub(crate) files: Vec<DataFile>,
    /// Small objects beside its log and its partitions.
    pub(crate) beside: Vec<(Path, bytes::Bytes)>,
}

impl Engine {
    /// Takes a cut. `streams` freezes the streams of those that follow the log, once it is waited for.
    ///
    /// # Errors
    /// That of `streams`; the failure of disk or object store.
    pub(crate) async fn cut(
        &self,
        streams: impl Future<Output = Result<Vec<FrozenStream>>> + Send,
    ) -> Result<Cut> {
        let shared = &self.shared;
        let objects = shared.holds.keep_objects().await;
        let (history, log_hold) = (shared.tables.hold_history(), shared.holds.log.hold());
        // A round that began before may still trim.
        drop(self.flusher.pause().await);
        let streams = streams.await?;
        let paused = self.flusher.pause().await;
        let staged = staged(shared, paused.staged())?;
        let tables = tables(shared).await?;
        let definitions = definitions(shared)?;
        let log = shared.log.lock().cut();
        let unix_millis = clock::now().unix_millis();
        drop(paused);
        Ok(Cut {
            unix_millis,
            epoch: shared.epoch,
            log,
            definitions,
            streams,
            staged,
            tables,
            shared: Arc::clone(shared),
            log_hold: Some(log_hold),
            _history: history,
            _objects: objects,
        })
    }
}

impl Cut {
    /// The path of a segment of the log.
    pub(crate) fn segment(&self, name: &str) -> PathBuf {
        Layout(&self.shared.config.data_dir).log().join(name)
    }

    /// The path of a staged file.
    pub(crate) fn staged_file(&self, file: &DataFile) -> PathBuf {
        Layout(&self.shared.config.data_dir).staged().join(file.path.as_ref())
    }

    /// The store of the tables.
    pub(crate) fn table_store(&self) -> &Arc<dyn ObjectStore> {
        &self.shared.table_store
    }

    /// The disk of log and staged files.
    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.shared.config.disk
    }

    /// The data directory.
    pub(crate) fn data_dir(&self) -> &FsPath {
        &self.shared.config.data_dir
    }

    /// Lets the log be trimmed, once log and staged files are copied.
    pub(crate) fn release_log(&mut self) {
        self.log_hold = None;
        self.staged.clear();
    }
}

fn staged(shared: &Shared, sets: Vec<Arc<StagedSet>>) -> Result<Vec<StagedCut>> {
    let area = StagingArea::new(shared);
    let with_manifest = |set: Arc<StagedSet>| {
        let manifest = area.manifest(&set).transpose()?;
        Some(manifest.map(|manifest| StagedCut { set, manifest }))
    };
    sets.into_iter().filter_map(with_manifest).collect()
}

fn definitions(shared: &Shared) -> Result<Option<(Arc<dyn DiskFile>, u64)>> {
    let path = Layout(&shared.config.data_dir).definitions();
    match shared.config.disk.open_to_read(&path) {
        Ok(file) => {
            let bytes = file.length()?;
            Ok(Some((Arc::from(file), bytes)))
        }
        Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn tables(shared: &Shared) -> Result<Vec<TableCut>> {
    let cuts =
        shared.catalog.all_tables().into_iter().map(|schema| async move { table(shared, &schema).await });
    let cuts: Vec<Result<Option<TableCut>>> =
        stream::iter(cuts).buffer_unordered(TABLES_AT_ONCE).collect().await;
    cuts.into_iter().filter_map(Result::transpose).collect()
}

/// A table as it is now; `None` while none of its rows is in files.
async fn table(shared: &Shared, schema: &TableSchema) -> Result<Option<TableCut>> {
    let folder = table_folder(schema);
    // It is held until what lies beside is read: a merge that comes between would take from there the deletes that it
    // has applied, and this version has not.
    let Some(log) = shared.tables.take(schema).await? else { return Ok(None) };
    let (version, files) = (log.version(), log.files()?);
    fail::fail_point!("backup-before-deletes");
    let beside = beside(&*shared.table_store, &folder).await?;
    Ok(Some(TableCut { folder, version, files, beside }))
}

/// What lies in a table's folder beside its log and its partitions: what is kept of deletes, for instance.
async fn beside(store: &dyn ObjectStore, folder: &Path) -> Result<Vec<(Path, bytes::Bytes)>> {
    let listed = store.list_with_delimiter(Some(folder)).await?;
    let mut paths: Vec<Path> = listed.objects.into_iter().map(|object| object.location).collect();
    for below in listed.common_prefixes {
        let is_known = |name: &str| name == TABLE_LOG || name.starts_with(DATE_COLUMN);
        if below.filename().is_some_and(is_known) {
            continue;
        }
        let objects: Vec<_> = store.list(Some(&below)).try_collect().await?;
        paths.extend(objects.into_iter().map(|object| object.location));
    }
    let mut beside = Vec::with_capacity(paths.len());
    for path in paths {
        match store.get(&path).await {
            Ok(found) => beside.push((path, found.bytes().await?)),
            // A delete that this version has applied, too.
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(beside)
}
