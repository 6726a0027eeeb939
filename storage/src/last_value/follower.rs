//! Follows tables beside everything else: those that fell behind, by reading files at an easy pace, and those that
//! were asked for lately, so that a reader finds little to catch up with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::WARM;
use super::catch_up::{self, FileReader};
use crate::clock;
use crate::compaction::Pace;
use crate::engine::Shared;
use crate::error::{Error, Result};
use crate::model::TableId;

/// How often tables that were asked for lately are followed: 25,000 rows at 100,000 rows/s, some 3 ms of work.
const FOLLOW_EVERY: Duration = Duration::from_millis(250);

/// The share of a processor that reading files may take.
const CPU_PERCENT: u32 = 50;

/// The task that follows.
#[derive(Debug)]
pub(crate) struct Follower {
    cancelled: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Follower {
    /// Starts the task, if the configuration says so.
    pub(crate) fn start(shared: &Arc<Shared>) -> Self {
        let cancelled = Arc::new(AtomicBool::new(false));
        let (stop, stopped) = watch::channel(false);
        let work = || tokio::spawn(work(Arc::clone(shared), Arc::clone(&cancelled), stopped));
        let task = Mutex::new(shared.config.background.then(work));
        Self { cancelled, stop, task }
    }

    /// Stops what runs, and ends the task.
    pub(crate) async fn stop(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
        self.stop.send_replace(true);
        let task = self.task.lock().take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "following last values ended badly");
        }
    }
}

async fn work(shared: Arc<Shared>, cancelled: Arc<AtomicBool>, mut stopped: watch::Receiver<bool>) {
    let mut tick = tokio::time::interval(FOLLOW_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stopped.changed() => return,
            () = shared.last_values.behind_wanted.notified() => {
                while let Some(table) = shared.last_values.next_behind() {
                    if let Err(error) = read_files(&shared, table, &cancelled).await {
                        // The next flush of the table says again that it is behind.
                        tracing::warn!(%error, "last values could not be followed");
                    }
                }
            }
            _ = tick.tick() => follow_warm(&shared).await,
        }
    }
}

async fn read_files(shared: &Arc<Shared>, table: TableId, cancelled: &Arc<AtomicBool>) -> Result<()> {
    let (shared, handle, cancelled) = (Arc::clone(shared), Handle::current(), Arc::clone(cancelled));
    let read = move || {
        let reader = FileReader { handle, cancelled, pace: Some(Pace::new(CPU_PERCENT)) };
        catch_up::catch_up(&shared, &shared.last_values.followed(table), Some(reader)).map(drop)
    };
    let done = tokio::task::spawn_blocking(read).await;
    done.map_err(|error| Error::Internal(format!("reading files ended badly: {error}")))?
}

async fn follow_warm(shared: &Arc<Shared>) {
    let now = clock::instant();
    let is_warm = |asked: std::time::Instant| now.duration_since(asked) < WARM;
    let mut tables = shared.last_values.all();
    tables.retain(|followed| followed.asked.lock().is_some_and(is_warm));
    if tables.is_empty() {
        return;
    }
    let shared = Arc::clone(shared);
    let follow = move || tables.iter().for_each(|followed| catch_up::follow(&shared, followed));
    if let Err(error) = tokio::task::spawn_blocking(follow).await {
        tracing::error!(%error, "following last values ended badly");
    }
}
