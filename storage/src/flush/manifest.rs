//! Manifests of staged sets: `{table:08x}-{sealed_at:016x}.json`, and `…-gathered.json` of a set that runs were gathered
//! into.
//!
//! Invariants: a manifest is there as a whole or not at all, and its last line is its checksum. A gathered set stands for
//! the runs that it names: while its manifest is there, theirs count for nothing.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::signed;
use crate::disk::{self, Disk};
use crate::error::{Error, Result};
use crate::model::{DataFile, FilePlace, Sequence, SequenceRange, TableId, TimeRange, Timestamp};

/// The end of a manifest's name.
const MANIFEST: &str = ".json";

/// Rows of one table that were sealed, as files.
#[derive(Debug)]
pub(crate) struct StagedSet {
    /// The table.
    pub(crate) table: TableId,
    /// The sequence at which the rows were sealed; of gathered rows the last ones.
    pub(crate) sealed_at: Sequence,
    /// What the files are.
    pub(crate) kind: SetKind,
    /// The files.
    pub(crate) files: Vec<Arc<DataFile>>,
}

/// What the files of a set are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SetKind {
    /// One per partition: they go to the table as they are.
    Files,
    /// One per span of partitions: the set is a *run*, which is gathered with others first.
    Run,
    /// One per partition, merged from the runs that were sealed at these sequences.
    Gathered(Vec<Sequence>),
}

/// A manifest as it stands on the disk.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    table: u32,
    sealed_at: u64,
    /// The last delete that was applied to the rows; manifests from before there were deletes lack it.
    #[serde(default)]
    deleted_up_to: u64,
    /// Whether it is a run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    run: bool,
    /// The seals of the runs that were gathered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gathered: Vec<u64>,
    pub(super) files: Vec<ManifestFile>,
}

/// A file of a set.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ManifestFile {
    pub(super) name: String,
    pub(super) date: i32,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// CRC-32C of the whole file.
    pub(super) checksum: u32,
    pub(super) min_time: i64,
    pub(super) max_time: i64,
    pub(super) min_sequence: u64,
    pub(super) max_sequence: u64,
    pub(super) stats: String,
}

impl SetKind {
    /// The name of a file. One of a run is not that of a partition's.
    pub(super) fn file_name(&self, table: TableId, sequences: SequenceRange, date: i32) -> String {
        let (table, min, max) = (table.get(), sequences.min.get(), sequences.max.get());
        let what = if *self == Self::Run { "-run" } else { "" };
        format!("{table:08x}-{min:016x}-{max:016x}-{date}{what}.parquet")
    }
}

impl StagedSet {
    /// Whether it is to be gathered with others before it can go to its table.
    pub(super) fn is_run(&self) -> bool {
        self.kind == SetKind::Run
    }

    /// The name of its manifest.
    pub(super) fn manifest(&self) -> String {
        name_of(self.table, self.sealed_at, matches!(self.kind, SetKind::Gathered(_)))
    }

    /// The manifests of the runs that it stands for, then its own.
    pub(super) fn manifests_up_to_its_own(&self) -> impl Iterator<Item = String> {
        let runs = if let SetKind::Gathered(runs) = &self.kind { runs.as_slice() } else { &[] };
        runs.iter().map(|run| name_of(self.table, *run, false)).chain(std::iter::once(self.manifest()))
    }
}

impl Manifest {
    /// Of a set without files.
    pub(super) fn new(table: TableId, sealed_at: Sequence, deleted_up_to: Sequence, kind: &SetKind) -> Self {
        let gathered = if let SetKind::Gathered(runs) = kind { runs.as_slice() } else { &[] };
        Self {
            table: table.get(),
            sealed_at: sealed_at.get(),
            deleted_up_to: deleted_up_to.get(),
            run: *kind == SetKind::Run,
            gathered: gathered.iter().map(|run| run.get()).collect(),
            files: Vec::new(),
        }
    }

    /// Its name.
    pub(super) fn name(&self) -> String {
        name_of(TableId::new(self.table), Sequence::new(self.sealed_at), !self.gathered.is_empty())
    }

    /// The set that it describes.
    pub(super) fn into_set(self) -> StagedSet {
        let deleted_up_to = Sequence::new(self.deleted_up_to);
        let files = self.files.into_iter().map(|file| Arc::new(file.into_file(deleted_up_to))).collect();
        let kind = match (self.run, self.gathered) {
            (true, _) => SetKind::Run,
            (false, runs) if runs.is_empty() => SetKind::Files,
            (false, runs) => SetKind::Gathered(runs.into_iter().map(Sequence::new).collect()),
        };
        StagedSet { table: TableId::new(self.table), sealed_at: Sequence::new(self.sealed_at), kind, files }
    }
}

