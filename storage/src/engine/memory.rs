//! What takes memory, and how much it may (MEM-1): the parts of the engine, and those of whoever stands around it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::{Engine, Shared};

/// What one part takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryUse {
    /// Its name.
    pub part: &'static str,
    /// Bytes that it takes now.
    pub bytes: usize,
    /// Bytes that it may take.
    pub limit: usize,
}

/// Says what a part takes now.
pub type Measure = Arc<dyn Fn() -> usize + Send + Sync>;

/// The parts that are not the engine's own.
#[derive(Default)]
pub(crate) struct OtherParts(Mutex<Vec<(&'static str, usize, Measure)>>);

impl fmt::Debug for OtherParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.lock().iter().map(|(part, limit, _)| (part, limit))).finish()
    }
}

impl Engine {
    /// Adds a part whose memory is not the engine's, so that one place knows all of them. `measure` must not keep the
    /// engine alive.
    pub fn add_memory_part(&self, part: &'static str, limit: usize, measure: Measure) {
        self.shared.other_parts.0.lock().push((part, limit, measure));
    }

    /// What each part takes of memory, and may take.
    #[must_use]
    pub fn memory_use(&self) -> Vec<MemoryUse> {
        let mut parts = own_parts(&self.shared);
        let others = self.shared.other_parts.0.lock();
        parts.extend(others.iter().map(|(part, limit, measure)| MemoryUse {
            part,
            bytes: measure(),
            limit: *limit,
        }));
        parts
    }
}

fn own_parts(shared: &Shared) -> Vec<MemoryUse> {
    let config = &shared.config;
    let part = |part, bytes, limit| MemoryUse { part, bytes, limit };
    vec![
        part("memtables", shared.memory.load(Ordering::Relaxed), config.memory_limit),
        // It copies a memtable field by field: at most as much again, if a delete has hit it.
        part("flush", shared.staging.load(Ordering::Relaxed), config.memory_limit),
        part("series", shared.series.memory_bytes(), config.series_memory),
        part("last_values", shared.last_values.bytes(), config.last_values.max_bytes),
        part("compaction", shared.merging.load(Ordering::Relaxed), config.compaction.memory_bytes),
    ]
}
