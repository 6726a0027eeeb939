//! Makes spares of the log's segments ahead: see [`crate::log`].

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Layout, Shared};
use crate::error::Result;
use crate::log;

/// The job that makes spares.
#[derive(Debug)]
pub(super) struct SparesJob {
    stop: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl SparesJob {
    /// Starts the job.
    pub(super) fn start(shared: &Arc<Shared>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let task = shared.config.background.then(|| tokio::spawn(work(Arc::clone(shared), stopped)));
        Self { stop, task: Mutex::new(task) }
    }

    /// Ends the job; a spare that is being made is finished.
    pub(super) async fn stop(&self) {
        self.stop.send_replace(true);
        let task = self.task.lock().take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the job that makes spares of the log ended badly");
        }
    }
}

async fn work(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let half_full = shared.log.lock().half_full();
    loop {
        let of = Arc::clone(&shared);
        // Whoever writes holds the log while it syncs.
        let made = tokio::task::spawn_blocking(move || make_spare(&of)).await;
        // Without a spare, whoever begins the next segment makes it, and says what is wrong.
        match made {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "a spare segment of the log could not be made ahead"),
            Err(error) => tracing::error!(%error, "making a spare segment of the log ended badly"),
        }
        tokio::select! {
            _ = stopped.changed() => return,
            () = half_full.notified() => {}
        }
    }
}

fn make_spare(shared: &Shared) -> Result<()> {
    if shared.is_disk_full() {
        return Ok(());
    }
    let Some(number) = shared.log.lock().wanted_spare()? else { return Ok(()) };
    let config = &shared.config;
    let folder = Layout(&config.data_dir).log();
    let spare = log::make_spare(&*config.disk, &folder, number, config.segment_bytes)?;
    shared.log.lock().add_spares(&[spare])
}
