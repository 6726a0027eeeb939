//! The staging area: Parquet files on the local disk, synced, on their way to their tables.
//!
//! A *set* is what one table's sealed memtable became: one file per partition, and a manifest `<set>.json` that is
//! written last. Invariant (TXN-2): a set with a manifest is complete, and its files are what the manifest
//! says; files without a manifest are leftovers of a crash and are removed at the start.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use crate::disk::{self, Disk};
use crate::engine::{Layout, Shared};
use crate::error::{Error, Result};
use crate::flush::signed;
use crate::layout;
use crate::memtable::{RowFilter, SealedMemtable, sort_rows};
use crate::model::{
    DataFile, FilePlace, Partition, Sequence, SequenceRange, TableId, TableSchema, TimeRange, Timestamp,
};
use crate::parquet_file;
use crate::rows::SortedRows;
use crate::tombstone::{Tombstones, last_of};

/// One table's rows of one seal, as files.
#[derive(Debug)]
pub(crate) struct StagedSet {
    /// The table.
    pub(crate) table: TableId,
    /// The sequence at which the rows were sealed.
    pub(crate) sealed_at: Sequence,
    /// The files, one per partition.
    pub(crate) files: Vec<Arc<DataFile>>,
}

/// The folder of staged files.
pub(crate) struct StagingArea<'a> {
    shared: &'a Shared,
    folder: PathBuf,
}

/// A manifest as it stands on the disk.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    table: u32,
    sealed_at: u64,
    /// The last delete that was applied to the rows; manifests from before there were deletes lack it.
    #[serde(default)]
    deleted_up_to: u64,
    files: Vec<ManifestFile>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ManifestFile {
    name: String,
    date: i32,
    rows: u64,
    bytes: u64,
    /// CRC-32C of the whole file.
    checksum: u32,
    min_time: i64,
    max_time: i64,
    min_sequence: u64,
    max_sequence: u64,
    stats: String,
}

/// Sorts a sealed memtable, leaves out what is deleted, writes and syncs its files, and changes the view from the one to
/// the other. A delete that comes meanwhile is not applied, which the files say.
pub(super) async fn stage(
    shared: Arc<Shared>,
    table: TableId,
    sealed: Arc<SealedMemtable>,
) -> Result<StagedSet> {
    let work = Arc::clone(&sealed);
    let for_write = Arc::clone(&shared);
    let deletes = Deletes::of(&shared, table, &sealed);
    let write = move || StagingArea::new(&for_write).write(table, &work, &deletes);
    let written = tokio::task::spawn_blocking(write).await;
    let set = written.map_err(|error| Error::Internal(format!("staging ended badly: {error}")))??;
    set.files.iter().for_each(|file| shared.disk_use.add_staged(file));
    shared.view.change(table, |view| {
        view.sealed.retain(|other| !Arc::ptr_eq(other, &sealed));
        view.files.extend(set.files.iter().cloned());
    });
    shared.memory.fetch_sub(sealed.rows.bytes(), Ordering::Relaxed);
    Ok(set)
}

/// The deletes that are known when a memtable is staged.
struct Deletes {
    /// Those that may hide rows of it.
    tombstones: Tombstones,
    /// The last of all.
    up_to: Sequence,
}

impl Deletes {
    fn of(shared: &Shared, table: TableId, sealed: &SealedMemtable) -> Self {
        let snapshot = shared.view.snapshot();
        let view = snapshot.table(table);
        let tombstones = view.map(|view| view.tombstones_of_sealed(sealed)).unwrap_or_default();
        Self { tombstones, up_to: view.map(|view| last_of(&view.tombstones)).unwrap_or_default() }
    }
}

impl<'a> StagingArea<'a> {
    /// The staging area of an engine.
    pub(crate) fn new(shared: &'a Shared) -> Self {
        Self { shared, folder: Layout(&shared.config.data_dir).staged() }
    }

