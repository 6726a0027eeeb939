//! The engine: opens the storage of one node, takes groups of batches, hands out snapshots, and closes.
//!
//! It owns the wiring of log, view, tap, catalog and flush; each of them keeps its own invariants. One process
//! opens a data directory at a time.
//!
//! The data directory:
//! ```text
//! lock                 held while the engine is open
//! log/                 epoch, segments: see [`crate::log`]
//! definitions.log      what ids of trimmed segments mean: see [`definitions`]
//! staged/              Parquet files on their way to the tables: see [`crate::flush`]
//! tables/              Delta tables, when they are on the local disk
//! cache/               blocks of their files, when they are not: see [`crate::object::CachedStore`]
//! ```

mod commit;
pub(crate) mod cut;
pub(crate) mod definitions;
mod disk_use;
pub(crate) mod hold;
pub(crate) mod lock;
mod lost_log;
mod recovery;
mod salvage;
#[cfg(test)]
mod salvage_tests;
#[cfg(test)]
pub(crate) mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use object_store::ObjectStore;
use parking_lot::Mutex;
use tokio::sync::Notify;

pub use commit::{Appended, Committer, Durable, Visible};
pub use lock::is_in_use;

use self::disk_use::DiskUse;
use self::hold::Holds;
use crate::backup;
use crate::catalog::{Catalog, Definition, DefinitionQueue};
use crate::clock;
use crate::compaction::{CompactionConfig, Compactor};
use crate::delta::TableLogs;
use crate::disk::{Disk, LocalDisk};
use crate::error::{Error, Result};
use crate::flush::Flusher;
use crate::limits;
use crate::log::{Epoch, LogReader, LogWriter, RecoveryMode};
use crate::model::{DataFile, FilePlace, FrameNumber, Sequence, TableId, TableSchema};
use crate::object::{StoreActivity, StoreSettings, VerifiedStore};
use crate::series::SeriesIndex;
use crate::tap::{CommittedGroup, Tap};
use crate::vacuum::{self, VacuumConfig, Vacuumed};
use crate::view::{Snapshot, View};

/// Settings of an engine.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// The data directory; made if it is missing.
    pub data_dir: PathBuf,
    /// The node's name in Delta transactions and file names.
    pub node: String,
    /// Bytes of one segment of the log.
    pub segment_bytes: u64,
    /// A flush begins when the memtables hold so many bytes.
    pub flush_bytes: usize,
    /// A flush begins when a row waits in memory for so long.
    pub flush_age: Duration,
    /// At so many bytes in memtables no more rows are taken until a flush has made room.
    pub memory_limit: usize,
    /// At so many bytes of log and staged files no more rows are taken until a flush has made room.
    pub disk_limit: u64,
    /// Where tables are.
    pub store: StoreSettings,
    /// Consumers of the tap that will subscribe after the start: the log is kept whole until they have.
    pub consumers: Vec<&'static str>,
    /// What to do with a log that holds damage.
    pub recovery: RecoveryMode,
    /// How files are merged.
    pub compaction: CompactionConfig,
    /// What is kept of files that no table has any more.
    pub vacuum: VacuumConfig,
    /// Whether flush and compaction run when they are due; without it only when they are asked to.
    pub background: bool,
    /// The disk of everything but the lock: log, definitions, staged files and local tables.
    pub disk: Arc<dyn Disk>,
}

impl EngineConfig {
    /// The defaults for a data directory.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            node: "busbar".into(),
            segment_bytes: 64 << 20,
            flush_bytes: 64 << 20,
            flush_age: Duration::from_secs(600),
            memory_limit: 512 << 20,
            disk_limit: limits::DISK_BYTES,
            store: StoreSettings::default(),
            consumers: Vec::new(),
            recovery: RecoveryMode::Strict,
            compaction: CompactionConfig::default(),
            vacuum: VacuumConfig::default(),
            background: true,
            disk: Arc::new(LocalDisk),
        }
    }
}

