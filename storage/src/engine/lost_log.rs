//! A log directory that is gone while definitions and tables stay.
//!
//! Before a row is in a table, `definitions.log` says what its ids mean. So a `definitions.log` without a segment of a
//! log beside it says that there was one, and rows that were acknowledged may have been only there:
//! - `strict`: the engine refuses to start. The log may be on another disk that is not mounted.
//! - `salvage`: a new log is begun, under an epoch of its own, so no commit of the old one hides its rows (TXN-1). Ids
//!   that the lost log may have given are not given again (KEY-2). What is in tables and staged files is as it was.

use super::salvage::Ids;
use super::{EngineConfig, Layout, definitions};
use crate::error::{Error, Result};
use crate::limits;
use crate::log::{self, RecoveryMode, encode_definitions};

/// Tables that a lost log may have defined and no table holds rows of.
const TABLES_LOST: u32 = 100_000;

/// Bytes of memory that a row of a new series takes at least. All series with rows in files are defined beside the log;
/// those of the others were in memory.
const LEAST_SERIES_BYTES: usize = 64;

/// Refuses a directory whose log is gone, or prepares it for a new one.
pub(super) fn begin_anew(config: &EngineConfig) -> Result<()> {
    let (disk, layout) = (&*config.disk, Layout(&config.data_dir));
    let names = disk.list(&layout.log())?;
    let known = disk.metadata(&layout.definitions()).is_ok_and(|found| found.bytes > 0);
    if !known || names.iter().any(|name| log::is_segment(name)) {
        return Ok(());
    }
    if config.recovery == RecoveryMode::Strict {
        return Err(Error::Damaged(format!(
            "{} holds no log, though there was one: bring it back, restore a backup, or give up the rows that were only \
             in it with `busbar serve --log-recovery salvage`",
            layout.log().display()
        )));
    }
    tracing::error!("the log is gone: rows that were not in tables are lost, and a new log is begun");
    let mut ids = Ids::default();
    definitions::load(disk, &layout.definitions())?.iter().for_each(|definition| ids.define(definition));
    let series = u32::try_from(config.memory_limit / LEAST_SERIES_BYTES).unwrap_or(u32::MAX);
    let given = ids.given_and((series, TABLES_LOST), limits::COLUMNS_PER_TABLE);
    definitions::append(disk, &layout.definitions(), &encode_definitions(&given)?)?;
    // What is left of the old one: its spare segments could be taken for frames of a new log, and what it let go for them.
    let is_of_old = |name: &str| name == "epoch" || name == super::let_go::FILE || log::is_spare(name);
    for name in names.iter().filter(|name| is_of_old(name)) {
        disk.remove(&layout.log().join(name))?;
    }
    disk.sync_folder(&layout.log())
}
