//! What the parts of an engine share: the state of one node, and the rules for changing it that no part owns.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use object_store::ObjectStore;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::definitions::Logged;
use super::disk_use::DiskUse;
use super::hold::Holds;
use super::memory::OtherParts;
use super::{EngineConfig, definitions};
use crate::catalog::{Catalog, DefinitionQueue};
use crate::clock;
use crate::cluster::Cluster;
use crate::delta::TableLogs;
use crate::error::{Error, Result};
use crate::last_value::LastValues;
use crate::log::{Epoch, LogWriter};
use crate::model::{FilePlace, FrameNumber, TableId, TableSchema};
use crate::object::{CachedStore, DurableLocalStore, VerifiedStore};
use crate::retention::Dropped;
use crate::series::SeriesIndex;
use crate::tap::Tap;
use crate::view::View;

/// The log that is kept for rows that wait may take this part of what log and staged files may.
pub(super) const LOG_PART_OF_DISK: u64 = 4;

/// What the parts of an engine share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: EngineConfig,
    pub(crate) catalog: Catalog,
    pub(crate) series: SeriesIndex,
    pub(crate) definitions: Arc<DefinitionQueue>,
    pub(crate) view: View,
    pub(crate) tap: Tap,
    pub(crate) last_values: LastValues,
    pub(crate) log: Mutex<LogWriter>,
    pub(crate) epoch: Epoch,
    pub(crate) durable_frame: Arc<AtomicU64>,
    /// What the log defines and `definitions.log` does not yet.
    pub(crate) logged: Logged,
    /// Bytes in memtables, sealed ones too.
    pub(crate) memory: AtomicUsize,
    /// Bytes of the memtables that are being copied into files.
    pub(crate) staging: AtomicUsize,
    /// Bytes that a merge of files is reckoned with.
    pub(crate) merging: AtomicUsize,
    /// What others take of memory.
    pub(crate) other_parts: OtherParts,
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
    /// The other nodes that have the same tables.
    pub(crate) cluster: Cluster,
    /// What has expired and was dropped since the start.
    pub(crate) expired: Mutex<Dropped>,
    pub(crate) table_store: Arc<dyn ObjectStore>,
    /// The cache of a remote table store, if there is one.
    pub(crate) table_cache: Option<CachedStore>,
    /// The table store itself, if it is the local disk.
    pub(crate) local_tables: Option<DurableLocalStore>,
    pub(crate) staged_store: Arc<dyn ObjectStore>,
    /// The two stores for readers of data files.
    pub(crate) verified_tables: Arc<VerifiedStore>,
    pub(crate) verified_staged: Arc<VerifiedStore>,
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

    /// Whether some segment of the log may go when everything up to `frame` is in files. While a backup holds the log
    /// none may: a later round trims it.
    pub(crate) fn can_trim(&self, frame: FrameNumber) -> bool {
        if self.holds.log.is_held() {
            return false;
        }
        let frame = self.not_needed_up_to(frame);
        let segments = self.log.lock().segments();
        segments.get(1).is_some_and(|second| second.first_frame.get() <= frame.get() + 1)
    }

    /// `frame`, or as far as the consumers of the tap have come.
    fn not_needed_up_to(&self, frame: FrameNumber) -> FrameNumber {
        let frame = self.log.lock().past_empty(frame);
        self.tap.not_needed_up_to(frame)
    }

    /// Trims the log up to `frame`, as far as the consumers of the tap have come.
    ///
    /// The definitions of the trimmed frames are made durable elsewhere first (KEY-3).
    pub(crate) async fn trim_log(self: &Arc<Self>, frame: FrameNumber) -> Result<()> {
        let frame = self.not_needed_up_to(frame);
        self.save_definitions().await?;
        let mut log = self.log.lock();
        let trimmed = log.trim(frame);
        self.disk_use.set_log(log.bytes());
        let first = log.segments().first().map_or_else(FrameNumber::default, |s| s.first_frame);
        drop(log);
        self.series.forget(first);
        trimmed
    }

    /// Makes durable beside the log what the log defines: for files that outlive it (KEY-3), and in case that it is
    /// lost with them in their tables.
    pub(crate) async fn save_definitions(self: &Arc<Self>) -> Result<()> {
        let own = Arc::clone(self);
        let saved = tokio::task::spawn_blocking(move || definitions::save(&own)).await;
        saved.map_err(|error| Error::Internal(format!("saving definitions ended badly: {error}")))?
    }

    /// Whether rows must not wait any more for others to go to files with: the log that is kept for them has become long,
    /// or something waits for it to go.
    pub(crate) fn log_must_go(&self) -> bool {
        self.disk_use.log_bytes() >= self.log_bound() || self.is_disk_full() || self.series.is_over_room()
    }

    /// Writes the definitions beside the log anew, of what the index holds. `false`, and they are only added to, where
    /// they say that some were lost.
    pub(crate) fn renew_definitions(&self) -> Result<bool> {
        definitions::renew(self)
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
        if self.is_flush_worth(held) {
            self.flush_wanted.notify_one();
        }
    }

    /// Whether so many bytes in memtables are enough for a flush.
    pub(crate) fn is_flush_worth(&self, held: usize) -> bool {
        // The series are only counted when it matters.
        held >= self.config.flush_bytes && held >= self.config.flush_begins(self.series.len())
    }
}
