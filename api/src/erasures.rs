//! Erasures of the running engine: one at a time, each on a task of its own, with its report for whoever asks.
//!
//! This is where what the engine does not know of its data directory is named: streams of alerts, the registry, what queries
//! spill, and backups. A part that keeps telemetry somewhere of its own gets a line in [`neighbours`].
//!
//! Invariant: after [`Erasures::stop`] none runs. A job that is cut leaves nothing that the next one does not finish.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use storage::backup::{Destination, Place};
use storage::engine::Engine;
use storage::erasure::{Neighbour, Progress, Remnant, Report, Treatment, Wanted};
use storage::quarantine::Quarantine;

use crate::backups::Backups;
use crate::config::{Config, ConfigError};
use crate::jobs::{self, Jobs, NotBegun};

/// The place of the quarantine in a report.
const QUARANTINE: &str = "quarantined lines";

/// Queries end at their deadline, and let go of their files soon after.
const AFTER_THE_DEADLINE: Duration = Duration::from_secs(5);

/// Runs erasures.
pub struct Erasures {
    engine: Engine,
    backups: Arc<Backups>,
    quarantine: Arc<Quarantine>,
    config: Config,
    jobs: Jobs<Progress, Report>,
}

/// One erasure since the start of the process.
pub type Job = jobs::Job<Progress, Report>;

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
    /// Another one runs, or the engine is stopping.
    #[error(transparent)]
    NotBegun(#[from] NotBegun),
    /// There is no such table.
    #[error("there is no such table")]
    NoTable,
    /// A place of backups is none.
    #[error(transparent)]
    Place(#[from] ConfigError),
}

impl Erasures {
    /// Erasures of this engine, whose backups are those.
    #[must_use]
    pub fn new(engine: Engine, backups: Arc<Backups>, quarantine: Arc<Quarantine>, config: &Config) -> Self {
        Self { engine, backups, quarantine, config: config.clone(), jobs: Jobs::of("erasure") }
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
        let (engine, quarantine) = (self.engine.clone(), Arc::clone(&self.quarantine));
        let wait = scope.wait.unwrap_or(self.config.query.deadline.0 + AFTER_THE_DEADLINE);
        let wanted = Wanted {
            database: scope.database,
            table: scope.table,
            wait,
            neighbours: neighbours(),
            backups: Vec::new(),
        };
        let job = self.jobs.start(Progress::default(), |job| async move {
            let done = Box::pin(erase(&engine, &quarantine, (wanted, places), &job.about)).await;
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
            done
        })?;
        Ok(job)
    }

    /// The erasures that are remembered, newest first.
    #[must_use]
    pub fn jobs(&self) -> Vec<Arc<Job>> {
        self.jobs.all()
    }

    /// Ends the one that runs, and begins no other.
    pub async fn stop(&self) {
        self.jobs.stop().await;
    }

    /// The places of backups that are asked about, and those of this process.
    fn places(&self, scope: &Scope) -> Result<Vec<(String, Place)>, ConfigError> {
        let done = self.backups.jobs().into_iter().filter(|job| matches!(job.outcome(), Some(Ok(_))));
        let of_process = done.map(|job| job.about.to.clone());
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
    let rewritten = quarantine.rewrite().await;
    let mut report = engine.erase(&Wanted { backups, ..wanted }, progress).await?;
    if let Err(error) = rewritten {
        tracing::error!(%error, "the quarantine could not be written again: an erasure leaves it as it is");
        let (what, why) = (format!("{}/", storage::quarantine::FOLDER), error.to_string());
        if let Some(place) = report.places.iter_mut().find(|place| place.name == QUARANTINE) {
            place.left.push(Remnant { what, why });
        }
    }
    Ok(report)
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
            QUARANTINE,
            storage::quarantine::FOLDER,
            "lines that were refused and that no delete covers: those that one covered left with it, and their bytes when \
             this job began",
        ),
        Neighbour { place: "spilled queries", path: "spill".into(), treatment: Treatment::Passing },
    ]
}
