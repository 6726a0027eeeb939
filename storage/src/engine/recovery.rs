//! Opening: what was durable is there again, each row once.
//!
//! 1. The definitions of trimmed segments are read, then the log is walked once: its end is found and its
//!    definitions are restored.
//! 2. The Delta table of every known table is opened: its files, and the sequence up to which it holds this
//!    log's rows (TXN-1). A remote store that does not answer is waited for: without it nobody can tell which rows
//!    are in files. Staged files that are complete are adopted (TXN-2), others are removed.
//! 3. The log is read again: rows above what their table's files hold go to the memtable. Deletes are applied again
//!    whatever the files hold, which say themselves which they have had applied (DEL-1).
//! 4. The clock is raised above every sequence seen (SEQ-1).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{StreamExt, stream};
use object_store::ObjectStore;
use parking_lot::Mutex;

use super::definitions::Logged;
use super::disk_use::DiskUse;
use super::hold::Holds;
use super::{EngineConfig, Layout, Shared, batch_sequences, let_go};
use crate::catalog::{Catalog, Definition, DefinitionQueue};
use crate::cluster::Cluster;
use crate::delta::TableLogs;
use crate::engine::definitions;
use crate::engine::lost_log;
use crate::engine::salvage::{self, Unexplained};
use crate::error::{Error, Result};
use crate::flush::{StagedSet, StagingArea};
use crate::last_value::{self, LastValues};
use crate::layout;
use crate::log::{
    EncodedDefinitions, Epoch, LogReader, LogWriter, RecoveryMode, decode_definitions, decode_group,
};
use crate::model::{Change, FrameNumber, Sequence, TableId};
use crate::object::{DurableLocalStore, OpenStore, REMOTE_STORE, VerifiedStore};
use crate::series::SeriesIndex;
use crate::tap::Tap;
use crate::tombstone::{last_of, stored};
use crate::view::View;

/// Delta tables opened at a time: opening waits for the object store, not for the processor.
const TABLES_OPENED_AT_ONCE: usize = 16;

/// Between two times that a store which does not answer is asked: the store's own retries come on top.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What [`open`] finds: the shared state, staged sets, and the greatest sequence.
type Opened = (Shared, Vec<StagedSet>, Sequence);

/// Opens the storage of a data directory that is locked.
pub(super) async fn open(config: EngineConfig) -> Result<Opened> {
    let mut shared = open_log(config)?;
    let committed = await_tables(&shared).await?;
    let committed_up_to = |table: &TableId| committed.get(table).copied().unwrap_or_default();
    let staged = StagingArea::new(&shared).adopt(|set| committed_up_to(&set.table) >= set.sealed_at)?;
    let mut greatest = shared.view.snapshot().sequence();
    for set in &staged {
        greatest = greatest.max(set.sealed_at);
        shared.view.change(set.table, |view| view.files.extend(set.files.iter().cloned()));
    }
    for schema in shared.catalog.all_tables() {
        shared.view.change(schema.id, |view| {
            view.add_files([]);
            greatest = view.files.last().map_or(greatest, |file| greatest.max(file.sequences.max));
            greatest = view.files.iter().map(|file| file.deleted_up_to).fold(greatest, Sequence::max);
            greatest = greatest.max(last_of(&view.tombstones));
        });
    }
    let replayed = replay(&shared, committed, &staged)?;
    let newest = greatest.max(replayed.newest);
    shared.view.seal_before_heard();
    // The log need not hold the newest of what is visible: it may just have been begun anew.
    shared.view.apply(FrameNumber::default(), newest, std::iter::empty(), None);
    shared.last_values = last_values(&shared.config, shared.epoch, newest);
    last_value::refuse_foreign(&shared)?;
    last_value::refuse_undeleted(&shared, &replayed.settled_deletes)?;
    Ok((shared, staged, newest))
}

fn last_values(config: &EngineConfig, epoch: Epoch, newest: Sequence) -> LastValues {
    LastValues::new(config.last_values.clone(), Arc::clone(&config.disk), &config.data_dir, (epoch, newest))
}

