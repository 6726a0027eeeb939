//! Copies what a cut names to the place of backups.
//!
//! Invariant: a file is in the list only when its copy is durable and has the checksum that the list says.

use std::path::Path as FsPath;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use object_store::path::Path;

use super::destination::Destination;
use super::manifest::{BackupId, Entry, TABLES};
use super::progress::Progress;
use crate::delta::parts_of_version;
use crate::disk::{Disk as _, LocalDisk};
use crate::engine::cut::{Cut, TABLE_LOG, TableCut};
use crate::error::{Error, Result};
use crate::model::DataFile;
use crate::object::{Input, transfer_checked};
use crate::registry;
use crate::stream::FrozenStream;

/// Files that are copied at a time: enough to hide the latency of a store or of a sync; each holds some parts in memory.
const FILES_AT_ONCE: usize = 4;

/// Small objects that are copied at a time.
const OBJECTS_AT_ONCE: usize = 16;

/// The registry's database, in its folder.
const REGISTRY: &str = "registry.sqlite";

/// A backup on its way.
#[derive(Debug)]
pub(super) struct Copying<'a> {
    destination: &'a Destination,
    id: BackupId,
    progress: &'a Progress,
    files: Vec<Entry>,
}

impl<'a> Copying<'a> {
    pub(super) fn new(destination: &'a Destination, id: BackupId, progress: &'a Progress) -> Self {
        Self { destination, id, progress, files: Vec::new() }
    }

    pub(super) fn into_files(self) -> Vec<Entry> {
        self.files
    }

    /// Everything that must be copied before the log may be trimmed.
    pub(super) async fn log(&mut self, cut: &Cut) -> Result<()> {
        for stream in &cut.streams {
            self.stream(cut.data_dir(), stream).await?;
        }
        self.own("log/epoch".into(), Input::Memory(Bytes::from(cut.epoch.to_string())), 36).await?;
        for (at, name) in cut.log.segments.iter().enumerate() {
            let file = cut.disk().open_to_read(&cut.segment(name))?;
            let is_last = at + 1 == cut.log.segments.len();
            let bytes = if is_last { cut.log.last_bytes } else { file.length()? };
            self.own(format!("log/{name}"), Input::File(Arc::from(file)), bytes).await?;
        }
        if let Some((file, bytes)) = &cut.definitions {
            self.own("definitions.log".into(), Input::File(Arc::clone(file)), *bytes).await?;
        }
        for staged in &cut.staged {
            for file in &staged.set.files {
                let open = cut.disk().open_to_read(&cut.staged_file(file))?;
                let path = format!("staged/{}", file.path);
                self.copied(path, Input::File(Arc::from(open)), file.bytes, Some(file.checksum)).await?;
            }
            let (name, bytes) = &staged.manifest;
            let length = bytes.len() as u64;
            self.own(format!("staged/{name}"), Input::Memory(Bytes::from(bytes.clone())), length).await?;
        }
        Ok(())
    }

    async fn stream(&mut self, data_dir: &FsPath, stream: &FrozenStream) -> Result<()> {
        let folder = stream.folder.strip_prefix(data_dir).map_err(|_| {
            Error::Internal(format!("the stream {} is not in the data directory", stream.folder.display()))
        })?;
        let folder = folder.to_string_lossy();
        for segment in &stream.segments {
            self.own(
                format!("{folder}/{}", segment.name),
                Input::File(Arc::clone(&segment.file)),
                segment.bytes,
            )
            .await?;
        }
        Ok(())
    }

    /// The registry, as of now: what it says is joined to rows by their time, not by a sequence.
    pub(super) async fn registry(&mut self, data_dir: &FsPath) -> Result<()> {
        let folder = data_dir.join("registry");
        let from = folder.join(REGISTRY);
        if !from.exists() {
            return Ok(());
        }
        let copy = Temporary(folder.join("backup.sqlite"));
        copy.remove()?;
        let copied = registry::copy(&from, &copy.0).await;
        copied.map_err(|error| Error::Internal(format!("the registry could not be copied: {error}")))?;
        let file = LocalDisk.open_to_read(&copy.0)?;
        let bytes = file.length()?;
        self.own(format!("registry/{REGISTRY}"), Input::File(Arc::from(file)), bytes).await
    }

