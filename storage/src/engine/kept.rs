//! What an engine keeps: the clock and the retention as queries and writers ask for them.

use super::Engine;
use crate::error::Result;
use crate::model::{TableId, Timestamp};
use crate::retention::{self, Dropped};

impl Engine {
    /// The time by the engine's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.config.clock.now()
    }

    /// The oldest time of a table's rows that is kept at `now`: older rows are in no answer.
    #[must_use]
    pub fn oldest_kept(&self, table: TableId, now: Timestamp) -> Timestamp {
        self.shared.oldest_kept(table, now)
    }

    /// Drops the files of partitions in which every row has expired.
    ///
    /// # Errors
    /// The first failure of object store or table log; what could be dropped is.
    pub async fn drop_expired(&self) -> Result<Dropped> {
        retention::run(&self.shared).await
    }

    /// What has expired and was dropped since the start.
    #[must_use]
    pub fn dropped(&self) -> Dropped {
        *self.shared.expired.lock()
    }
}
