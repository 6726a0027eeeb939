//! The doors between the routes and the parts behind them, closed until each part is open.
//!
//! Invariant: the listener may answer before replay is done; until a door is opened, what lies behind it is
//! answered with "not available, come again", never with a wrong result.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use alerting::Alerting;
use ingest::intake::Intake;
use query::QueryService;

use crate::backups::Backups;
use crate::erasures::Erasures;

/// How long a client is asked to wait for the replay of the log. One second: replay of a full log takes some.
pub const OPENING_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The part behind a door is not open yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the engine is starting")]
pub struct Closed;

/// The parts that open after HTTP does. Clones are the same doors.
#[derive(Clone, Default)]
pub struct Doors {
    parts: Arc<Parts>,
}

#[derive(Default)]
struct Parts {
    writes: OnceLock<Intake>,
    queries: OnceLock<Arc<QueryService>>,
    alerting: OnceLock<Arc<Alerting>>,
    backups: OnceLock<Arc<Backups>>,
    erasures: OnceLock<Arc<Erasures>>,
}

impl Doors {
    /// Lets writes through. False, and without effect, when they were let through before.
    pub fn open_writes(&self, intake: Intake) -> bool {
        self.parts.writes.set(intake).is_ok()
    }

    /// Lets queries through. False, and without effect, when they were let through before.
    pub fn open_queries(&self, service: Arc<QueryService>) -> bool {
        self.parts.queries.set(service).is_ok()
    }

    /// Lets rules and alerts through. False, and without effect, when they were let through before.
    pub fn open_alerting(&self, alerting: Arc<Alerting>) -> bool {
        self.parts.alerting.set(alerting).is_ok()
    }

    /// Lets backups be taken. False, and without effect, when they were let before.
    pub fn open_backups(&self, backups: Arc<Backups>) -> bool {
        self.parts.backups.set(backups).is_ok()
    }

    /// Lets deletes be erased. False, and without effect, when they were let before.
    pub fn open_erasures(&self, erasures: Arc<Erasures>) -> bool {
        self.parts.erasures.set(erasures).is_ok()
    }

    /// Erasures.
    ///
    /// # Errors
    /// [`Closed`] until they are open.
    pub fn erasures(&self) -> Result<&Erasures, Closed> {
        self.parts.erasures.get().map(Arc::as_ref).ok_or(Closed)
    }

    /// Backups.
    ///
    /// # Errors
    /// [`Closed`] until they are open.
    pub fn backups(&self) -> Result<&Backups, Closed> {
        self.parts.backups.get().map(Arc::as_ref).ok_or(Closed)
    }

    /// The write path.
    ///
    /// # Errors
    /// [`Closed`] until it is open.
    pub fn intake(&self) -> Result<&Intake, Closed> {
        self.parts.writes.get().ok_or(Closed)
    }

    /// The SQL service.
    ///
    /// # Errors
    /// [`Closed`] until it is open.
    pub fn queries(&self) -> Result<&QueryService, Closed> {
        self.parts.queries.get().map(Arc::as_ref).ok_or(Closed)
    }

    /// Rules and alerts.
    ///
    /// # Errors
    /// [`Closed`] until they are open.
    pub fn alerting(&self) -> Result<&Alerting, Closed> {
        self.parts.alerting.get().map(Arc::as_ref).ok_or(Closed)
    }
}