    /// The logs of the tables, and what lies beside them.
    pub(super) async fn table_logs(&mut self, cut: &Cut) -> Result<()> {
        let store: &dyn ObjectStore = &**cut.table_store();
        for table in &cut.tables {
            for (path, bytes) in &table.beside {
                let length = bytes.len() as u64;
                self.own(format!("{TABLES}{path}"), Input::Memory(bytes.clone()), length).await?;
            }
            let objects = log_objects(store, table).await?;
            self.progress.expect(objects.len() as u64, objects.iter().map(|(_, bytes)| bytes).sum());
            let this = &*self;
            let copies = stream::iter(objects).map(|(path, bytes)| async move {
                this.put(format!("{TABLES}{path}"), Input::Object(store, &path), bytes, None).await
            });
            let copied: Vec<Entry> = copies.buffer_unordered(OBJECTS_AT_ONCE).try_collect().await?;
            self.files.extend(copied);
        }
        Ok(())
    }

    /// The data files of the tables, unless they are there.
    pub(super) async fn data_files(&mut self, cut: &mut Cut) -> Result<()> {
        let files: Vec<DataFile> =
            cut.tables.iter_mut().flat_map(|table| std::mem::take(&mut table.files)).collect();
        self.progress.expect(files.len() as u64, files.iter().map(|file| file.bytes).sum());
        let store: &dyn ObjectStore = &**cut.table_store();
        let present = self.destination.shared().await?;
        let (this, present) = (&*self, &present);
        let copies = stream::iter(files).map(|file| this.data_file(store, file, present));
        let copied: Vec<Entry> = copies.buffer_unordered(FILES_AT_ONCE).try_collect().await?;
        self.files.extend(copied);
        Ok(())
    }

    async fn data_file(
        &self,
        store: &dyn ObjectStore,
        file: DataFile,
        present: &hashbrown::HashMap<Path, u64>,
    ) -> Result<Entry> {
        let path = format!("{TABLES}{}", file.path);
        let entry = Entry { path, bytes: file.bytes, crc32c: file.checksum, shared: true };
        let place = entry.place(&self.id)?;
        let is_there = present.get(&place) == Some(&file.bytes);
        if !is_there {
            let input = Input::Object(store, &file.path);
            transfer_checked(input, file.bytes, Some(file.checksum), &*self.destination.store, &place)
                .await?;
        }
        self.progress.done(file.bytes, !is_there);
        Ok(entry)
    }

    /// Copies a file that is this backup's own.
    async fn own(&mut self, path: String, input: Input<'_>, bytes: u64) -> Result<()> {
        self.copied(path, input, bytes, None).await
    }

    async fn copied(
        &mut self,
        path: String,
        input: Input<'_>,
        bytes: u64,
        expected: Option<u32>,
    ) -> Result<()> {
        self.progress.expect(1, bytes);
        let entry = self.put(path, input, bytes, expected).await?;
        self.files.push(entry);
        Ok(())
    }

    async fn put(&self, path: String, input: Input<'_>, bytes: u64, expected: Option<u32>) -> Result<Entry> {
        let mut entry = Entry { path, bytes, crc32c: 0, shared: false };
        let place = entry.place(&self.id)?;
        entry.crc32c = transfer_checked(input, bytes, expected, &*self.destination.store, &place).await?;
        self.progress.done(bytes, true);
        Ok(entry)
    }
}

/// The objects of a table's log that its version needs, with their sizes.
async fn log_objects(store: &dyn ObjectStore, table: &TableCut) -> Result<Vec<(Path, u64)>> {
    let log = table.folder.clone().join(TABLE_LOG);
    let listed = store.list_with_delimiter(Some(&log)).await?.objects;
    let names = listed.iter().filter_map(|object| object.location.filename());
    let needed = parts_of_version(table.folder.as_ref(), names, table.version)?;
    let is_needed =
        |path: &Path| path.filename().is_some_and(|name| needed.iter().any(|wanted| wanted == name));
    Ok(listed.into_iter().filter(|o| is_needed(&o.location)).map(|o| (o.location, o.size)).collect())
}

/// A file of ours that goes when we do.
struct Temporary(std::path::PathBuf);

impl Temporary {
    fn remove(&self) -> Result<()> {
        match std::fs::remove_file(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", &self.0)(error))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::warn!(%error, "a temporary copy of the registry stays until the next backup");
        }
    }
}
