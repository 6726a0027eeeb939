//! Runs one job: files are read, freed of what is deleted, merged, written, put and committed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use object_store::ObjectStore;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::INPUT_BYTES;
use super::output::Output;
use super::pace::Pace;
use super::plan::Job;
use crate::clock;
use crate::cluster::Lease;
use crate::delta::Rows;
use crate::engine::Shared;
use crate::error::{Error, Result};
use crate::flush::{self, StagingArea};
use crate::merge::{Merger, Step};
use crate::model::{DataFile, SequenceRange, TableSchema};
use crate::parquet_file::{Columns, read_sorted};
use crate::view::TableView;

/// Rows that are merged before they are written: some megabytes.
const BATCH_ROWS: usize = 32 * 1024;

/// What became of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The output stands in the inputs' place.
    Merged { commit_took: Duration },
    /// It was told to stop. Nothing has changed.
    Cancelled,
    /// Another process or job has replaced an input meanwhile. Nothing has changed.
    Overtaken,
}

/// What the inputs came to.
enum Merged {
    /// A staged file.
    File(DataFile),
    /// No rows: all are deleted.
    Nothing,
    /// It was told to stop.
    Cancelled,
}

/// Merges the inputs of a job into one file that takes their place.
pub(super) async fn run(
    shared: &Arc<Shared>,
    job: Job,
    stopped: &watch::Receiver<bool>,
    lease: &Lease,
) -> Result<Outcome> {
    let schema = shared.schema(job.table)?;
    let (for_write, for_merge) = (Arc::clone(shared), stopped.clone());
    let (for_job, handle) = (job.clone(), Handle::current());
    let merge = move || {
        let bytes = for_job.inputs.len() * INPUT_BYTES;
        for_write.merging.fetch_add(bytes, Ordering::Relaxed);
        let merged = merge(&for_write, &schema, &for_job, &for_merge, &handle);
        for_write.merging.fetch_sub(bytes, Ordering::Relaxed);
        merged
    };
    let merged = tokio::task::spawn_blocking(merge).await;
    match merged.map_err(|error| Error::Internal(format!("a compaction ended badly: {error}")))?? {
        Merged::Cancelled => Ok(Outcome::Cancelled),
        Merged::Nothing => publish(shared, &job, None, lease).await,
        Merged::File(staged) => {
            shared.disk_use.add_staged(&staged);
            let published = publish(shared, &job, Some(&staged), lease).await;
            // Published or not: the table has a copy or a name of its own, or nobody wants it.
            StagingArea::new(shared).remove(&staged)?;
            published
        }
    }
}

/// Merges what is left of the inputs into a staged file. Blocks.
fn merge(
    shared: &Shared,
    schema: &Arc<TableSchema>,
    job: &Job,
    stopped: &watch::Receiver<bool>,
    handle: &Handle,
) -> Result<Merged> {
    let (mut sources, mut columns) = (Vec::with_capacity(job.inputs.len()), Columns::default());
    for file in &job.inputs {
        let tombstones = job.tombstones_of(file);
        if tombstones.iter().any(|tombstone| tombstone.covers(file)) {
            continue;
        }
        // A damaged row must not get a new checksum.
        let store = shared.verified(file.place);
        store.expect(file);
        let opened = read_sorted(Arc::clone(store) as Arc<dyn ObjectStore>, Arc::clone(schema), file);
        let opened = handle.block_on(opened)?;
        columns.extend(opened.columns);
        let schema = Arc::clone(schema);
        sources.push(opened.rows.map(move |rows| rows?.without(&tombstones, &schema)));
    }
    let sequences = job.inputs.iter().map(|file| file.sequences).reduce(SequenceRange::union);
    let sequences = sequences.ok_or_else(|| Error::Internal("a compaction needs files".into()))?;
    if sources.is_empty() {
        return Ok(Merged::Nothing);
    }
    let mut merger = Merger::new(&schema.fields, sources.len(), BATCH_ROWS);
    let area = StagingArea::new(shared);
    let mut output = Output::create(&area, schema, &columns, job.date, sequences, job.deleted_up_to())?;
    let mut pace = Pace::new(shared.config.compaction.cpu_percent);
    loop {
        if *stopped.borrow() {
            return Ok(Merged::Cancelled);
        }
        if let Some(pause) = pace.due() {
            handle.block_on(tokio::time::sleep(pause));
            pace.resume();
        }
        match merger.step()? {
            Step::Rows(rows) => output.write(&rows)?,
            Step::Done => break,
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
    Ok(output.finish()?.map_or(Merged::Nothing, Merged::File))
}

/// Puts the staged file, if there is one, into the table's folder and in the place of the inputs.
async fn publish(shared: &Shared, job: &Job, staged: Option<&DataFile>, lease: &Lease) -> Result<Outcome> {
    let schema = shared.schema(job.table)?;
    let mut added = Vec::new();
    if let Some(staged) = staged {
        added.push(flush::put(shared, &schema, staged, &name_of(shared, job, staged)).await?);
    }
    fail::fail_point!("compacted-before-commit");
    let Some(mut table) = shared.tables.take(&schema).await? else { return Ok(Outcome::Overtaken) };
    if !lease.is_held() {
        return Ok(Outcome::Overtaken);
    }
    let rows = if job.deletes() { Rows::Fewer } else { Rows::Same };
    let begun = clock::instant();
    if !table.replace(&job.inputs, &added, rows, shared.tables.app_id()).await? {
        return Ok(Outcome::Overtaken);
    }
    let commit_took = clock::instant().duration_since(begun);
    fail::fail_point!("compacted-after-commit");
    shared.view.change(job.table, |view| show(view, &job.inputs, added));
    shared.view.note_gone(&job.inputs);
    drop(table);
    Ok(Outcome::Merged { commit_took })
}

/// The name of an output in its table. It begins as that of a flushed file only if all of its rows are of this log: last
/// values know rows of other logs by their files.
fn name_of(shared: &Shared, job: &Job, staged: &DataFile) -> String {
    let own = format!("{}-", shared.epoch);
    let is_own = |input: &Arc<DataFile>| input.path.filename().is_some_and(|name| name.starts_with(&own));
    if !shared.cluster.is_shared() || job.inputs.iter().all(is_own) {
        return flush::name_in_table(shared, staged);
    }
    format!("{}.{}", shared.epoch, staged.path)
}

/// Shows the output in the place of its inputs, which it is as new as the newest of.
fn show(view: &mut TableView, inputs: &[Arc<DataFile>], output: Vec<DataFile>) {
    view.files.retain(|file| !inputs.iter().any(|input| Arc::ptr_eq(input, file)));
    for file in output {
        let place = view.files.partition_point(|other| other.sequences.max <= file.sequences.max);
        view.files.insert(place, Arc::new(file));
    }
}
