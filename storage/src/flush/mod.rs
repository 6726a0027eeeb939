//! Flush: from memtables to files to tables, then the log is trimmed.
//!
//! A *round*:
//! 1. Every memtable that holds rows is sealed at one sequence (its table's, and the round's, upper end). What deletes
//!    have sealed since the last round comes before.
//! 2. *Stage*: a sealed memtable is sorted, written as Parquet to the staging area and synced; a manifest makes
//!    the set complete. The view changes to the staged files, and the memory is free, whatever the object
//!    store does (TXN-2).
//! 3. *Publish*: definitions are made durable beside the log (KEY-3). The files are put into the table's folder and
//!    committed to its Delta log together with the sequence (TXN-1). The view changes to the table's files.
//! 4. When all of a round and of every round before it is published, the log is trimmed up to the frame at
//!    which the round was sealed, after the deletes that files have not had applied are objects (DEL-1).
//!
//! Invariants: sets of one table are published in the order of their seals (TXN-1); what fails stays where it
//! is, visible and durable, and is tried again by the next round. The tests are those of the engine.

mod publish;
pub(crate) mod signed;
pub(crate) mod staging;
mod sweep;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex as SyncMutex;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use tokio::task::JoinHandle;

pub(crate) use publish::{name_in_table, put};
pub(crate) use staging::{StagedSet, StagingArea};

use crate::clock;
use crate::engine::Shared;
use crate::error::{Error, Result};
use crate::last_value;
use crate::memtable::SealedMemtable;
use crate::model::{DataFile, FrameNumber, TableId};
use crate::tombstone::stored;

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
        let sets = self.0.rounds.iter().flat_map(|round| &round.sets);
        sets.filter_map(
            |(_, set)| if let Set::Staged(staged) = set { Some(Arc::clone(staged)) } else { None },
        )
        .collect()
    }
}

/// The rounds that are not finished.
#[derive(Debug)]
struct State {
    rounds: VecDeque<Round>,
    /// All rows up to this frame are in tables.
    published: FrameNumber,
    /// Staged files that are in a table now; removed from the disk when no snapshot refers to them.
    replaced: Vec<Arc<DataFile>>,
}

#[derive(Debug)]
struct Round {
    /// All rows up to this frame are in this round, an earlier one, or a table.
    frame: FrameNumber,
    sets: Vec<(TableId, Set)>,
}

/// One table's rows in a round.
#[derive(Debug)]
enum Set {
    Sealed(Arc<SealedMemtable>),
    Staged(Arc<StagedSet>),
}

impl Flusher {
    /// Starts the task that flushes when it is due, if the configuration says so. `staged` are sets that were staged before a restart.
    pub(crate) fn start(shared: Arc<Shared>, staged: Vec<StagedSet>) -> Self {
        let sets: Vec<_> = staged.into_iter().map(|s| (s.table, Set::Staged(Arc::new(s)))).collect();
        let adopted = Round { frame: FrameNumber::default(), sets };
        let rounds = VecDeque::from_iter((!adopted.sets.is_empty()).then_some(adopted));
        let state =
            Arc::new(Mutex::new(State { rounds, published: FrameNumber::default(), replaced: Vec::new() }));
        let (stop, stopped) = watch::channel(false);
        let runs = shared.config.background;
        let task = runs.then(|| tokio::spawn(run(Arc::clone(&shared), Arc::clone(&state), stopped)));
        Self { shared, state, stop, task: SyncMutex::new(task) }
    }

    /// Runs one round now, on a task of its own: a caller that goes away leaves no round half done, whose sets
    /// nobody would know of.
    pub(crate) async fn flush(&self) -> Result<()> {
        let (shared, state) = (Arc::clone(&self.shared), Arc::clone(&self.state));
        let round = tokio::spawn(async move { state.lock().await.round(&shared, true).await });
        round.await.map_err(|error| Error::Internal(format!("a flush ended badly: {error}")))?
    }

    /// Waits for the round that runs, and keeps the next from beginning.
    pub(crate) async fn pause(&self) -> Paused {
        Paused(Arc::clone(&self.state).lock_owned().await)
    }

    /// Trims the log as far as tables and consumers allow.
    pub(crate) async fn trim(&self) -> Result<()> {
        self.state.lock().await.trim(&self.shared).await
    }

