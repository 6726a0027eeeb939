//! Opening: what was durable is there again, each row once.
//!
//! 1. The definitions of trimmed segments are read, then the log is walked once: its end is found and its
//!    definitions are restored.
//! 2. The Delta table of every known table is opened: its files, and the sequence up to which it holds this
//!    log's rows (TXN-1). Staged files that are complete are adopted (TXN-2), others are removed.
//! 3. The log is read again: rows above what their table's files hold go to the memtable.
//! 4. The clock is raised above every sequence seen (SEQ-1).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use parking_lot::Mutex;

use super::{EngineConfig, Layout, Shared, batch_sequences};
use crate::catalog::{Catalog, Definition, DefinitionQueue};
use crate::delta::TableLog;
use crate::engine::definitions;
use crate::engine::salvage::{self, Unexplained};
use crate::error::{Error, Result};
use crate::flush::{StagedSet, StagingArea};
use crate::layout;
use crate::log::{LogReader, LogWriter, RecoveryMode, decode_definitions, decode_group};
use crate::model::{FrameNumber, Sequence, TableBatch, TableId};
use crate::object::{DurableLocalStore, VerifiedStore};
use crate::series::SeriesIndex;
use crate::tap::Tap;
use crate::view::View;

/// Delta tables opened at a time: opening waits for the object store, not for the processor.
const TABLES_OPENED_AT_ONCE: usize = 16;

/// What [`open`] finds beside the shared state: table logs, staged sets, and the greatest sequence.
type Opened = (Shared, HashMap<TableId, TableLog>, Vec<StagedSet>, Sequence);

/// Opens the storage of a data directory that is locked.
pub(super) async fn open(config: EngineConfig) -> Result<Opened> {
    let shared = open_log(config)?;
    let tables = open_tables(&shared).await?;
    let staged = StagingArea::new(&shared).adopt(|set| holds(&shared, &tables, set))?;
    let mut greatest = shared.view.snapshot().sequence();
    for (id, table) in &tables {
        for file in table.files()? {
            greatest = greatest.max(file.sequences.max);
            shared.view.change(*id, |view| view.files.push(Arc::new(file)));
        }
    }
    for set in &staged {
        greatest = greatest.max(set.sealed_at);
        shared.view.change(set.table, |view| view.files.extend(set.files.iter().cloned()));
    }
    for schema in shared.catalog.all_tables() {
        shared.view.change(schema.id, |view| view.files.sort_by_key(|file| file.sequences.max));
    }
    let replayed = replay(&shared, &tables, &staged)?;
    Ok((shared, tables, staged, greatest.max(replayed)))
}

fn open_log(config: EngineConfig) -> Result<Shared> {
    let layout = Layout(&config.data_dir);
    for folder in [layout.log(), layout.staged(), layout.tables()] {
        config.disk.create_folder(&folder)?;
    }
    let definitions = Arc::new(DefinitionQueue::default());
    let catalog = Catalog::new(Arc::clone(&definitions));
    let series = SeriesIndex::new(Arc::clone(&definitions));
    if config.recovery == RecoveryMode::Salvage {
        salvage::mend_log(&config)?;
    }
    let known = definitions::load(&*config.disk, &layout.definitions())?;
    let has_lost_definitions = salvage::some_are_lost(&known);
    let mut logged = Vec::new();
    let mut in_log = Vec::new();
    let (log, sequence) =
        LogWriter::open(Arc::clone(&config.disk), layout.log(), config.segment_bytes, &mut |_, payload| {
            in_log.extend(decode_definitions(payload)?);
            Ok(())
        })?;
    let table_store: Arc<dyn ObjectStore> = Arc::new(DurableLocalStore::open(&layout.tables())?);
    let staged_store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(layout.staged())?);
    let restore = |definition: &Definition| match definition {
        Definition::Series { id, table, key } => series.restore(*id, *table, key),
        Definition::Given { series: next, .. } => {
            series.keep_below(*next);
            catalog.restore(definition)
        }
        other => catalog.restore(other),
    };
    for definition in known {
        restore(&definition)?;
    }
    for definition in in_log {
        match restore(&definition) {
            Ok(true) => logged.push(definition),
            Ok(false) => {}
            // Its table stood in a lost frame; so its rows are left out and counted.
            Err(Error::Damaged(what)) if has_lost_definitions => {
                tracing::error!(%what, "a definition is lost");
            }
            Err(error) => return Err(error),
        }
    }
    let view = View::default();
    view.apply(FrameNumber::default(), sequence, std::iter::empty());
    Ok(Shared {
        catalog,
        series,
        definitions,
        view,
        tap: Tap::expecting(config.consumers.clone()),
        epoch: log.epoch(),
        durable_frame: log.durable_frame(),
        log: Mutex::new(log),
        logged: Mutex::new(logged),
        memory: AtomicUsize::new(0),
        has_lost_definitions,
        oldest_unsealed: Mutex::new(None),
        log_fault: std::sync::OnceLock::new(),
        flush_wanted: tokio::sync::Notify::new(),
        verified_tables: Arc::new(VerifiedStore::new(Arc::clone(&table_store))),
        verified_staged: Arc::new(VerifiedStore::new(Arc::clone(&staged_store))),
        table_store,
        staged_store,
        config,
    })
}

