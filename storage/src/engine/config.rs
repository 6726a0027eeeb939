//! Settings of an engine, and where its data directory has what.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::WallClock;
use crate::cluster::ClusterConfig;
use crate::compaction::CompactionConfig;
use crate::disk::{Disk, LocalDisk};
use crate::flush::RunsConfig;
use crate::last_value::LastValuesConfig;
use crate::limits;
use crate::log::RecoveryMode;
use crate::model::Retention;
use crate::object::StoreSettings;
use crate::vacuum::VacuumConfig;

/// Bytes of rows that each series is to have in a flush: three or four rows of four fields.
const FLUSH_BYTES_PER_SERIES: usize = 128;

/// Settings of an engine.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// The data directory; made if it is missing.
    pub data_dir: PathBuf,
    /// The node's name in Delta transactions and file names.
    pub node: String,
    /// Bytes of one segment of the log.
    pub segment_bytes: u64,
    /// A flush begins when the memtables hold so many bytes, or more if there are many series.
    pub flush_bytes: usize,
    /// With many series a flush waits for several rows of each, until the memtables hold so many bytes: what a series
    /// costs a flush, its rows share. Of no effect unless it is more than `flush_bytes`; it must leave room in
    /// `memory_limit` for rows that come meanwhile.
    pub most_flush_bytes: usize,
    /// A flush begins when a row waits in memory for so long.
    pub flush_age: Duration,
    /// A table with fewer bytes in memory than this is left out of flushes until its oldest row has waited for `flush_age`:
    /// else each of thousands of small tables would get a file whenever a large one has filled its memory.
    pub small_table_bytes: usize,
    /// What becomes of memtables whose rows fall on many partitions.
    pub runs: RunsConfig,
    /// Rows that wait in memory or in runs do so until the log takes so many bytes. A start reads all of it.
    pub log_bytes: u64,
    /// At so many bytes in memtables no more rows are taken until a flush has made room.
    pub memory_limit: usize,
    /// Bytes that the series index may take. At half of them it forgets series that nothing refers to.
    pub series_memory: usize,
    /// At so many bytes of log and staged files no more rows are taken until a flush has made room.
    pub disk_limit: u64,
    /// Where tables are.
    pub store: StoreSettings,
    /// Consumers of the tap that will subscribe after the start: the log is kept whole until they have.
    pub consumers: Vec<&'static str>,
    /// What to do with a log that holds damage.
    pub recovery: RecoveryMode,
    /// Whether other processes have the same tables.
    pub cluster: ClusterConfig,
    /// How files are merged.
    pub compaction: CompactionConfig,
    /// What is kept of files that no table has any more.
    pub vacuum: VacuumConfig,
    /// Bounds of last values.
    pub last_values: LastValuesConfig,
    /// How long rows are kept for which neither table nor database says anything.
    pub retention: Retention,
    /// The clock by which rows expire.
    pub clock: WallClock,
    /// Whether flush and compaction run when they are due, and spares of the log are made ahead; without it only what is
    /// asked for is done.
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
            most_flush_bytes: 128 << 20,
            flush_age: Duration::from_secs(600),
            small_table_bytes: 1 << 20,
            runs: RunsConfig::default(),
            log_bytes: limits::LOG_BYTES,
            memory_limit: 512 << 20,
            series_memory: limits::SERIES_BYTES,
            disk_limit: limits::DISK_BYTES,
            store: StoreSettings::default(),
            consumers: Vec::new(),
            recovery: RecoveryMode::Strict,
            cluster: ClusterConfig::default(),
            compaction: CompactionConfig::default(),
            vacuum: VacuumConfig::default(),
            last_values: LastValuesConfig::default(),
            retention: Retention::FOREVER,
            clock: WallClock::default(),
            background: true,
            disk: Arc::new(LocalDisk),
        }
    }

    /// The bytes in memtables at which a flush begins with so many series.
    #[must_use]
    pub fn flush_begins(&self, series: usize) -> usize {
        let for_series = series.saturating_mul(FLUSH_BYTES_PER_SERIES).min(self.most_flush_bytes);
        for_series.max(self.flush_bytes)
    }
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