    /// Ends the task, then runs a last round.
    pub(crate) async fn stop(&self) -> Result<()> {
        self.stop.send_replace(true);
        let task = self.task.lock().take();
        if let Some(task) = task {
            task.await.map_err(|error| Error::Internal(format!("the flusher ended badly: {error}")))?;
        }
        self.flush().await
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
        let (unfinished, due) = (!state.rounds.is_empty(), is_due(&shared));
        if pause > 0 || !(unfinished || due) {
            continue;
        }
        match state.round(&shared, due).await {
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
        || shared.memory.load(Ordering::Relaxed) >= shared.config.flush_bytes
        || shared.is_disk_full()
        || shared.series.wants_round()
}

impl State {
    /// One round: stages and publishes whatever is sealed. With `seal` everything else is sealed first; a round
    /// that only tries again does not, or an hour without a store would become hundreds of small files.
    async fn round(&mut self, shared: &Arc<Shared>, seal: bool) -> Result<()> {
        if seal {
            self.seal(shared);
            last_value::follow_sealed(shared).await;
        }
        let staged = self.stage(shared).await;
        // What a table holds is defined beside the log before it is in the table.
        shared.save_definitions()?;
        let published = self.publish(shared).await;
        stored::drop_settled(shared).await;
        while self.rounds.front().is_some_and(|round| round.sets.is_empty()) {
            self.published = self.rounds.pop_front().map_or(self.published, |round| round.frame);
        }
        self.trim(shared).await?;
        self.remove_replaced(shared);
        last_value::save_due(shared).await;
        staged.and(published)
    }

    /// Trims the log as far as tables and consumers allow.
    async fn trim(&self, shared: &Shared) -> Result<()> {
        if shared.can_trim(self.published) {
            // The record of a delete goes with the log; what it hides must stay hidden (DEL-1).
            stored::put_all(shared).await?;
            shared.trim_log(self.published)?;
        }
        Ok(())
    }

    /// Series can be forgotten only when the log goes: consumers that keep it are asked, and it is trimmed as soon as
    /// they have answered, whether a flush is due or not.
    async fn trim_for_series(&self, shared: &Shared) {
        if shared.series.is_over_room() {
            shared.tap.want_checkpoints(self.published);
            if let Err(error) = self.trim(shared).await {
                tracing::warn!(%error, "the log could not be trimmed; it is tried again");
            }
        }
    }

    fn seal(&mut self, shared: &Shared) {
        *shared.oldest_unsealed.lock() = None;
        if shared.series.is_over_room() {
            // What is sealed now shall leave the log as soon as it is in tables, not when its segment is full.
            let rolled = shared.log.lock().roll();
            if let Err(error) = shared.noting_fault(rolled) {
                tracing::warn!(%error, "no new segment of the log could be begun");
            }
        }
        let (frame, sealed) = shared.view.seal();
        shared.series.next_round(frame);
        let sets: Vec<_> = sealed.into_iter().map(|(table, rows)| (table, Set::Sealed(rows))).collect();
        self.rounds.push_back(Round { frame, sets });
    }

    /// Stages every sealed memtable. One that fails is left for the next round, and is the error; so are the later
    /// ones of its table, because a memtable wins over every file, and a manifest says that all rows up to its
    /// sequence are in files (TXN-2).
    async fn stage(&mut self, shared: &Arc<Shared>) -> Result<()> {
        let mut result = Ok(());
        let mut waiting = HashSet::new();
        let sets = self.rounds.iter_mut().flat_map(|round| round.sets.iter_mut());
        for (table, set) in sets {
            let Set::Sealed(sealed) = set else { continue };
            if waiting.contains(table) {
                continue;
            }
            match staging::stage(Arc::clone(shared), *table, Arc::clone(sealed)).await {
                Ok(staged) => *set = Set::Staged(Arc::new(staged)),
                Err(error) => {
                    result = result.and(Err(error));
                    waiting.insert(*table);
                }
            }
        }
        result
    }

    /// Publishes every staged set whose table has no earlier set waiting.
    async fn publish(&mut self, shared: &Arc<Shared>) -> Result<()> {
        let mut result = Ok(());
        let mut waiting = HashSet::new();
        for round in &mut self.rounds {
            let mut left = Vec::new();
            for (table, set) in std::mem::take(&mut round.sets) {
                let Set::Staged(staged) = &set else {
                    waiting.insert(table);
                    left.push((table, set));
                    continue;
                };
                if waiting.contains(&table) {
                    left.push((table, set));
                    continue;
                }
                match publish::publish(shared, staged).await {
                    Ok(()) => {
                        self.replaced.extend(staged.files.iter().cloned());
                        shared.compact_wanted.notify_one();
                    }
                    Err(error) => {
                        result = result.and(Err(error));
                        waiting.insert(table);
                        left.push((table, set));
                    }
                }
            }
            round.sets = left;
        }
        result
    }

    /// Removes staged files that nothing reads any more.
    fn remove_replaced(&mut self, shared: &Shared) {
        let area = StagingArea::new(shared);
        self.replaced.retain(|file| {
            if Arc::strong_count(file) > 1 {
                return true;
            }
            if let Err(error) = area.remove(file) {
                // It is removed at the next start: no manifest names it.
                tracing::warn!(%error, "a staged file that is in its table could not be removed");
            }
            false
        });
    }
}
