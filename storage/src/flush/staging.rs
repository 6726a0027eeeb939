//! The staging area: Parquet files on the local disk, synced, on their way to their tables.
//!
//! A *set* is what one table's sealed memtable became: files, and a [`manifest`](super::manifest) that is written last.
//! Invariant (TXN-2): a set with a manifest is complete, and its files are what the manifest
//! says; files without a manifest are leftovers of a crash and are removed at the start. So are the files of runs for
//! which a gathered set stands, though their manifests stay until it is published.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::manifest::{self, Manifest, ManifestFile, SetKind, StagedSet};
use super::runs::{self, Stretches};
use super::signed;
use crate::disk::{self, Disk};
use crate::engine::{Layout, Shared};
use crate::error::{Error, Result};
use crate::memtable::{OrderedRows, RowFilter, SealedMemtable};
use crate::model::{DataFile, FieldSchema, Sequence, SequenceRange, TableId, TimeRange};
use crate::parquet_file::{self, WrittenFile};
use crate::tombstone::{Tombstones, last_of};

/// Files that are written at once: each holds its row groups until its last column is encoded, and a handle. Every field
/// is put into order once for all of them.
const FILES_AT_ONCE: usize = 32;

/// The folder of staged files.
pub(crate) struct StagingArea<'a> {
    shared: &'a Shared,
    folder: PathBuf,
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
    let copied = sealed.rows.bytes();
    shared.staging.fetch_add(copied, Ordering::Relaxed);
    let written = tokio::task::spawn_blocking(write).await;
    shared.staging.fetch_sub(copied, Ordering::Relaxed);
    let set = written.map_err(|error| Error::Internal(format!("staging ended badly: {error}")))??;
    set.files.iter().for_each(|file| shared.disk_use.add_staged(file));
    shared.view.change(table, |view| {
        view.sealed.retain(|other| !Arc::ptr_eq(other, &sealed));
        view.add_files(set.files.iter().cloned());
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

    /// The complete sets of an earlier process in the order of their seals. Those for which `is_published` holds,
    /// and files of no set that is left, are removed.
    pub(crate) fn adopt(&self, is_published: impl Fn(&StagedSet) -> bool) -> Result<Vec<StagedSet>> {
        let names = self.disk().list(&self.folder)?;
        let mut sets = Vec::new();
        for set in manifest::current(self.disk(), &self.folder, &names)? {
            if is_published(&set) {
                self.remove_manifest(&set)?;
            } else {
                manifest::check_files(self.disk(), &self.folder, &set)?;
                set.files.iter().for_each(|file| self.shared.disk_use.add_staged(file));
                sets.push(set);
            }
        }
        sets.sort_by_key(|set| set.sealed_at);
        let kept: HashSet<&str> =
            sets.iter().flat_map(|set| set.files.iter().map(|file| file.path.as_ref())).collect();
        for name in names.iter().filter(|name| !manifest::is_name(name) && !kept.contains(name.as_str())) {
            self.disk().remove(&self.folder.join(name))?;
        }
        self.sync()?;
        Ok(sets)
    }

    /// Forgets a set that is in its table, with the runs that it was gathered from: from now on its files are leftovers.
    /// Should the manifest come back with a power cut, the table says that it is published.
    pub(super) fn remove_manifest(&self, set: &StagedSet) -> Result<()> {
        for name in set.manifests_up_to_its_own() {
            match self.disk().remove(&self.folder.join(name)) {
                // An earlier try has removed it, and failed at another one.
                Err(error) if error.io_kind() != Some(ErrorKind::NotFound) => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Makes durable what was removed.
    pub(super) fn sync(&self) -> Result<()> {
        self.disk().sync_folder(&self.folder)
    }

    /// The name and the bytes of a set's manifest; `None` when the set is published.
    pub(crate) fn manifest(&self, set: &StagedSet) -> Result<Option<(String, Vec<u8>)>> {
        let name = set.manifest();
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
        let ordered = OrderedRows::of(std::iter::once(&*sealed.rows), &self.shared.series, RowFilter::ALL)?
            .without(&deletes.tombstones, &schema)?;
        let rows = ordered.rows();
        let partitions = Stretches::partitions(schema.partition);
        let dates = partitions.of(rows);
        let is_run = runs::is_spread(&self.shared.config.runs, dates.len(), sealed.rows.bytes());
        let (kind, stretches, dates) = if is_run {
            let spans = Stretches::spans(schema.partition);
            (SetKind::Run, spans, spans.of(rows))
        } else {
            (SetKind::Files, partitions, dates)
        };
        let mut manifest = Manifest::new(table, sealed.sealed_at, deletes.up_to, &kind);
        self.withdraw(&manifest)?;
        let dates: Vec<i32> = dates.into_iter().collect();
        // Usually all rows are of one.
        let times = |date: i32| if dates.len() == 1 { TimeRange::ALL } else { stretches.times(date) };
        for dates in dates.chunks(FILES_AT_ONCE) {
            let names: Vec<String> =
                dates.iter().map(|date| kind.file_name(table, sequences, *date)).collect();
            let files: Vec<(PathBuf, TimeRange)> =
                names.iter().zip(dates).map(|(name, date)| (self.path_of(name), times(*date))).collect();
            let field = |field: &FieldSchema| ordered.field(field);
            let columns = ordered.columns();
            let written = parquet_file::write_by_field(self.disk(), &files, &schema, rows, &columns, field)?;
            for ((name, date), written) in names.into_iter().zip(dates).zip(written) {
                manifest.files.push(file_of(name, *date, sequences, written));
            }
        }
        fail::fail_point!("staged-before-manifest");
        self.write_manifest(&manifest)?;
        fail::fail_point!("staged-after-manifest");
        Ok(manifest.into_set())
    }

    /// Takes back the manifest of an earlier try that failed after its rename: it names files of these names, and
    /// theirs will be other bytes if the table has got a column, or a delete, since.
    pub(super) fn withdraw(&self, manifest: &Manifest) -> Result<()> {
        match self.disk().remove(&self.folder.join(manifest.name())) {
            Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => self.sync(),
        }
    }

    /// Written beside, synced and renamed, so that it is there as a whole or not at all.
    pub(super) fn write_manifest(&self, manifest: &Manifest) -> Result<()> {
        let disk = &self.shared.config.disk;
        let name = manifest.name();
        let fresh = self.folder.join(format!("{name}.new"));
        let bytes = serde_json::to_vec(manifest).map_err(|error| Error::Internal(error.to_string()))?;
        let bytes = signed::sign(bytes);
        let file = disk.open(&fresh, true)?;
        file.set_length(0)?;
        file.write_at(0, &bytes)?;
        file.sync()?;
        disk.rename(&fresh, &self.folder.join(name))?;
        self.sync()
    }
}

/// What a manifest says of a file that was written.
pub(super) fn file_of(
    name: String,
    date: i32,
    sequences: SequenceRange,
    written: WrittenFile,
) -> ManifestFile {
    ManifestFile {
        name,
        date,
        rows: written.rows,
        bytes: written.bytes,
        checksum: written.checksum,
        min_time: written.times.min.nanos(),
        max_time: written.times.max.nanos(),
        min_sequence: sequences.min.get(),
        max_sequence: sequences.max.get(),
        stats: written.stats,
    }
}
