//! Gathering: the runs of a table become one set with one file per partition.
//!
//! 1. Span by span, the files of all runs are merged as a compaction merges files: oldest first, each without what
//!    deletes hide of it, the last write winning per field.
//! 2. What comes out is cut at partitions, and each gets a file of its own. The files of a span are written side by side;
//!    what they hold back in memory is bounded.
//! 3. The manifest is written. From now on the set stands for its runs.
//!
//! Invariants:
//! - Runs are gathered as they follow each other, so a set has the sequences and the seal of an unbroken stretch of
//!   the table's log (TXN-1, SEQ-2).
//! - What fails has changed nothing but leftovers, and is tried again with the same runs: so a manifest that an earlier
//!   try may have left is taken back before other bytes get the names that it gives.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::ObjectStore;
use tokio::runtime::Handle;

use super::StagingArea;
use super::manifest::{Manifest, SetKind, StagedSet};
use super::runs::Stretches;
use super::staging::file_of;
use crate::compaction::INPUT_BYTES;
use crate::engine::Shared;
use crate::error::{Error, Result};
use crate::merge::{Merger, Step};
use crate::model::{DataFile, Sequence, SequenceRange, TableId, TableSchema};
use crate::parquet_file::{Columns, FileWriter, read_sorted};
use crate::rows::SortedRows;
use crate::tombstone::{Tombstones, last_of};

/// Rows that are merged before they are written: some megabytes.
const BATCH_ROWS: usize = 32 * 1024;

/// Bytes that the files of a span hold back together, before the largest of them ends a row group.
const HELD_BYTES: usize = 64 << 20;

/// Merges runs that follow each other, oldest first, into one staged set. The view is as it was.
pub(super) async fn gather(
    shared: Arc<Shared>,
    table: TableId,
    runs: Vec<Arc<StagedSet>>,
) -> Result<StagedSet> {
    let handle = Handle::current();
    let bytes = runs.len() * INPUT_BYTES;
    shared.merging.fetch_add(bytes, Ordering::Relaxed);
    let for_merge = Arc::clone(&shared);
    let merge = move || Gather::of(&for_merge, table, &runs)?.run(&runs, &handle);
    let merged = tokio::task::spawn_blocking(merge).await;
    shared.merging.fetch_sub(bytes, Ordering::Relaxed);
    merged.map_err(|error| Error::Internal(format!("gathering runs ended badly: {error}")))?
}

/// A merge of the runs of one table.
struct Gather<'a> {
    area: StagingArea<'a>,
    shared: &'a Shared,
    schema: Arc<TableSchema>,
    /// The deletes that may hide rows of some run.
    tombstones: Tombstones,
    kind: SetKind,
    sealed_at: Sequence,
    sequences: SequenceRange,
    deleted_up_to: Sequence,
}

/// The batches of one file.
type Source = BoxStream<'static, Result<SortedRows>>;

impl<'a> Gather<'a> {
    fn of(shared: &'a Shared, table: TableId, runs: &[Arc<StagedSet>]) -> Result<Self> {
        let view = shared.view.snapshot().table(table).cloned().unwrap_or_default();
        // Looked up after the view, so it knows every column of its rows.
        let schema = shared.schema(table)?;
        let files = || runs.iter().flat_map(|run| &run.files);
        let last = runs.last().ok_or_else(|| Error::Internal("there are no runs to gather".into()))?;
        let sealed_at = last.sealed_at;
        let sequences = files().map(|file| file.sequences).reduce(SequenceRange::union);
        let deleted = files().map(|file| file.deleted_up_to);
        Ok(Self {
            area: StagingArea::new(shared),
            shared,
            schema,
            kind: SetKind::Gathered(runs.iter().map(|run| run.sealed_at).collect()),
            sealed_at,
            sequences: sequences.unwrap_or(SequenceRange { min: sealed_at, max: sealed_at }),
            deleted_up_to: deleted.fold(last_of(&view.tombstones), Sequence::max),
            tombstones: view.tombstones.clone(),
        })
    }

