//! What the routes ask of the engine, and the door that stands between them until it is open.
//!
//! Invariant: the listener may answer before replay is done; until a door is opened, what lies behind it is
//! answered with "not available, come again", never with a wrong result.

mod sql;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ingest::intake::{Intake, WriteError};

pub use sql::{Format, Parameters, Sql, SqlAnswer, SqlError, SqlRequest};

/// How long a client is asked to wait for the replay of the log. One second: replay of a full log takes some.
const OPENING_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The engine as the routes see it. Clones are the same engine.
#[derive(Clone, Default)]
pub struct Engine {
    writes: Arc<OnceLock<Intake>>,
    queries: Arc<OnceLock<Arc<dyn Sql>>>,
}

impl Engine {
    /// Lets writes through. False, and without effect, when they were let through before.
    pub fn open_writes(&self, intake: Intake) -> bool {
        self.writes.set(intake).is_ok()
    }

    /// Lets queries through. False, and without effect, when they were let through before.
    pub fn open_queries(&self, sql: Arc<dyn Sql>) -> bool {
        self.queries.set(sql).is_ok()
    }

    /// The write path.
    ///
    /// # Errors
    /// While it is not open.
    pub fn intake(&self) -> Result<&Intake, WriteError> {
        self.writes.get().ok_or_else(|| WriteError::Unavailable {
            reason: "the engine is starting".into(),
            retry_after: OPENING_RETRY_AFTER,
        })
    }

    /// The SQL service.
    ///
    /// # Errors
    /// While it is not open.
    pub fn sql(&self) -> Result<&dyn Sql, SqlError> {
        self.queries.get().map(Arc::as_ref).ok_or_else(|| SqlError::Unavailable {
            reason: "the engine is starting".into(),
            retry_after: OPENING_RETRY_AFTER,
        })
    }
}
