//! Backups of the running engine: one at a time, each on a task of its own, with its progress for whoever asks.
//!
//! Invariants: a backup that is not [done](jobs::Job::outcome) holds the log only while it copies it; after
//! [`Backups::stop`] none runs. What is known of a backup here is gone with the process; the place of backups knows
//! which there are.

use std::sync::Arc;

use alerting::Alerting;
use storage::backup::{BackupId, Counts, Destination, Place, Progress, back_up};
use storage::engine::Engine;
use storage::quarantine::Quarantine;
use storage::stream::FrozenStream;

use crate::config::{Config, ConfigError};
use crate::jobs::{self, Jobs, NotBegun};

/// Takes backups.
pub struct Backups {
    engine: Engine,
    alerting: Arc<Alerting>,
    quarantine: Arc<Quarantine>,
    config: Config,
    jobs: Jobs<Taking, BackupId>,
}

/// One backup since the start of the process.
pub type Job = jobs::Job<Taking, BackupId>;

/// Where a backup goes, and how far it is.
pub struct Taking {
    /// Where it goes.
    pub to: String,
    progress: Progress,
}

impl Taking {
    /// How far it is.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.progress.counts()
    }
}

/// Why no backup was begun.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Another one runs, or the engine is stopping.
    #[error(transparent)]
    NotBegun(#[from] NotBegun),
    /// The place is none.
    #[error(transparent)]
    Place(#[from] ConfigError),
    /// The folder depends on where the engine was started.
    #[error("the place of backups is a relative path: name it from the root, as the engine sees it")]
    Relative,
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
        Self { engine, alerting, quarantine, config, jobs: Jobs::of("backup") }
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
        let about = Taking { to: to.to_owned(), progress: Progress::default() };
        let engine = self.engine.clone();
        let (alerting, quarantine) = (Arc::clone(&self.alerting), Arc::clone(&self.quarantine));
        let job = self.jobs.start(about, |job| async move {
            let Taking { to, progress } = &job.about;
            let taken = Box::pin(take(engine, freeze(&alerting, &quarantine), place, keep, progress)).await;
            match &taken {
                Ok(id) => tracing::info!(%id, to, "a backup is done"),
                Err(error) => tracing::error!(%error, to, "a backup failed"),
            }
            taken
        })?;
        Ok(job)
    }

    /// The backups that are remembered, newest first.
    #[must_use]
    pub fn jobs(&self) -> Vec<Arc<Job>> {
        self.jobs.all()
    }

    /// Ends the one that runs, which leaves no backup, and begins no other.
    pub async fn stop(&self) {
        self.jobs.stop().await;
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
