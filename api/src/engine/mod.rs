//! What the routes ask of the engine, and the door that stands between them until it is open.
//!
//! Invariant: the listener may answer before replay is done; until [`Engine::open`] every write and query is
//! answered with "not available, come again", never with a wrong result.

mod sql;
mod write;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub use sql::{Format, Parameters, Sql, SqlAnswer, SqlError, SqlRequest};
pub use write::{LineProblem, LinesRequest, Mode, RejectedLine, WriteError, Writer, Written};

/// How long a client is asked to wait for the replay of the log. One second: replay of a full log takes some.
const OPENING_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The engine as the routes see it.
#[derive(Clone, Default)]
pub struct Engine {
    parts: Arc<OnceLock<Parts>>,
}

struct Parts {
    writer: Arc<dyn Writer>,
    sql: Arc<dyn Sql>,
}

impl Engine {
    /// Lets requests through. True unless it was open already; then nothing changes.
    pub fn open(&self, writer: Arc<dyn Writer>, sql: Arc<dyn Sql>) -> bool {
        self.parts.set(Parts { writer, sql }).is_ok()
    }

    /// The write path.
    ///
    /// # Errors
    /// While the engine is not open.
    pub fn writer(&self) -> Result<Arc<dyn Writer>, WriteError> {
        let parts = self.parts.get().ok_or_else(|| WriteError::Unavailable {
            reason: "the engine is starting".into(),
            retry_after: OPENING_RETRY_AFTER,
        })?;
        Ok(Arc::clone(&parts.writer))
    }

    /// The SQL service.
    ///
    /// # Errors
    /// While the engine is not open.
    pub fn sql(&self) -> Result<Arc<dyn Sql>, SqlError> {
        let parts = self.parts.get().ok_or_else(|| SqlError::Unavailable {
            reason: "the engine is starting".into(),
            retry_after: OPENING_RETRY_AFTER,
        })?;
        Ok(Arc::clone(&parts.sql))
    }
}
