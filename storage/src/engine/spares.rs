//! Makes spares of the log's segments ahead ([`crate::log`]), and saves what the log defines before it has become much.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Layout, Shared};
use crate::error::Result;
use crate::log;

/// The job that looks after the log whenever a segment is half full.
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

    /// Ends the job; what it is doing is finished.
    pub(super) async fn stop(&self) {
        self.stop.send_replace(true);
        let task = self.task.lock().take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the job that looks after the log ended badly");
        }
    }
}

async fn work(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let half_full = shared.log.lock().half_full();
    loop {
        make_ahead(&shared).await;
        tokio::select! {
            biased;
            _ = stopped.changed() => return,
            () = half_full.notified() => {}
        }
        make_ahead(&shared).await;
        // A flush saves them too; until then those of a million new series would wait in memory.
        if let Err(error) = shared.save_definitions().await {
            tracing::warn!(%error, "definitions could not be saved; they are saved with the next flush");
        }
    }
}

/// Makes a spare if one is wanted. Without it, whoever begins the next segment makes it, and says what is wrong.
async fn make_ahead(shared: &Arc<Shared>) {
    let of = Arc::clone(shared);
    // Whoever writes holds the log while it syncs.
    match tokio::task::spawn_blocking(move || make_spare(&of)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "a spare segment of the log could not be made ahead"),
        Err(error) => tracing::error!(%error, "making a spare segment of the log ended badly"),
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