    /// The complete sets of an earlier run in the order of their seals. Those for which `is_published` holds,
    /// and files without a manifest, are removed.
    pub(crate) fn adopt(&self, is_published: impl Fn(&StagedSet) -> bool) -> Result<Vec<StagedSet>> {
        let names = self.shared.config.disk.list(&self.folder)?;
        let mut sets = Vec::new();
        for name in names.iter().filter(|name| name.ends_with(".json")) {
            let set = read_set(self.disk(), &self.folder, name)?;
            if is_published(&set) {
                self.remove_manifest(&set)?;
            } else {
                set.files.iter().for_each(|file| self.shared.disk_use.add_staged(file));
                sets.push(set);
            }
        }
        sets.sort_by_key(|set| set.sealed_at);
        let kept: Vec<&str> = sets.iter().flat_map(|set| set.files.iter().map(|f| f.path.as_ref())).collect();
        for name in names.iter().filter(|name| !name.ends_with(".json") && !kept.contains(&name.as_str())) {
            self.shared.config.disk.remove(&self.folder.join(name))?;
        }
        self.shared.config.disk.sync_folder(&self.folder)?;
        Ok(sets)
    }

    /// Forgets a set that is in its table: from now on its files are leftovers.
    pub(super) fn remove_manifest(&self, set: &StagedSet) -> Result<()> {
        match self.disk().remove(&self.folder.join(manifest_name(set.table, set.sealed_at))) {
            // An earlier try has removed it, and failed to sync that.
            Err(error) if error.io_kind() != Some(ErrorKind::NotFound) => Err(error),
            Ok(()) | Err(_) => self.disk().sync_folder(&self.folder),
        }
    }

