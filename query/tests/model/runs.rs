//! Rows that wait to be flushed with others: those that spread over several days in files of their own, small tables in
//! memory.

use storage::engine::{Engine, EngineConfig, RunsConfig};

use super::world::SEGMENT_BYTES;

/// With so little the index forgets every series as soon as it may, and has `definitions.log` written anew.
const SERIES_BYTES: usize = 44 << 10;

/// A batch or two.
const SMALL_TABLE_BYTES: usize = 400;

/// Whatever falls on two days waits, and in some seeds small tables do, until the log has some segments. In the other seeds
/// series are forgotten all the time, for which the log must go: there nothing waits.
pub(crate) fn configure(config: &mut EngineConfig, seed: u64) {
    config.small_table_bytes = 0;
    if seed.is_multiple_of(3) {
        config.series_memory = SERIES_BYTES;
    } else {
        config.log_bytes = 5 * SEGMENT_BYTES;
        config.runs = RunsConfig { min_partitions: 2, ..RunsConfig::default() };
        if seed.is_multiple_of(2) {
            config.small_table_bytes = SMALL_TABLE_BYTES;
        }
    }
}

/// Whether rows wait in files that span several days.
pub(crate) fn are_waiting(engine: &Engine) -> bool {
    let snapshot = engine.snapshot();
    snapshot
        .tables()
        .any(|(_, view)| view.files.iter().any(|file| file.path.as_ref().ends_with("-run.parquet")))
}
