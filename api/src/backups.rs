//! Backups of the running engine: one at a time, each on a task of its own, with its progress for whoever asks.
//!
//! Invariants: a backup that is not [done](Job::outcome) holds the log only while it copies it; after
//! [`Backups::stop`] none runs. What is known of a backup here is gone with the process; the place of backups knows
//! which there are.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};

use alerting::Alerting;
use futures::FutureExt as _;
use parking_lot::Mutex;
use storage::backup::{BackupId, Counts, Destination, Place, Progress, back_up};
use storage::engine::Engine;
use storage::quarantine::Quarantine;
use storage::stream::FrozenStream;
use tokio::task::JoinHandle;

use crate::config::{Config, ConfigError};

/// Backups that are remembered: a day of hourly ones.
const REMEMBERED: usize = 24;

/// Takes backups.
pub struct Backups {
    engine: Engine,
    alerting: Arc<Alerting>,
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

/// One backup since the start of the process.
pub struct Job {
    /// Its number.
    pub number: u64,
    /// Where it goes.
    pub to: String,
    progress: Progress,
    outcome: OnceLock<Result<BackupId, String>>,
}

/// Why no backup was begun.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Another one runs.
    #[error("backup {0} is running: wait until it is done")]
    Busy(u64),
    /// The place is none.
    #[error(transparent)]
    Place(#[from] ConfigError),
    /// The folder depends on where the engine was started.
    #[error("the place of backups is a relative path: name it from the root, as the engine sees it")]
    Relative,
    /// The engine is stopping.
    #[error("the engine is stopping")]
    Stopping,
}

impl Job {
    /// How far it is.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.progress.counts()
    }

    /// The backup, or why there is none; `None` while it runs.
    #[must_use]
    pub fn outcome(&self) -> Option<Result<&BackupId, &str>> {
        self.outcome.get().map(|outcome| outcome.as_ref().map_err(String::as_str))
    }
}

impl Backups {
    /// Backups of this engine, the rules that follow it, and what it could not store.
    #[must_use]
    pub fn new(
        engine: Engine,
        alerting: &Arc<Alerting>,
        quarantine: Arc<Quarantine>,
        config: &Config,
    ) -> Self {
        let (alerting, config) = (Arc::clone(alerting), config.clone());
        Self { engine, alerting, quarantine, config, jobs: Mutex::default() }
    }

    /// Begins a backup to `to`, after which only the newest `keep` stay there.
    ///
    /// # Errors
    /// Why it was not begun.
    pub fn start(&self, to: &str, keep: Option<usize>) -> Result<Arc<Job>, Refused> {
        let place = self.config.backup_place(to)?;
        if matches!(&place, Place::Folder(folder) if !folder.is_absolute()) {
            return Err(Refused::Relative);
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
        let job = Arc::new(Job { number: jobs.last, to: to.to_owned(), progress, outcome });
        let (engine, of_task) = (self.engine.clone(), Arc::clone(&job));
        let (alerting, quarantine) = (Arc::clone(&self.alerting), Arc::clone(&self.quarantine));
        jobs.running = Some(tokio::spawn(async move {
            let work = Box::pin(take(engine, freeze(&alerting, &quarantine), place, keep, &of_task.progress));
            // Whoever asks must hear that it has ended, however it did.
            let taken = AssertUnwindSafe(work).catch_unwind().await;
            let taken =
                taken.unwrap_or_else(|_| Err(storage::Error::Internal("it ended with a panic".into())));
            match &taken {
                Ok(id) => tracing::info!(%id, to = of_task.to, "a backup is done"),
                Err(error) => tracing::error!(%error, to = of_task.to, "a backup failed"),
            }
            let outcome = taken.map_err(|error| error.to_string());
            of_task.outcome.get_or_init(|| outcome);
        }));
        if jobs.remembered.len() == REMEMBERED {
            jobs.remembered.pop_front();
        }
        jobs.remembered.push_back(Arc::clone(&job));
        Ok(job)
    }

    /// The backups that are remembered, newest first.
    #[must_use]
    pub fn jobs(&self) -> Vec<Arc<Job>> {
        self.jobs.lock().remembered.iter().rev().cloned().collect()
    }

    /// Ends the one that runs, which leaves no backup, and begins no other.
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
}

async fn take(
    engine: Engine,
    streams: impl Future<Output = storage::Result<Vec<FrozenStream>>> + Send,
    place: Place,
    keep: Option<usize>,
    progress: &Progress,
) -> storage::Result<BackupId> {
    let data_dir = engine.config().data_dir.clone();
    let opened = tokio::task::spawn_blocking(move || Destination::open(&place, &data_dir)).await;
    let opened =
        opened.map_err(|error| storage::Error::Internal(format!("the place could not be opened: {error}")));
    let destination = opened??;
    let manifest = back_up(&engine, streams, &destination, progress).await?;
    if let Some(keep) = keep {
        destination.keep_newest(keep).await?;
    }
    Ok(manifest.id)
}

async fn freeze(alerting: &Alerting, quarantine: &Arc<Quarantine>) -> storage::Result<Vec<FrozenStream>> {
    let mut streams = alerting.freeze().await.map_err(|error| match error {
        alerting::Error::Storage(error) => error,
        alerting::Error::Stopped => storage::Error::Closing,
        other => storage::Error::Internal(other.to_string()),
    })?;
    // A line that a replay has stored and removed is in the log by now, whose end is taken later.
    streams.push(quarantine.freeze().await?);
    Ok(streams)
}
