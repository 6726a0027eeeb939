//! Runs one job: files are read, merged, written, put and committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt;
use object_store::ObjectStore;
use tokio::runtime::Handle;

use super::output::Output;
use super::pace::Pace;
use super::plan::Job;
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
    Merged,
    /// It was told to stop. Nothing has changed.
    Cancelled,
    /// Another process or job has replaced an input meanwhile. Nothing has changed.
    Overtaken,
}

/// Merges the inputs of a job into one file that takes their place.
pub(super) async fn run(shared: &Arc<Shared>, job: Job, cancelled: &Arc<AtomicBool>) -> Result<Outcome> {
    let schema = shared.schema(job.table)?;
    let (for_write, for_merge) = (Arc::clone(shared), Arc::clone(cancelled));
    let (inputs, handle) = (job.inputs.clone(), Handle::current());
    let merge = move || merge(&for_write, &schema, &inputs, &for_merge, &handle);
    let written = tokio::task::spawn_blocking(merge).await;
    let written =
        written.map_err(|error| Error::Internal(format!("a compaction ended badly: {error}")))??;
    let Some(staged) = written else { return Ok(Outcome::Cancelled) };
    shared.disk_use.add_staged(&staged);
    let published = publish(shared, &job, &staged).await;
    // Published or not: the table has its own copy, or nobody wants it.
    StagingArea::new(shared).remove(&staged)?;
    published
}

/// Merges the inputs into a staged file; `None` when it was told to stop. Blocks.
fn merge(
    shared: &Shared,
    schema: &Arc<TableSchema>,
    inputs: &[Arc<DataFile>],
    cancelled: &AtomicBool,
    handle: &Handle,
) -> Result<Option<DataFile>> {
    let (mut sources, mut columns) = (Vec::with_capacity(inputs.len()), Columns::default());
    for file in inputs {
        // A damaged row must not get a new checksum.
        let store = shared.verified(file.place);
        store.expect(file);
        let opened = read_sorted(Arc::clone(store) as Arc<dyn ObjectStore>, Arc::clone(schema), file);
        let opened = handle.block_on(opened)?;
        columns.extend(opened.columns);
        sources.push(opened.rows);
    }
    let sequences = inputs.iter().map(|file| file.sequences).reduce(SequenceRange::union);
    let (Some(sequences), Some(date)) = (sequences, inputs.first().map(|file| file.date)) else {
        return Err(Error::Internal("a compaction needs files".into()));
    };
    let mut merger = Merger::new(&schema.fields, sources.len(), BATCH_ROWS);
    let area = StagingArea::new(shared);
    let mut output = Output::create(&area, schema, &columns, date, sequences)?;
    let mut pace = Pace::new(shared.config.compaction.cpu_percent);
    loop {
        if cancelled.load(Ordering::Relaxed) {
            return Ok(None);
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
    output.finish().map(Some)
}

/// Puts the staged file into the table's folder and in the place of the inputs.
async fn publish(shared: &Shared, job: &Job, staged: &DataFile) -> Result<Outcome> {
    let schema = shared.schema(job.table)?;
    let file = flush::put(shared, &schema, staged).await?;
    fail::fail_point!("compacted-before-commit");
    let Some(mut table) = shared.tables.take(&schema).await? else { return Ok(Outcome::Overtaken) };
    let added = [file];
    if !table.replace(&job.inputs, &added, shared.tables.app_id()).await? {
        return Ok(Outcome::Overtaken);
    }
    fail::fail_point!("compacted-after-commit");
    let [file] = added;
    shared.view.change(job.table, |view| show(view, &job.inputs, Arc::new(file)));
    drop(table);
    Ok(Outcome::Merged)
}

/// Shows the output in the place of its inputs, which it is as new as the newest of.
fn show(view: &mut TableView, inputs: &[Arc<DataFile>], output: Arc<DataFile>) {
    view.files.retain(|file| !inputs.iter().any(|input| Arc::ptr_eq(input, file)));
    let place = view.files.partition_point(|file| file.sequences.max <= output.sequences.max);
    view.files.insert(place, output);
}