impl ManifestFile {
    fn into_file(self, deleted_up_to: Sequence) -> DataFile {
        DataFile {
            place: FilePlace::Staged,
            path: object_store::path::Path::from(self.name),
            date: self.date,
            rows: self.rows,
            bytes: self.bytes,
            checksum: self.checksum,
            times: TimeRange::new(Timestamp::from_nanos(self.min_time), Timestamp::from_nanos(self.max_time)),
            sequences: SequenceRange {
                min: Sequence::new(self.min_sequence),
                max: Sequence::new(self.max_sequence),
            },
            deleted_up_to,
            stats: self.stats,
        }
    }
}

/// Whether this is the name of a manifest.
pub(super) fn is_name(name: &str) -> bool {
    name.ends_with(MANIFEST)
}

fn name_of(table: TableId, sealed_at: Sequence, is_gathered: bool) -> String {
    let what = if is_gathered { "-gathered" } else { "" };
    format!("{:08x}-{:016x}{what}{MANIFEST}", table.get(), sealed_at.get())
}

/// The sets whose manifests are among these names of a folder, without runs for which a gathered set stands.
///
/// # Errors
/// [`Error::Damaged`] names the manifest that is not what was written.
pub(super) fn current(disk: &dyn Disk, folder: &Path, names: &[String]) -> Result<Vec<StagedSet>> {
    let manifests = names.iter().filter(|name| is_name(name));
    let mut sets = manifests.map(|name| read(disk, folder, name)).collect::<Result<Vec<_>>>()?;
    drop_gathered(&mut sets);
    Ok(sets)
}

/// Drops the runs for which a gathered set stands.
fn drop_gathered(sets: &mut Vec<StagedSet>) {
    let mut gathered = HashSet::new();
    for set in &*sets {
        if let SetKind::Gathered(runs) = &set.kind {
            gathered.extend(runs.iter().map(|run| (set.table, *run)));
        }
    }
    sets.retain(|set| !(set.is_run() && gathered.contains(&(set.table, set.sealed_at))));
}

fn read(disk: &dyn Disk, folder: &Path, name: &str) -> Result<StagedSet> {
    let path = folder.join(name);
    let bytes = disk::read_file(disk, &path)?;
    let content = signed::verified(&bytes);
    let content = content.ok_or_else(|| damaged(&path, "its last line is not its checksum"))?;
    let manifest: Manifest = serde_json::from_slice(content)
        .map_err(|error| damaged(&path, &format!("it cannot be read: {error}")))?;
    Ok(manifest.into_set())
}

/// Reads the files of a set, and changes nothing.
///
/// # Errors
/// [`Error::Damaged`] names the file that is not what was written.
pub(super) fn check_files(disk: &dyn Disk, folder: &Path, set: &StagedSet) -> Result<()> {
    for file in &set.files {
        let path = folder.join(file.path.as_ref());
        if checksum_of(disk, &path)? != file.checksum {
            return Err(damaged(&path, "its bytes are not those of its checksum"));
        }
    }
    Ok(())
}

/// All manifests of a table must go, not only one: rows that are replayed count as newer than every staged file.
fn damaged(path: &Path, why: &str) -> Error {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let table = name.split('-').next().unwrap_or_default();
    Error::Damaged(format!(
        "{} is not what was staged, {why}: remove all files of its folder whose names begin with {table}- to replay the rows \
         of this table from the log",
        path.display()
    ))
}

/// Reads the sets whose manifests are among these names of a folder, with their files, and changes nothing. `visit` gets
/// the name of each manifest and the bytes of its files, or what is wrong with them.
pub(crate) fn verify(
    disk: &dyn Disk,
    folder: &Path,
    names: &[String],
    visit: &mut dyn FnMut(&str, Result<u64>),
) {
    let mut sets = Vec::new();
    for name in names.iter().filter(|name| is_name(name)) {
        match read(disk, folder, name) {
            Ok(set) => sets.push(set),
            Err(error) => visit(name, Err(error)),
        }
    }
    drop_gathered(&mut sets);
    for set in &sets {
        let bytes = set.files.iter().map(|file| file.bytes).sum();
        visit(&set.manifest(), check_files(disk, folder, set).map(|()| bytes));
    }
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