    fn run(&self, runs: &[Arc<StagedSet>], handle: &Handle) -> Result<StagedSet> {
        let mut manifest = Manifest::new(self.schema.id, self.sealed_at, self.deleted_up_to, &self.kind);
        self.area.withdraw(&manifest)?;
        let mut spans: BTreeMap<i32, Vec<&Arc<DataFile>>> = BTreeMap::new();
        for file in runs.iter().flat_map(|run| &run.files) {
            spans.entry(file.date).or_default().push(file);
        }
        for files in spans.values() {
            let mut parts = Parts::new(self);
            self.merge(files, handle, &mut parts)?;
            for (date, (name, writer)) in parts.writers {
                manifest.files.push(file_of(name, date, self.sequences, writer.finish()?));
            }
        }
        fail::fail_point!("gathered-before-manifest");
        self.area.write_manifest(&manifest)?;
        fail::fail_point!("gathered-after-manifest");
        Ok(manifest.into_set())
    }

    /// Merges the files of one span, oldest first. Blocks.
    fn merge(&self, files: &[&Arc<DataFile>], handle: &Handle, parts: &mut Parts<'_>) -> Result<()> {
        let mut sources = self.open(files, handle, &mut parts.columns)?;
        let mut merger = Merger::new(&self.schema.fields, sources.len(), BATCH_ROWS);
        loop {
            match merger.step()? {
                Step::Rows(rows) => parts.write(&rows)?,
                Step::Done => return Ok(()),
                Step::Needs(source) => {
                    let stream = sources.get_mut(source);
                    let next = stream.and_then(|stream| handle.block_on(stream.next()));
                    match next.transpose()? {
                        Some(rows) => merger.push(source, rows)?,
                        None => merger.end(source),
                    }
                }
            }
        }
    }

    /// Opens files, each without what is deleted of it, and adds their columns.
    fn open(&self, files: &[&Arc<DataFile>], handle: &Handle, columns: &mut Columns) -> Result<Vec<Source>> {
        let mut sources = Vec::with_capacity(files.len());
        for file in files {
            let touching = self.tombstones.iter().filter(|tombstone| tombstone.touches(file));
            let tombstones: Tombstones = touching.cloned().collect();
            // A damaged row must not get a new checksum.
            let store = self.shared.verified(file.place);
            store.expect(file);
            let store = Arc::clone(store) as Arc<dyn ObjectStore>;
            let opened = handle.block_on(read_sorted(store, Arc::clone(&self.schema), file))?;
            columns.extend(opened.columns);
            let schema = Arc::clone(&self.schema);
            sources.push(opened.rows.map(move |rows| rows?.without(&tombstones, &schema)).boxed());
        }
        Ok(sources)
    }
}

/// The files of the partitions of a span, in the making.
struct Parts<'a> {
    gather: &'a Gather<'a>,
    partitions: Stretches,
    columns: Columns,
    writers: BTreeMap<i32, (String, FileWriter<'a>)>,
}

impl<'a> Parts<'a> {
    fn new(gather: &'a Gather<'a>) -> Self {
        let partitions = Stretches::partitions(gather.schema.partition);
        Self { gather, partitions, columns: Columns::default(), writers: BTreeMap::new() }
    }

    /// Adds the next rows, each to the file of its partition.
    fn write(&mut self, rows: &SortedRows) -> Result<()> {
        for date in self.partitions.of(rows) {
            let part = rows.within(self.partitions.times(date))?;
            self.writer(date)?.write(&part)?;
        }
        while self.writers.values().map(|(_, writer)| writer.held_bytes()).sum::<usize>() > HELD_BYTES {
            let largest = self.writers.values_mut().max_by_key(|(_, writer)| writer.held_bytes());
            let Some((_, writer)) = largest else { break };
            writer.end_row_group()?;
        }
        Ok(())
    }

    fn writer(&mut self, date: i32) -> Result<&mut FileWriter<'a>> {
        let (gather, columns) = (self.gather, &self.columns);
        let (_, writer) = match self.writers.entry(date) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let name = gather.kind.file_name(gather.schema.id, gather.sequences, date);
                let path = gather.area.path_of(&name);
                let writer = FileWriter::create(gather.area.disk(), &path, &gather.schema, columns)?;
                place.insert((name, writer))
            }
        };
        Ok(writer)
    }
}
