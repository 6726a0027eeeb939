//! Erasures of the running engine: one at a time, each on a task of its own, with its report for whoever asks.
//!
//! This is where what the engine does not know of its data directory is named: streams of alerts, the registry, what queries
//! spill, and backups. A part that keeps telemetry somewhere of its own gets a line in [`neighbours`].
//!
//! Invariant: after [`Erasures::stop`] none runs. A job that is cut leaves nothing that the next one does not finish.

use std::collections::{BTreeSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt as _;
use parking_lot::Mutex;
use storage::backup::{Destination, Place};
use storage::engine::Engine;
use storage::erasure::{Neighbour, Progress, Report, Treatment, Wanted};
use storage::quarantine::Quarantine;
use tokio::task::JoinHandle;

use crate::backups::Backups;
use crate::config::{Config, ConfigError};

/// Erasures that are remembered.
const REMEMBERED: usize = 24;

/// Queries end at their deadline, and let go of their files soon after.
const AFTER_THE_DEADLINE: Duration = Duration::from_secs(5);

/// Runs erasures.
pub struct Erasures {
    engine: Engine,
    backups: Arc<Backups>,
    quarantine: Arc<Quarantine>,
    config: Config,
    jobs: Mutex<Jobs>,
}

#[derive(Default)]
struct Jobs {
    last: u64,
    /// Oldest first.
    remembered: VecDeque<Arc<Job>>,
    running: Option<JoinHandle<()>>,
    stopped: bool,
}

/// One erasure since the start of the process.
pub struct Job {
    /// Its number.
    pub number: u64,
    progress: Progress,
    outcome: OnceLock<Result<Report, String>>,
}

/// What a client asks for.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// The database; all if not given.
    pub database: Option<String>,
    /// The table; all if not given.
    pub table: Option<String>,
    /// How long each step waits.
    pub wait: Option<Duration>,
    /// Places of backups, whose backups the report names.
    pub backups: Vec<String>,
}

/// Why no erasure was begun.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Another one runs.
    #[error("erasure {0} is running: wait until it is done")]
    Busy(u64),
    /// There is no such table.
    #[error("there is no such table")]
    NoTable,
    /// A place of backups is none.
    #[error(transparent)]
    Place(#[from] ConfigError),
    /// The engine is stopping.
    #[error("the engine is stopping")]
    Stopping,
}

impl Job {
    /// The place that is looked at.
    #[must_use]
    pub fn place(&self) -> &'static str {
        self.progress.place()
    }

    /// The report, or why there is none; `None` while it runs.
    #[must_use]
    pub fn outcome(&self) -> Option<Result<&Report, &str>> {
        self.outcome.get().map(|outcome| outcome.as_ref().map_err(String::as_str))
    }
}

impl Erasures {
    /// Erasures of this engine, whose backups are those.
    #[must_use]
    pub fn new(engine: Engine, backups: Arc<Backups>, quarantine: Arc<Quarantine>, config: &Config) -> Self {
        Self { engine, backups, quarantine, config: config.clone(), jobs: Mutex::default() }
    }

    /// Begins an erasure.
    ///
    /// # Errors
    /// Why it was not begun.
    pub fn start(&self, scope: Scope) -> Result<Arc<Job>, Refused> {
        let places = self.places(&scope)?;
        if !self.has_tables(&scope) {
            return Err(Refused::NoTable);
        }
        let mut jobs = self.jobs.lock();
        if jobs.stopped {
            return Err(Refused::Stopping);
        }
        if jobs.running.as_ref().is_some_and(|task| !task.is_finished()) {
            return Err(Refused::Busy(jobs.last));
        }
        jobs.last += 1;
        let (progress, outcome) = (Progress::default(), OnceLock::new());
        let job = Arc::new(Job { number: jobs.last, progress, outcome });
        let (engine, of_task) = (self.engine.clone(), Arc::clone(&job));
        let quarantine = Arc::clone(&self.quarantine);
        let wait = scope.wait.unwrap_or(self.config.query.deadline.0 + AFTER_THE_DEADLINE);
        let wanted = Wanted {
            database: scope.database,
            table: scope.table,
            wait,
            neighbours: neighbours(),
            backups: Vec::new(),
        };
        jobs.running = Some(tokio::spawn(async move {
            let work = Box::pin(erase(&engine, &quarantine, (wanted, places), &of_task.progress));
            // Whoever asks must hear that it has ended, however it did.
            let done = AssertUnwindSafe(work).catch_unwind().await;
            let done = done.unwrap_or_else(|_| Err(storage::Error::Internal("it ended with a panic".into())));
            match &done {
                Ok(report) if report.is_complete() => {
                    tracing::info!(up_to = report.up_to, "deletes are erased")
                }
                Ok(report) => {
                    let left: Vec<_> =
                        report.places.iter().filter(|place| !place.left.is_empty()).map(|p| p.name).collect();
                    tracing::warn!(?left, "an erasure left something: run it again");
                }
                Err(error) => tracing::error!(%error, "an erasure failed: run it again"),
            }
            let outcome = done.map_err(|error| error.to_string());
            of_task.outcome.get_or_init(|| outcome);
        }));
        if jobs.remembered.len() == REMEMBERED {
            jobs.remembered.pop_front();
        }
        jobs.remembered.push_back(Arc::clone(&job));
        Ok(job)
    }