/// An open engine. Clones are the same engine.
#[derive(Debug, Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    flusher: Arc<Flusher>,
    compactor: Arc<Compactor>,
    lock: Arc<lock::DirectoryLock>,
}

/// What the parts of an engine share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: EngineConfig,
    pub(crate) catalog: Catalog,
    pub(crate) series: SeriesIndex,
    pub(crate) definitions: Arc<DefinitionQueue>,
    pub(crate) view: View,
    pub(crate) tap: Tap,
    pub(crate) log: Mutex<LogWriter>,
    pub(crate) epoch: Epoch,
    pub(crate) durable_frame: Arc<AtomicU64>,
    /// Definitions in the log that are not in `definitions.log` yet.
    pub(crate) logged: Mutex<Vec<Definition>>,
    /// Bytes in memtables, sealed ones too.
    pub(crate) memory: AtomicUsize,
    /// Bytes of log and staged files.
    pub(crate) disk_use: DiskUse,
    /// What a backup keeps from being removed.
    pub(crate) holds: Holds,
    /// Whether frames with definitions may have been lost, so that rows without one are left out.
    pub(crate) has_lost_definitions: bool,
    /// When the oldest row that is not sealed came.
    pub(crate) oldest_unsealed: Mutex<Option<Instant>>,
    /// Why the log takes no more writes (LOG-4).
    pub(crate) log_fault: OnceLock<String>,
    /// Wakes the flusher when there is something to flush.
    pub(crate) flush_wanted: Notify,
    /// Wakes the compactor when there are new files.
    pub(crate) compact_wanted: Notify,
    pub(crate) tables: TableLogs,
    pub(crate) table_store: Arc<dyn ObjectStore>,
    pub(crate) staged_store: Arc<dyn ObjectStore>,
    /// The two stores for readers of data files.
    pub(crate) verified_tables: Arc<VerifiedStore>,
    pub(crate) verified_staged: Arc<VerifiedStore>,
}

/// Folders and files of a data directory.
#[derive(Debug)]
pub(crate) struct Layout<'a>(pub(crate) &'a Path);

impl Layout<'_> {
    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    pub(crate) fn staged(&self) -> PathBuf {
        self.0.join("staged")
    }

    pub(crate) fn tables(&self) -> PathBuf {
        self.0.join("tables")
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.0.join("cache")
    }

    pub(crate) fn definitions(&self) -> PathBuf {
        self.0.join("definitions.log")
    }
}

impl Engine {
    /// Opens the engine: replays the log, adopts staged files, and starts the flusher on the current runtime.
    /// Returns the engine and its only [`Committer`]. While a remote store does not answer it waits: only the
    /// tables say which rows of the log are in files already (TXN-1). Why it waits is in the store's
    /// [`StoreActivity`].
    ///
    /// # Errors
    /// [`Error::Invalid`] when the directory is in use, or was restored and is not [settled](crate::backup::Restored);
    /// [`Error::Damaged`] when durable bytes
    /// are not what was written; the failure of disk or object store.
    pub async fn open(config: EngineConfig) -> Result<(Self, Committer)> {
        let lock = lock::DirectoryLock::take(&config.data_dir)?;
        backup::refuse_restored(&config.data_dir)?;
        Self::open_locked(config, lock).await
    }

    /// As [`open`](Self::open), whatever directory it is.
    pub(crate) async fn open_locked(
        config: EngineConfig,
        lock: lock::DirectoryLock,
    ) -> Result<(Self, Committer)> {
        let (shared, staged, sequence) = recovery::open(config).await?;
        let shared = Arc::new(shared);
        let flusher = Arc::new(Flusher::start(Arc::clone(&shared), staged));
        let compactor = Arc::new(Compactor::start(Arc::clone(&shared)));
        let committer = Committer::new(Arc::clone(&shared), sequence);
        Ok((Self { shared, flusher, compactor, lock: Arc::new(lock) }, committer))
    }

    /// What the parts of the engine share.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// What keeps the directory for this process.
    pub(crate) fn lock(&self) -> Arc<lock::DirectoryLock> {
        Arc::clone(&self.lock)
    }

