//! Flush: from memtables to files to tables, then the log is trimmed.
//!
//! A *round*:
//! 1. Every memtable that holds rows is sealed at one sequence (its table's, and the round's, upper end). What deletes
//!    have sealed since the last round comes before. Small ones that have not waited for long may wait for a later
//!    round: the log stays from their first row on.
//! 2. *Stage*: a sealed memtable is sorted, written as Parquet to the staging area and synced; a manifest makes
//!    the set complete. The view changes to the staged files, and the memory is free, whatever the object
//!    store does (TXN-2).
//!    Where few rows fall on each of many partitions the set is a *run* ([`runs`]).
//! 3. *Gather*: runs of a table wait until there are enough of them, and are merged into one set ([`gather`]).
//! 4. *Publish*: definitions are made durable beside the log (KEY-3). The files are put into the table's folder and
//!    committed to its Delta log together with the sequence (TXN-1). The view changes to the table's files.
//! 5. When all of a round and of every round before it is published, the log is trimmed up to the frame at
//!    which the round was sealed, after the deletes that files have not had applied are objects (DEL-1).
//!
//! Invariants: sets of one table are published in the order of their seals (TXN-1); what fails stays where it
//! is, visible and durable, and is tried again by the next round. The tests are those of the engine.

mod gather;
pub(crate) mod manifest;
mod publish;
mod round;
mod runs;
pub(crate) mod signed;
pub(crate) mod staging;
mod sweep;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex as SyncMutex;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use tokio::task::JoinHandle;

pub(crate) use manifest::StagedSet;
pub(crate) use publish::{name_in_table, put};
pub use runs::RunsConfig;
pub(crate) use staging::StagingArea;

use self::round::{Gathering, Seal, State};
use crate::clock;
use crate::engine::Shared;
use crate::error::{Error, Result};
use crate::model::FrameNumber;

/// How often the flusher looks whether a row has waited too long or a failed round can go on.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// After a failed round, so many looks pass before the next try.
const RETRY_AFTER_LOOKS: u32 = 5;

/// Runs rounds when they are due, and on demand.
#[derive(Debug)]
pub(crate) struct Flusher {
    shared: Arc<Shared>,
    state: Arc<Mutex<State>>,
    stop: watch::Sender<bool>,
    task: SyncMutex<Option<JoinHandle<()>>>,
}

/// Rounds that are kept from running: nothing is sealed, staged or published, and the log is not trimmed.
#[derive(Debug)]
pub(crate) struct Paused(OwnedMutexGuard<State>);

impl Paused {
    /// The sets that are staged and not wholly published. Whoever holds one keeps its files.
    pub(crate) fn staged(&self) -> Vec<Arc<StagedSet>> {
        self.0.staged().cloned().collect()
    }
}

impl Flusher {
    /// Starts the task that flushes when it is due, if the configuration says so. `staged` are sets that were staged before a restart.
    pub(crate) fn start(shared: Arc<Shared>, staged: Vec<StagedSet>) -> Self {
        let state = Arc::new(Mutex::new(State::adopting(staged)));
        let (stop, stopped) = watch::channel(false);
        let runs = shared.config.background;
        let task = runs.then(|| tokio::spawn(run(Arc::clone(&shared), Arc::clone(&state), stopped)));
        Self { shared, state, stop, task: SyncMutex::new(task) }
    }

    /// Runs one round now, after which all rows are in tables.
    pub(crate) async fn flush(&self) -> Result<()> {
        self.round(Seal::All, Gathering::All).await
    }

    /// Runs one round now, as if one were due: small tables wait, and so do runs.
    pub(crate) async fn flush_due(&self) -> Result<()> {
        self.round(Seal::Due, Gathering::Due).await
    }

    /// On a task of its own: a caller that goes away leaves no round half done, whose sets nobody would know of.
    async fn round(&self, seal: Seal, gathering: Gathering) -> Result<()> {
        let (shared, state) = (Arc::clone(&self.shared), Arc::clone(&self.state));
        let round = tokio::spawn(async move { state.lock().await.round(&shared, seal, gathering).await });
        round.await.map_err(|error| Error::Internal(format!("a flush ended badly: {error}")))?
    }

    /// Waits for the round that runs, and keeps the next from beginning.
    pub(crate) async fn pause(&self) -> Paused {
        Paused(Arc::clone(&self.state).lock_owned().await)
    }

    /// Waits until no runs are being merged either.
    pub(crate) async fn pause_merging(&self) -> Result<Paused> {
        loop {
            let paused = self.pause().await;
            if !paused.0.is_merging() {
                return Ok(paused);
            }
            drop(paused);
            self.flush().await?;
        }
    }

    /// All rows up to this frame are in tables.
    pub(crate) async fn published(&self) -> FrameNumber {
        self.state.lock().await.published
    }

    /// Trims the log as far as tables and consumers allow.
    pub(crate) async fn trim(&self) -> Result<()> {
        self.state.lock().await.trim(&self.shared).await
    }

    /// Ends the task, then runs a last round. Runs stay staged: merging them would make the end wait.
    pub(crate) async fn stop(&self) -> Result<()> {
        self.stop.send_replace(true);
        let task = self.task.lock().take();
        if let Some(task) = task {
            task.await.map_err(|error| Error::Internal(format!("the flusher ended badly: {error}")))?;
        }
        self.round(Seal::All, Gathering::Due).await
    }
}

async fn run(shared: Arc<Shared>, state: Arc<Mutex<State>>, mut stopped: watch::Receiver<bool>) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    let mut pause = 0_u32;
    // Said once: a store may be away for hours.
    let mut failed = false;
    loop {
        tokio::select! {
            _ = stopped.changed() => return,
            () = shared.flush_wanted.notified() => {}
            _ = look.tick() => pause = pause.saturating_sub(1),
        }
        let mut state = state.lock().await;
        state.remove_replaced(&shared);
        state.trim_for_series(&shared).await;
        let (unfinished, due) = (state.is_unfinished(&shared), is_due(&shared));
        if pause > 0 || !(unfinished || due) {
            continue;
        }
        let seal = if due { Seal::Due } else { Seal::None };
        match state.round(&shared, seal, Gathering::Beside).await {
            Ok(()) if failed => {
                tracing::info!("the flush that had failed is done");
                failed = false;
            }
            Ok(()) => {}
            Err(error) => {
                if !failed {
                    tracing::error!(%error, "a flush failed; its rows stay readable and it is tried again");
                }
                failed = true;
                pause = RETRY_AFTER_LOOKS;
            }
        }
    }
}

fn is_due(shared: &Shared) -> bool {
    let oldest = *shared.oldest_unsealed.lock();
    let waited = oldest.map(|since| clock::instant().duration_since(since));
    waited.is_some_and(|waited| waited >= shared.config.flush_age)
        || shared.is_flush_worth(shared.memory.load(Ordering::Relaxed))
        || shared.is_disk_full()
        || shared.series.wants_round()
}