fn open_log(config: EngineConfig) -> Result<Shared> {
    let layout = Layout(&config.data_dir);
    for folder in [layout.log(), layout.staged()] {
        config.disk.create_folder(&folder)?;
    }
    // They may have been made by a process that was killed before it synced them.
    config.disk.sync_folder(&config.data_dir)?;
    let definitions = Arc::new(DefinitionQueue::default());
    let catalog = Catalog::new(Arc::clone(&definitions)).shared_by_nodes(config.cluster.shared);
    let series = SeriesIndex::new(Arc::clone(&definitions), config.series_memory);
    lost_log::begin_anew(&config)?;
    if config.recovery == RecoveryMode::Salvage {
        salvage::mend_log(&config)?;
    }
    let known = definitions::load(&*config.disk, &layout.definitions())?;
    let has_lost_definitions = salvage::some_are_lost(&known);
    let mut in_log = Vec::new();
    let (log, sequence) =
        LogWriter::open(Arc::clone(&config.disk), layout.log(), config.segment_bytes, &mut |_, payload| {
            in_log.extend(decode_definitions(payload)?);
            Ok(())
        })?;
    let OpenStore { store: table_store, cache: table_cache, local: local_tables } =
        config.store.open_parts(Arc::clone(&config.disk), &layout.tables(), &layout.cache())?;
    let staged = DurableLocalStore::open_on(&layout.staged(), Arc::clone(&config.disk))?;
    let staged_store: Arc<dyn ObjectStore> = Arc::new(staged);
    let logged = define((&catalog, &series), known, in_log)?;
    let app_id = format!("busbar-{}-{}", config.node, log.epoch());
    let view = View::shared_by_nodes(config.cluster.shared);
    view.apply(FrameNumber::default(), sequence, std::iter::empty(), None);
    let disk_use = DiskUse::default();
    disk_use.set_log(log.bytes());
    let let_go = let_go::load(&*config.disk, &layout.log())?;
    Ok(Shared {
        last_values: last_values(&config, log.epoch(), sequence),
        catalog,
        series,
        definitions,
        view,
        tap: Tap::expecting(config.consumers.clone(), let_go),
        epoch: log.epoch(),
        durable_frame: log.durable_frame(),
        cluster: Cluster::new(config.cluster, Arc::clone(&table_store), log.epoch()),
        log: Mutex::new(log),
        logged: Logged::new(logged),
        memory: AtomicUsize::new(0),
        staging: AtomicUsize::new(0),
        merging: AtomicUsize::new(0),
        other_parts: super::memory::OtherParts::default(),
        disk_use,
        holds: Holds::default(),
        has_lost_definitions,
        oldest_unsealed: Mutex::new(None),
        log_fault: std::sync::OnceLock::new(),
        flush_wanted: tokio::sync::Notify::new(),
        verified_tables: Arc::new(VerifiedStore::new(Arc::clone(&table_store))),
        verified_staged: Arc::new(VerifiedStore::new(Arc::clone(&staged_store))),
        compact_wanted: tokio::sync::Notify::new(),
        expired: Mutex::default(),
        tables: TableLogs::new(Arc::clone(&table_store), app_id),
        table_store,
        table_cache,
        local_tables,
        staged_store,
        config,
    })
}