    /// Databases, tables and columns.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.shared.catalog
    }

    /// The series index.
    #[must_use]
    pub fn series(&self) -> &SeriesIndex {
        &self.shared.series
    }

    /// All tables as of now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.shared.view.snapshot()
    }

    /// The commit tap.
    #[must_use]
    pub fn tap(&self) -> &Tap {
        &self.shared.tap
    }

    /// The store that holds the files of a place. What it gives of [expected](Self::expect) files is checked.
    #[must_use]
    pub fn store(&self, place: FilePlace) -> Arc<dyn ObjectStore> {
        Arc::clone(self.shared.verified(place)) as Arc<dyn ObjectStore>
    }

    /// Says what a file must be, before it is read from [`store`](Self::store).
    pub fn expect(&self, file: &Arc<DataFile>) {
        self.shared.verified(file.place).expect(file);
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &EngineConfig {
        &self.shared.config
    }

    /// Bytes in memtables.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.shared.memory.load(Ordering::Relaxed)
    }

    /// Whether the memtables have room for `bytes` more.
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        self.memory_bytes().saturating_add(bytes) <= self.shared.config.memory_limit
    }

    /// Bytes of log and staged files on the local disk.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.shared.disk_use.bytes()
    }

    /// Why no rows can be taken until a flush has made room on the local disk; `None` while there is room.
    #[must_use]
    pub fn disk_shortage(&self) -> Option<String> {
        if !self.shared.is_disk_full() {
            return None;
        }
        self.shared.flush_wanted.notify_one();
        let (used, limit) = (self.disk_bytes() >> 20, self.shared.config.disk_limit >> 20);
        let why = self.store_activity().fault().unwrap_or_else(|| "a flush is making room".into());
        Some(format!(
            "log and staged files take {used} MiB of the local disk and may take {limit} MiB: {why}"
        ))
    }

    /// What the table store does.
    #[must_use]
    pub fn store_activity(&self) -> &StoreActivity {
        &self.shared.config.store.activity
    }

    /// Whether anything was defined that is not in the log yet.
    #[must_use]
    pub fn has_pending_definitions(&self) -> bool {
        !self.shared.definitions.is_empty()
    }

    /// The last durable frame of the log.
    #[must_use]
    pub fn durable_frame(&self) -> FrameNumber {
        FrameNumber::new(self.shared.durable_frame.load(Ordering::Acquire))
    }

    /// Why the log takes no more writes; `None` while it does.
    #[must_use]
    pub fn log_fault(&self) -> Option<String> {
        self.shared.log_fault.get().cloned()
    }

    /// The number of segments of the log, and the first frame that it still holds.
    #[must_use]
    pub fn log_extent(&self) -> (usize, FrameNumber) {
        let segments = self.shared.log.lock().segments();
        (segments.len(), segments.first().map_or_else(FrameNumber::default, |s| s.first_frame))
    }

    /// Visits the groups of all durable frames after `after`, in order. A consumer of the tap reads what it
    /// was owed before it subscribed, or lost when it was cut off.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a frame cannot be read or was trimmed; the visitor's error.
    pub fn read_log(
        &self,
        after: FrameNumber,
        visit: &mut dyn FnMut(&CommittedGroup) -> Result<()>,
    ) -> Result<()> {
        let shared = &self.shared;
        let folder = Layout(&shared.config.data_dir).log();
        let reader = LogReader::new(&*shared.config.disk, &folder, shared.epoch);
        reader.read(after, self.durable_frame(), &mut |header, payload| {
            let group = commit::group_of(header, payload)?;
            let group = shared.explained_group(group)?;
            if group.batches.is_empty() { Ok(()) } else { visit(&group) }
        })
    }

    /// Moves every row that is durable now into files and tables, and trims the log.
    ///
    /// # Errors
    /// The first failure of disk, object store or table log. What failed is tried again by the next flush;
    /// no row is lost or invisible meanwhile.
    pub async fn flush(&self) -> Result<()> {
        self.flusher.flush().await
    }

    /// Merges files as far as [`CompactionConfig`] allows it now, or, if `all`, until no date of any table has
    /// files left that fit into one. Returns the number of merges.
    ///
    /// # Errors
    /// The first failure of object store or table log; what was merged before stays merged.
    pub async fn compact(&self, all: bool) -> Result<usize> {
        self.compactor.run(all).await
    }

    /// Removes objects from the tables' folders that nothing can want any more.
    ///
    /// # Errors
    /// The first failure of object store or table log.
    pub async fn vacuum(&self) -> Result<Vacuumed> {
        vacuum::run(&self.shared).await
    }

    /// Stops the compactor, and the flusher after a last flush and ends the tap. Drop the [`Committer`] first: rows that it
    /// commits afterwards stay in the log and come back at the next start.
    ///
    /// # Errors
    /// As [`flush`](Self::flush); the engine is closed all the same.
    pub async fn close(&self) -> Result<()> {
        self.shared.tap.close();
        self.compactor.stop().await;
        self.flusher.stop().await
    }
}

