//! How files of tables are merged, and how long what was replaced is kept.

use std::time::Duration;

use serde::Deserialize;
use storage::compaction::CompactionConfig;
use storage::vacuum::VacuumConfig;

use super::{Auto, ByteSize, Config, ConfigError, MemoryPlan, Span};

/// How files of tables are merged.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Compaction {
    /// Whether files are merged, and dropped when they have expired. Nodes that share tables take turns.
    pub enabled: bool,
    /// Files of this size are large enough.
    pub target_bytes: ByteSize,
    /// A day to which nothing was added for so long is merged into as few files as its size allows.
    pub settle: Span,
    /// The share of one processor that merging may take.
    pub cpu_percent: usize,
    /// Memory of the files that are merged at a time.
    pub memory_bytes: Auto,
    /// How long a file stays after another has taken its place.
    pub keep_replaced: Span,
}

impl Default for Compaction {
    fn default() -> Self {
        let (compaction, vacuum) = (CompactionConfig::default(), VacuumConfig::default());
        Self {
            enabled: compaction.enabled,
            target_bytes: ByteSize::mebibytes(512),
            settle: Span(compaction.settle),
            cpu_percent: 50,
            memory_bytes: Auto::default(),
            keep_replaced: Span(vacuum.keep_replaced),
        }
    }
}

/// Readers of a version of a table that they opened have at least this long.
const LEAST_KEPT: Duration = Duration::from_secs(600);

impl Config {
    /// Checks what is said of merging.
    ///
    /// # Errors
    /// The first rule that is broken, with the key to change.
    pub(super) fn check_compaction(&self) -> Result<(), ConfigError> {
        let compaction = &self.compaction;
        if !(1..=100).contains(&compaction.cpu_percent) {
            let percent = compaction.cpu_percent;
            let message = format!("compaction.cpu_percent is {percent}: choose a number from 1 to 100");
            return Err(ConfigError::Rule(message));
        }
        if compaction.keep_replaced.0 < LEAST_KEPT {
            let message = format!(
                "compaction.keep_replaced is {} but readers need {} at least: raise compaction.keep_replaced",
                compaction.keep_replaced,
                Span(LEAST_KEPT)
            );
            return Err(ConfigError::Rule(message));
        }
        Ok(())
    }

    /// How storage merges files.
    #[must_use]
    pub fn compaction(&self, memory: &MemoryPlan) -> CompactionConfig {
        CompactionConfig {
            enabled: self.compaction.enabled,
            target_bytes: self.compaction.target_bytes.0 as u64,
            settle: self.compaction.settle.0,
            cpu_percent: u32::try_from(self.compaction.cpu_percent).unwrap_or(100),
            memory_bytes: memory.merges,
            ..CompactionConfig::default()
        }
    }

    /// What storage keeps of files that no table has any more.
    #[must_use]
    pub fn vacuum(&self) -> VacuumConfig {
        VacuumConfig { keep_replaced: self.compaction.keep_replaced.0, ..VacuumConfig::default() }
    }
}