    /// The erasures that are remembered, newest first.
    #[must_use]
    pub fn jobs(&self) -> Vec<Arc<Job>> {
        self.jobs.lock().remembered.iter().rev().cloned().collect()
    }

    /// Ends the one that runs, and begins no other.
    pub async fn stop(&self) {
        let running = {
            let mut jobs = self.jobs.lock();
            jobs.stopped = true;
            jobs.running.take()
        };
        let Some(running) = running else { return };
        running.abort();
        // It has ended, or is cancelled now: either is what was wanted.
        drop(running.await);
    }

    /// The places of backups that are asked about, and those of this process.
    fn places(&self, scope: &Scope) -> Result<Vec<(String, Place)>, ConfigError> {
        let done = self.backups.jobs().into_iter().filter(|job| matches!(job.outcome(), Some(Ok(_))));
        let of_process = done.map(|job| job.to.clone());
        let names: BTreeSet<String> = scope.backups.iter().cloned().chain(of_process).collect();
        names.into_iter().map(|name| Ok((name.clone(), self.config.backup_place(&name)?))).collect()
    }

    fn has_tables(&self, scope: &Scope) -> bool {
        let is = |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|wanted| wanted == name);
        let tables = self.engine.catalog().all_tables();
        let has = tables.iter().any(|schema| {
            is(&scope.database, schema.database.as_str()) && is(&scope.table, schema.name.as_str())
        });
        has || (scope.database.is_none() && scope.table.is_none())
    }
}

async fn erase(
    engine: &Engine,
    quarantine: &Arc<Quarantine>,
    (wanted, places): (Wanted, Vec<(String, Place)>),
    progress: &Progress,
) -> storage::Result<Report> {
    let mut backups = Vec::new();
    for (name, place) in places {
        let destination = Destination::open_to_read(&place)?;
        backups.extend(destination.ids().await?.into_iter().map(|id| format!("{name}/{id}")));
    }
    quarantine.rewrite().await?;
    engine.erase(&Wanted { backups, ..wanted }, progress).await
}

/// What lies in a data directory and is not the engine's.
fn neighbours() -> Vec<Neighbour> {
    let kept =
        |place, path: &str, why| Neighbour { place, path: path.into(), treatment: Treatment::Kept(why) };
    vec![
        kept(
            "alert history",
            "alerting/alerts",
            "an audit record: which rule fired for which device, with the values that caused it, for as long as alerts \
             are kept",
        ),
        kept(
            "notifications",
            "alerting/notifications",
            "an audit record: what was sent of alerts, for as long as alerts are kept",
        ),
        kept(
            "rule state",
            "alerting/rule-state",
            "the newest state of rules, with the values of alerts that fire; each snapshot replaces the one before",
        ),
        kept("registry", "registry", "buildings, rooms and devices are no telemetry: delete a device there"),
        kept(
            "quarantined lines",
            storage::quarantine::FOLDER,
            "lines that were refused and that no delete covers: those that one covered left with it, and their bytes when \
             this job began",
        ),
        Neighbour { place: "spilled queries", path: "spill".into(), treatment: Treatment::Passing },
    ]
}