impl Shared {
    /// The schema of a table that has rows.
    pub(crate) fn schema(&self, table: TableId) -> Result<Arc<TableSchema>> {
        let schema = self.catalog.table_by_id(table);
        schema.ok_or_else(|| Error::Internal(format!("table {table} has rows and no schema")))
    }

    /// The store of a place that checks what it gives of a data file.
    pub(crate) fn verified(&self, place: FilePlace) -> &Arc<VerifiedStore> {
        match place {
            FilePlace::Staged => &self.verified_staged,
            FilePlace::Table => &self.verified_tables,
        }
    }

    /// Trims the log up to `frame`, as far as the consumers of the tap have come.
    ///
    /// The definitions of the trimmed frames are made durable elsewhere first (KEY-3).
    /// While a backup holds the log nothing happens: a later round trims it.
    pub(crate) fn trim_log(&self, frame: FrameNumber) -> Result<()> {
        if self.holds.log.is_held() {
            return Ok(());
        }
        let frame = self.tap.checkpoint().map_or(frame, |checkpoint| checkpoint.min(frame));
        let needed = {
            let segments = self.log.lock().segments();
            segments.get(1).is_some_and(|second| second.first_frame.get() <= frame.get() + 1)
        };
        if !needed {
            return Ok(());
        }
        self.save_definitions()?;
        let mut log = self.log.lock();
        let trimmed = log.trim(frame);
        self.disk_use.set_log(log.bytes());
        trimmed
    }

    /// Makes durable beside the log what the log defines: for files that outlive it (KEY-3), and in case that it is
    /// lost with them in their tables.
    pub(crate) fn save_definitions(&self) -> Result<()> {
        let mut logged = self.logged.lock();
        let path = Layout(&self.config.data_dir).definitions();
        definitions::append(&*self.config.disk, &path, &logged)?;
        logged.clear();
        Ok(())
    }

    /// Whether log and staged files take as much of the disk as they may.
    pub(crate) fn is_disk_full(&self) -> bool {
        self.disk_use.bytes() >= self.config.disk_limit
    }

    /// Notes why the log takes no more writes, if that is what failed (LOG-4).
    pub(crate) fn noting_fault<T>(&self, done: Result<T>) -> Result<T> {
        if let Err(error @ Error::LogPoisoned(_)) = &done {
            self.log_fault.get_or_init(|| error.to_string());
        }
        done
    }

    /// Counts rows that came into memory, and wakes the flusher when it is time.
    pub(crate) fn account(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.oldest_unsealed.lock().get_or_insert_with(clock::instant);
        let held = self.memory.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if held >= self.config.flush_bytes {
            self.flush_wanted.notify_one();
        }
    }
}

/// Sequences of `count` batches of a frame, given that of the last.
pub(crate) fn batch_sequences(last: Sequence, count: usize) -> impl Iterator<Item = Sequence> {
    let first = last.get().saturating_sub(count.saturating_sub(1) as u64);
    (first..=last.get()).map(Sequence::new)
}