/// Gives ids their meanings again; returns those that only the log says.
fn define(
    (catalog, series): (&Catalog, &SeriesIndex),
    known: Vec<Definition>,
    in_log: Vec<Definition>,
) -> Result<EncodedDefinitions> {
    let has_lost_definitions = salvage::some_are_lost(&known);
    let mut logged = EncodedDefinitions::default();
    let restore = |definition: &Definition| match definition {
        Definition::Series { id, table, key } => Ok(series.restore(*id, *table, key.as_bytes())),
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
            Ok(true) => logged.push(&definition)?,
            Ok(false) => {}
            // Its table stood in a lost frame; so its rows are left out and counted.
            Err(Error::Damaged(what)) if has_lost_definitions => {
                tracing::error!(%what, "a definition is lost");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(logged)
}

/// Opens the tables, as soon as the store answers. What passes, and what an operator can mend beside the running
/// engine (a bucket or a right that is missing), is waited for: a process that ended would only be started again.
async fn await_tables(shared: &Shared) -> Result<HashMap<TableId, Sequence>> {
    let is_remote = shared.config.store.is_remote();
    let mut waited = false;
    loop {
        let opened = match find_store(shared).await {
            Ok(()) => open_tables(shared).await,
            Err(error) => Err(error),
        };
        match opened {
            Err(error @ (Error::ObjectStore(_) | Error::Delta(_))) if is_remote => {
                if !waited {
                    tracing::warn!(%error, "the object store does not answer; the start waits for it");
                }
                waited = true;
                shared.config.store.activity.unanswered(&error);
                tokio::time::sleep(ASK_AGAIN_AFTER).await;
            }
            opened => {
                if waited {
                    tracing::info!("the object store answers again");
                }
                return opened;
            }
        }
    }
}

/// Makes sure that a store without tables is one, rather than a bucket that does not exist.
async fn find_store(shared: &Shared) -> Result<()> {
    if shared.config.store.is_remote() {
        shared.table_store.list_with_delimiter(None).await?;
        shared.config.store.activity.answered();
    }
    Ok(())
}

/// Shows the files of every table, and gives the sequence up to which they hold this log's rows.
async fn open_tables(shared: &Shared) -> Result<HashMap<TableId, Sequence>> {
    let opened = shared.catalog.all_tables().into_iter().map(|schema| async move {
        let taken = shared.tables.take(&schema).await.map_err(|error| match error {
            // A store that does not answer is no damage; Delta Lake's errors keep of it the text.
            Error::Delta(error) if !error.to_string().contains(REMOTE_STORE) => {
                let folder = layout::table_folder(&schema);
                Error::Damaged(format!("the log of table {folder} cannot be read: {error}"))
            }
            error => error,
        });
        let Some(table) = taken? else { return Ok(None) };
        let files: Vec<_> = table.files()?.into_iter().map(Arc::new).collect();
        let tombstones = stored::read_all(shared, &schema).await?;
        // A start that waits for the store may come here again.
        shared.view.change(schema.id, |view| (view.files, view.tombstones) = (files, tombstones));
        let version = table.transaction_version(shared.tables.app_id());
        Ok(version.map(|version| (schema.id, Sequence::new(version.unsigned_abs()))))
    });
    // All are waited for, also after an error: a reader of a table's log that outlives the runtime panics.
    let opened: Vec<Result<Option<_>>> =
        stream::iter(opened).buffer_unordered(TABLES_OPENED_AT_ONCE).collect().await;
    opened.into_iter().filter_map(Result::transpose).collect()
}

/// What the log held.
struct Replayed {
    /// The greatest sequence.
    newest: Sequence,
    /// For each table the last delete that hides nothing any more, so that the view does not know it.
    settled_deletes: BTreeMap<TableId, Sequence>,
}

/// Applies the deletes, and the rows that no file holds.
fn replay(
    shared: &Shared,
    mut in_files: HashMap<TableId, Sequence>,
    staged: &[StagedSet],
) -> Result<Replayed> {
    for set in staged {
        let known = in_files.entry(set.table).or_default();
        *known = (*known).max(set.sealed_at);
    }
    let first = shared.log.lock().segments().first().map_or(1, |s| s.first_frame.get());
    let durable = FrameNumber::new(shared.durable_frame.load(Ordering::Acquire));
    let folder = Layout(&shared.config.data_dir).log();
    let reader = LogReader::new(&*shared.config.disk, &folder, shared.epoch);
    let mut unexplained = Unexplained::default();
    let mut deletes: Vec<(TableId, Sequence)> = Vec::new();
    let pin = shared.series.pin();
    reader.read(FrameNumber::new(first.saturating_sub(1)), durable, &mut |header, payload| {
        let (_, batches) = decode_group(payload)?;
        let explained = batches.into_iter().map(|batch| shared.explained(batch, &mut unexplained));
        let batches = explained.collect::<Result<Vec<_>>>()?;
        if batches.iter().any(|batch| !batch.is_empty()) {
            shared.tap.owe(header.number);
        }
        let mut missing = Vec::new();
        for (sequence, batch) in batch_sequences(header.sequence, batches.len()).zip(&batches) {
            let is_missing = |change: &Change<'_>| match change {
                Change::Delete(_) => true,
                Change::Rows(rows) => in_files.get(&rows.table).is_none_or(|held| sequence > *held),
            };
            missing.extend(batch.changes().filter(is_missing).map(|change| (sequence, change)));
        }
        for (sequence, change) in &missing {
            if let Change::Delete(delete) = change {
                deletes.extend(delete.tables.iter().map(|table| (*table, *sequence)));
            }
        }
        let bytes = shared.view.apply(header.number, header.sequence, missing.into_iter(), Some(&pin));
        shared.account(bytes);
        Ok(())
    })?;
    unexplained.report();
    deletes.retain(|(table, sequence)| !shared.view.has_tombstone(*table, *sequence));
    // The later of a table takes the place of the earlier.
    Ok(Replayed { newest: shared.view.snapshot().sequence(), settled_deletes: deletes.into_iter().collect() })
}
