//! The first start of a restored data directory: see [`storage::backup::Restored`].
//!
//! Invariant: nothing listens for rows, and nobody is notified, before the directory has a log of its own.

use storage::backup::Restored;
use storage::engine::EngineConfig;

use super::{AppError, open_alerting, storage_error};
use crate::config::Config;

/// Settles the directory if it was restored and has not been started since.
pub(super) async fn settle(config: &Config, settings: &EngineConfig) -> Result<(), AppError> {
    let opened = Restored::open(settings.clone()).await.map_err(storage_error("open", config))?;
    let Some(restored) = opened else { return Ok(()) };
    // The rules take what they had not seen, and snapshot: afterwards they need nothing of the old log.
    let alerting = open_alerting(config, restored.engine()).await?;
    alerting.stop().await?;
    drop(alerting);
    restored.settle().await.map_err(storage_error("settle", config))
}
