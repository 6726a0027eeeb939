//! One number for all memory, and how it is divided (MEM-1): the section `[memory]`.
//!
//! What a key names outright is taken out first; the other parts share what is left by their weights, each up to a cap
//! beyond which more memory would not help. A flush copies the rows that it writes, so memtables are counted twice: the
//! second time it is the reserve with which an engine at its bound can still flush.

mod available;
mod size;
#[cfg(test)]
mod tests;

use serde::Deserialize;

pub use size::Auto;

use super::{ByteSize, Config, ConfigError};

/// The share of the memory that the process may have which its parts get, in percent. The rest is for code, connections,
/// the allocator, and the kernel's cache of files.
const PERCENT: usize = 60;

/// What is left for the parts that no key names must be at least so much.
const LEAST_SHARED: usize = 64 << 20;

/// Memtables beyond this only make later flushes larger.
const MOST_MEMTABLES: usize = 512 << 20;

/// A flush begins at so many bytes, where memory allows it: files are then large enough to be read well.
const FLUSH_BYTES: usize = 64 << 20;

/// With very many series it begins at so many at the latest: larger ones gain little.
const MOST_FLUSH_BYTES: usize = 128 << 20;

/// Flushes that fit into memtables: while one is written, the others wait or fill.
const FLUSHES: usize = 4;

/// Five of the largest bodies, or a thousand of 128 KiB.
const MOST_BODIES: usize = 128 << 20;

/// As many files as are merged at a time.
const MOST_MERGES: usize = 256 << 20;

/// Memory.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    /// All parts together.
    pub max_bytes: Auto,
}

/// How many bytes each part of the engine may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPlan {
    /// All of it.
    pub total: usize,
    /// Bodies of requests.
    pub bodies: usize,
    /// Rows that are not in files yet; as much again is kept for the flush.
    pub memtables: usize,
    /// The bytes of rows at which a flush begins.
    pub flush_begins: usize,
    /// The same, if there are very many series.
    pub flush_begins_at_most: usize,
    /// The series index.
    pub series: usize,
    /// Last values.
    pub last_values: usize,
    /// Queries.
    pub queries: usize,
    /// Files that are being merged.
    pub merges: usize,
}

/// One part of the memory: what its key says, its weight among those of which none says anything, and its bounds.
struct Part {
    key: &'static str,
    said: Auto,
    weight: usize,
    least: usize,
    most: usize,
    /// How often its bytes are counted.
    times: usize,
}

impl Config {
    /// How memory is divided on this machine.
    ///
    /// # Errors
    /// [`ConfigError::Rule`] when what the keys name is more than there is.
    pub fn memory_plan(&self) -> Result<MemoryPlan, ConfigError> {
        let total = match self.memory.max_bytes.0 {
            Some(ByteSize(bytes)) => bytes,
            None => available::bytes() / 100 * PERCENT,
        };
        self.divide(total)
    }

    fn divide(&self, total: usize) -> Result<MemoryPlan, ConfigError> {
        let body = self.limits.v1_body_bytes.max(self.limits.v2_body_bytes).max(self.limits.v3_body_bytes).0;
        let part = |key, said, weight| Part { key, said, weight, least: 0, most: usize::MAX, times: 1 };
        let parts = [
            Part {
                least: body,
                most: MOST_BODIES.max(body),
                ..part("limits.body_memory", self.limits.body_memory, 1)
            },
            Part {
                most: MOST_MEMTABLES,
                times: 2,
                ..part("write.memtable_bytes", self.write.memtable_bytes, 3)
            },
            part("write.series_bytes", self.write.series_bytes, 3),
            part("last_values.max_bytes", self.last_values.max_bytes, 1),
            part("query.memory_bytes", self.query.memory_bytes, 4),
            Part { most: MOST_MERGES, ..part("compaction.memory_bytes", self.compaction.memory_bytes, 1) },
        ];
        let [bodies, memtables, series, last_values, queries, merges] = shares(total, &parts)?;
        let said = self.flush.bytes.0.map(|bytes| bytes.0);
        let flush_begins_at_most = said.unwrap_or(MOST_FLUSH_BYTES.min(memtables / FLUSHES));
        let flush_begins = said.unwrap_or(FLUSH_BYTES.min(flush_begins_at_most));
        Ok(MemoryPlan {
            total,
            bodies,
            memtables,
            flush_begins,
            flush_begins_at_most,
            series,
            last_values,
            queries,
            merges,
        })
    }
}

/// What each part gets.
fn shares<const N: usize>(total: usize, parts: &[Part; N]) -> Result<[usize; N], ConfigError> {
    let mut fixed: [Option<usize>; N] = parts.each_ref().map(|part| part.said.0.map(|bytes| bytes.0));
    loop {
        let taken: usize = parts
            .iter()
            .zip(&fixed)
            .filter_map(|(part, bytes)| Some(part.times.saturating_mul((*bytes)?)))
            .sum();
        let open = || parts.iter().zip(&fixed).filter(|(_, bytes)| bytes.is_none()).map(|(part, _)| part);
        let weights: usize = open().map(|part| part.weight * part.times).sum();
        let left = total.saturating_sub(taken);
        if taken > total || (weights > 0 && left < LEAST_SHARED) {
            return Err(too_much(total, taken, parts, &fixed));
        }
        let share = |part: &Part| left / weights.max(1) * part.weight;
        // A part that its share is too small for gets its least, and the others share the rest anew.
        let short = parts.iter().zip(&fixed).position(|(p, bytes)| bytes.is_none() && share(p) < p.least);
        match short.and_then(|at| Some((fixed.get_mut(at)?, parts.get(at)?))) {
            Some((bytes, part)) => *bytes = Some(part.least),
            None => {
                let mut given = [0; N];
                for ((given, part), bytes) in given.iter_mut().zip(parts).zip(&fixed) {
                    *given = bytes.unwrap_or_else(|| share(part).min(part.most));
                }
                return Ok(given);
            }
        }
    }
}

fn too_much(total: usize, taken: usize, parts: &[Part], fixed: &[Option<usize>]) -> ConfigError {
    let named = parts.iter().zip(fixed).filter(|(_, bytes)| bytes.is_some()).map(|(part, bytes)| {
        let twice = if part.times == 2 { " (twice: a flush copies them)" } else { "" };
        format!("{} = {}{twice}", part.key, ByteSize(bytes.unwrap_or_default()))
    });
    let named: Vec<_> = named.collect();
    ConfigError::Rule(format!(
        "memory.max_bytes is {} but {} take {} of it, which leaves too little: raise memory.max_bytes or lower them",
        ByteSize(total),
        named.join(", "),
        ByteSize(taken)
    ))
}
