//! Rows that spread over several days wait in files of their own, in the seeds that have them do so.

use storage::engine::{Engine, EngineConfig, RunsConfig};

use super::world::SEGMENT_BYTES;

/// With so little the index forgets every series as soon as it may, and has `definitions.log` written anew.
const SERIES_BYTES: usize = 44 << 10;

/// Whatever falls on two days waits, until the log has some segments. In the other seeds series are forgotten all the
/// time, for which the log must go: there nothing waits.
pub(crate) fn configure(config: &mut EngineConfig, seed: u64) {
    if seed.is_multiple_of(3) {
        config.series_memory = SERIES_BYTES;
    } else {
        let log_bytes = 5 * SEGMENT_BYTES;
        config.runs = RunsConfig { min_partitions: 2, log_bytes, ..RunsConfig::default() };
    }
}

/// Whether rows wait in files that span several days.
pub(crate) fn are_waiting(engine: &Engine) -> bool {
    let snapshot = engine.snapshot();
    snapshot
        .tables()
        .any(|(_, view)| view.files.iter().any(|file| file.path.as_ref().ends_with("-run.parquet")))
}