    /// The name and the bytes of a set's manifest; `None` when the set is published.
    pub(crate) fn manifest(&self, set: &StagedSet) -> Result<Option<(String, Vec<u8>)>> {
        let name = manifest_name(set.table, set.sealed_at);
        match disk::read_file(self.disk(), &self.folder.join(&name)) {
            Ok(bytes) => Ok(Some((name, bytes))),
            Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The disk that it lies on.
    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.shared.config.disk
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a file of this name lies.
    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Removes a file that no set names any more.
    pub(crate) fn remove(&self, file: &DataFile) -> Result<()> {
        self.shared.config.disk.remove(&self.path_of(file.path.as_ref()))?;
        self.shared.disk_use.remove_staged(file);
        Ok(())
    }

    fn write(&self, table: TableId, sealed: &SealedMemtable, deletes: &Deletes) -> Result<StagedSet> {
        let schema = self.shared.schema(table)?;
        let sequences =
            sealed.rows.sequences().unwrap_or(SequenceRange { min: sealed.sealed_at, max: sealed.sealed_at });
        let rows = sort_rows(std::iter::once(&*sealed.rows), &schema, &self.shared.series, RowFilter::ALL)?;
        let rows = rows.without(&deletes.tombstones, &schema)?;
        self.withdraw_manifest(table, sealed.sealed_at)?;
        let mut files = Vec::new();
        let dates = dates(schema.partition, &rows.times);
        for date in &dates {
            // Usually all rows are of one partition, and then none of their columns is copied.
            let part = if dates.len() == 1 {
                Cow::Borrowed(&rows)
            } else {
                Cow::Owned(rows.within(layout::partition_times(schema.partition, *date))?)
            };
            files.push(self.write_file(&schema, &part, *date, sequences)?);
        }
        fail::fail_point!("staged-before-manifest");
        let (sealed_at, deleted_up_to) = (sealed.sealed_at.get(), deletes.up_to.get());
        let manifest = Manifest { table: table.get(), sealed_at, deleted_up_to, files };
        self.write_manifest(&manifest)?;
        fail::fail_point!("staged-after-manifest");
        Ok(manifest.into_set())
    }

    /// Takes back the manifest of an earlier try that failed after its rename: it names files of these names, and
    /// theirs will be other bytes if the table has got a column since.
    fn withdraw_manifest(&self, table: TableId, sealed_at: Sequence) -> Result<()> {
        match self.disk().remove(&self.folder.join(manifest_name(table, sealed_at))) {
            Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => self.disk().sync_folder(&self.folder),
        }
    }

    fn write_file(
        &self,
        schema: &TableSchema,
        rows: &SortedRows,
        date: i32,
        sequences: SequenceRange,
    ) -> Result<ManifestFile> {
        let (min, max) = (sequences.min.get(), sequences.max.get());
        let name = format!("{:08x}-{min:016x}-{max:016x}-{date}.parquet", schema.id.get());
        let path = self.folder.join(&name);
        let written = parquet_file::write(self.disk(), &path, schema, rows)?;
        Ok(ManifestFile {
            name,
            date,
            rows: written.rows,
            bytes: written.bytes,
            checksum: written.checksum,
            min_time: written.times.min.nanos(),
            max_time: written.times.max.nanos(),
            min_sequence: min,
            max_sequence: max,
            stats: written.stats,
        })
    }

    /// Written beside, synced and renamed, so that it is there as a whole or not at all.
    fn write_manifest(&self, manifest: &Manifest) -> Result<()> {
        let disk = &self.shared.config.disk;
        let name = manifest_name(TableId::new(manifest.table), Sequence::new(manifest.sealed_at));
        let fresh = self.folder.join(format!("{name}.new"));
        let bytes = serde_json::to_vec(manifest).map_err(|error| Error::Internal(error.to_string()))?;
        let bytes = signed::sign(bytes);
        let file = disk.open(&fresh, true)?;
        file.set_length(0)?;
        file.write_at(0, &bytes)?;
        file.sync()?;
        disk.rename(&fresh, &self.folder.join(name))?;
        disk.sync_folder(&self.folder)
    }
}

/// Reads a manifest and the files that it names, and changes nothing. Returns the bytes of the files.
///
/// # Errors
/// [`Error::Damaged`] names the file that is not what was written.
pub(crate) fn verify(disk: &dyn Disk, folder: &Path, name: &str) -> Result<u64> {
    Ok(read_set(disk, folder, name)?.files.iter().map(|file| file.bytes).sum())
}

fn read_set(disk: &dyn Disk, folder: &Path, name: &str) -> Result<StagedSet> {
    let path = folder.join(name);
    let bytes = disk::read_file(disk, &path)?;
    let manifest: Manifest = serde_json::from_slice(signed::content(&path, &bytes)?)
        .map_err(|error| Error::Damaged(format!("{} is not a manifest: {error}", path.display())))?;
    for file in &manifest.files {
        let path = folder.join(&file.name);
        if checksum_of(disk, &path)? != file.checksum {
            return Err(Error::Damaged(format!(
                "{} is not what was staged: remove it and its manifest to replay its rows from the log",
                path.display()
            )));
        }
    }
    Ok(manifest.into_set())
}

impl Manifest {
    fn into_set(self) -> StagedSet {
        let files = self.files.into_iter().map(|file| {
            Arc::new(DataFile {
                place: FilePlace::Staged,
                path: object_store::path::Path::from(file.name),
                date: file.date,
                rows: file.rows,
                bytes: file.bytes,
                checksum: file.checksum,
                times: TimeRange::new(
                    Timestamp::from_nanos(file.min_time),
                    Timestamp::from_nanos(file.max_time),
                ),
                sequences: SequenceRange {
                    min: Sequence::new(file.min_sequence),
                    max: Sequence::new(file.max_sequence),
                },
                deleted_up_to: Sequence::new(self.deleted_up_to),
                stats: file.stats,
            })
        });
        StagedSet {
            table: TableId::new(self.table),
            sealed_at: Sequence::new(self.sealed_at),
            files: files.collect(),
        }
    }
}

fn manifest_name(table: TableId, sealed_at: Sequence) -> String {
    format!("{:08x}-{:016x}.json", table.get(), sealed_at.get())
}

/// CRC-32C of a whole file.
pub(crate) fn checksum_of(disk: &dyn Disk, path: &Path) -> Result<u32> {
    let file = disk.open_to_read(path)?;
    let mut buffer = vec![0; 1 << 18];
    let (mut checksum, mut offset) = (0, 0);
    loop {
        let read = file.read_at(offset, &mut buffer)?;
        match buffer.get(..read) {
            None | Some([]) => return Ok(checksum),
            Some(bytes) => checksum = crc32c::crc32c_append(checksum, bytes),
        }
        offset += read as u64;
    }
}

/// The partitions in which there are rows.
fn dates(unit: Partition, times: &[i64]) -> BTreeSet<i32> {
    let mut dates = BTreeSet::new();
    // Neighbours mostly have one partition.
    let mut current = None;
    for time in times.iter().map(|time| Timestamp::from_nanos(*time)) {
        if !current.is_some_and(|times: TimeRange| times.contains(time)) {
            let date = layout::partition_of(unit, time);
            dates.insert(date);
            current = Some(layout::partition_times(unit, date));
        }
    }
    dates
}