async fn open_tables(shared: &Shared) -> Result<HashMap<TableId, TableLog>> {
    let opened = shared.catalog.all_tables().into_iter().map(|schema| async move {
        let path = layout::table_folder(&schema);
        let opened = TableLog::open(Arc::clone(&shared.table_store), &path, &shared.app_id()).await;
        let table = opened.map_err(|error| match error {
            Error::Delta(error) => Error::Damaged(format!("the log of table {path} cannot be read: {error}")),
            error => error,
        })?;
        Ok((schema.id, table))
    });
    let opened = stream::iter(opened).buffer_unordered(TABLES_OPENED_AT_ONCE);
    opened.try_filter_map(|(id, table)| async move { Ok(table.map(|t| (id, t))) }).try_collect().await
}

/// Whether a table's committed files hold everything of a staged set already.
fn holds(shared: &Shared, tables: &HashMap<TableId, TableLog>, set: &StagedSet) -> bool {
    committed_up_to(shared, tables, set.table) >= set.sealed_at
}

/// The sequence up to which a table's committed files hold this log's rows.
fn committed_up_to(shared: &Shared, tables: &HashMap<TableId, TableLog>, table: TableId) -> Sequence {
    let version = tables.get(&table).and_then(|t| t.transaction_version(&shared.app_id()));
    version.map_or(Sequence::ZERO, |v| Sequence::new(v.unsigned_abs()))
}

/// Applies the rows that no file holds; returns the greatest sequence in the log.
fn replay(shared: &Shared, tables: &HashMap<TableId, TableLog>, staged: &[StagedSet]) -> Result<Sequence> {
    let mut in_files: HashMap<TableId, Sequence> = HashMap::new();
    for schema in shared.catalog.all_tables() {
        in_files.insert(schema.id, committed_up_to(shared, tables, schema.id));
    }
    for set in staged {
        let known = in_files.entry(set.table).or_default();
        *known = (*known).max(set.sealed_at);
    }
    let first = shared.log.lock().segments().first().map_or(1, |s| s.first_frame.get());
    let durable = FrameNumber::new(shared.durable_frame.load(Ordering::Acquire));
    let folder = Layout(&shared.config.data_dir).log();
    let reader = LogReader::new(&*shared.config.disk, &folder, shared.epoch);
    let mut unexplained = Unexplained::default();
    reader.read(FrameNumber::new(first.saturating_sub(1)), durable, &mut |header, payload| {
        let (_, batches) = decode_group(payload)?;
        let explained = batches.into_iter().map(|batch| shared.explained(batch, &mut unexplained));
        let batches = explained.collect::<Result<Vec<_>>>()?;
        let mut missing = Vec::new();
        for (sequence, batch) in batch_sequences(header.sequence, batches.len()).zip(&batches) {
            let is_missing =
                |rows: &&TableBatch| in_files.get(&rows.table).is_none_or(|held| sequence > *held);
            missing.extend(batch.tables.iter().filter(is_missing).map(|rows| (sequence, rows)));
        }
        let bytes = shared.view.apply(header.number, header.sequence, missing.into_iter());
        shared.account(bytes);
        Ok(())
    })?;
    unexplained.report();
    Ok(shared.view.snapshot().sequence())
}
