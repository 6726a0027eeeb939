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
//! last-values/         what [`crate::last_value`] has saved
//! cache/               blocks of their files, when they are not: see [`crate::object::CachedStore`]
//! ```

mod commit;
mod config;
pub(crate) mod cut;
pub(crate) mod definitions;
mod disk_use;
pub(crate) mod hold;
mod kept;
mod let_go;
pub(crate) mod lock;
mod lost_log;
mod memory;
mod recovery;
mod salvage;
#[cfg(test)]
mod salvage_tests;
mod shared;
mod spares;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use crate::flush::RunsConfig;
pub use commit::{Appended, Committer, Durable, Visible};
pub use config::EngineConfig;
pub(crate) use config::Layout;
pub use lock::is_in_use;
pub use memory::{Measure, MemoryUse};
pub(crate) use shared::Shared;
use spares::SparesJob;

use object_store::ObjectStore;

use crate::backup;
use crate::catalog::{Catalog, SchemaChange, TableDeclaration};
use crate::cluster::{self, Refresher};
use crate::compaction::Compactor;
use crate::error::Result;
use crate::flush::Flusher;
use crate::last_value::{self, Follower, LastRows};
use crate::log::LogReader;
use crate::model::{DataFile, FilePlace, FrameNumber, Sequence, TableSchema};
use crate::object::StoreActivity;
use crate::retention::RetentionJob;
use crate::series::SeriesIndex;
use crate::tap::{CommittedGroup, Tap};
use crate::vacuum::{self, Vacuumed};
use crate::view::{Snapshot, TableView};

/// An open engine. Clones are the same engine.
#[derive(Debug, Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    flusher: Arc<Flusher>,
    compactor: Arc<Compactor>,
    follower: Arc<Follower>,
    retention: Arc<RetentionJob>,
    spares: Arc<SparesJob>,
    refresher: Arc<Refresher>,
    lock: Arc<lock::DirectoryLock>,
}

impl Engine {
    /// Opens the engine: replays the log, adopts staged files, and starts the flusher on the current runtime.
    /// Returns the engine and its only [`Committer`]. While a remote store does not answer it waits: only the
    /// tables say which rows of the log are in files already (TXN-1). Why it waits is in the store's
    /// [`StoreActivity`].
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) when the directory is in use, or was restored and is not
    /// [settled](crate::backup::Restored); [`Error::Damaged`](crate::Error::Damaged) when durable bytes are not what was
    /// written; the failure of disk or object store.
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
        cluster::join(&shared).await;
        let flusher = Arc::new(Flusher::start(Arc::clone(&shared), staged));
        let compactor = Arc::new(Compactor::start(Arc::clone(&shared)));
        let follower = Arc::new(Follower::start(&shared));
        let retention = Arc::new(RetentionJob::start(&shared));
        let spares = Arc::new(SparesJob::start(&shared));
        let refresher = Arc::new(Refresher::start(&shared));
        let committer = Committer::new(Arc::clone(&shared), sequence);
        let lock = Arc::new(lock);
        Ok((Self { shared, flusher, compactor, follower, retention, spares, refresher, lock }, committer))
    }

    /// What the parts of the engine share.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// What moves rows to files.
    pub(crate) fn flusher(&self) -> &Flusher {
        &self.flusher
    }

    /// What merges files.
    pub(crate) fn compactor(&self) -> &Compactor {
        &self.compactor
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

    /// The last values of a table, at least as of `view`, of which `schema` knows every column; `None` when they are
    /// not kept, because they would take too much memory.
    ///
    /// # Errors
    /// The failure of disk or object store, where files had to be read.
    pub async fn last_values(
        &self,
        schema: &Arc<TableSchema>,
        view: &Arc<TableView>,
    ) -> Result<Option<LastRows>> {
        last_value::read(&self.shared, schema, view).await
    }

    /// As [`LastValues::forget`].
    #[cfg(test)]
    pub(crate) fn forget_last_values(
        &self,
        table: crate::model::TableId,
        times: crate::model::TimeRange,
        series: &dyn Fn(crate::series::KeyRef<'_>) -> bool,
    ) -> Result<bool> {
        self.shared.last_values.forget(table, (Sequence::ZERO, times), series)
    }

    /// Bytes of memory that last values take.
    #[must_use]
    pub fn last_value_bytes(&self) -> usize {
        self.shared.last_values.bytes()
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
    /// [`Error::Damaged`](crate::Error::Damaged) when a frame cannot be read or was trimmed; the visitor's error.
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

    /// Moves rows into files as a flush in the background does: small tables may stay in memory, and rows that are gathered
    /// first, as [`RunsConfig`] says, in files on the local disk. The log stays for both.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub async fn flush_due(&self) -> Result<()> {
        self.flusher.flush_due().await
    }

    /// Merges files as far as [`CompactionConfig`](crate::compaction::CompactionConfig) allows it now, or, if `all`, until no date of any table has
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

    /// Makes what is new of a table that nodes share known to all of them, so that its rows may be taken (KEY-4). Another
    /// node may have been faster: whatever happens, validate again.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`](crate::Error::LimitExceeded) when a count limit would be passed; the failure of the store.
    pub async fn bear(&self, change: &SchemaChange) -> Result<()> {
        cluster::birth::bear(&self.shared, change).await
    }

    /// As [`bear`](Self::bear), for what is declared. Where nothing is shared nothing happens.
    ///
    /// # Errors
    /// Those of [`Catalog::declare_table`]; the failure of the store.
    pub async fn bear_declared(&self, wanted: &TableDeclaration) -> Result<()> {
        if self.shared.cluster.is_shared() {
            cluster::birth::declare(&self.shared, wanted).await?;
        }
        Ok(())
    }

    /// Shows what other nodes have committed, as is done every few seconds.
    ///
    /// # Errors
    /// The first failure of object store or table log.
    pub async fn refresh(&self) -> Result<()> {
        cluster::refresh::run(&self.shared).await
    }

    /// Stops what looks after files, and the flusher after a last flush and ends the tap. Drop the [`Committer`] first: rows that it
    /// commits afterwards stay in the log and come back at the next start.
    ///
    /// # Errors
    /// As [`flush`](Self::flush); the engine is closed all the same.
    pub async fn close(&self) -> Result<()> {
        self.shared.tap.close();
        // It may hold what a compaction or a flush waits for.
        self.follower.stop().await;
        self.compactor.stop().await;
        self.retention.stop().await;
        self.spares.stop().await;
        self.refresher.stop().await;
        let flushed = self.flusher.stop().await;
        last_value::save_at_close(&self.shared).await;
        flushed
    }
}

/// Sequences of `count` batches of a frame, given that of the last.
pub(crate) fn batch_sequences(last: Sequence, count: usize) -> impl Iterator<Item = Sequence> {
    let first = last.get().saturating_sub(count.saturating_sub(1) as u64);
    (first..=last.get()).map(Sequence::new)
}
