//! Compaction: many small files of a day become few sorted ones.
//!
//! A *job* ([`plan`]) names files of one table and day that follow each other by their sequences. It is run ([`job`])
//! as a merge of series runs into one new file, which takes the place of the others in one Delta commit and one
//! change of the view.
//!
//! Invariants:
//! - SEQ-2: the inputs of a job are closed. They are all files of their day between the lowest and the highest
//!   upper end among them, so every other file is older than all of them or newer than all of them, and the
//!   output may carry the union of their ranges.
//! - DEL-1: the rows of each input that deletes hide are left out before inputs meet, and the output says so. A job may
//!   have one input for that, and no output when nothing is left.
//! - A query sees the inputs or the output, never both (VIEW-1); the inputs' objects stay until nothing can want
//!   them (see [`crate::vacuum`]).
//! - A job that is stopped, by an error or a crash, has changed nothing. What it wrote is removed as a leftover.
//! - Ingest goes first: one job runs at a time, on a thread of its own, for a bounded share of its time.

mod job;
mod output;
mod pace;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex as SyncMutex;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use tokio::task::JoinHandle;

pub(crate) use self::pace::Pace;

use self::job::Outcome;
use self::plan::{Job, Want};
use crate::clock;
use crate::cluster;
use crate::engine::Shared;
use crate::error::Result;
use crate::model::{Sequence, TableId};
use crate::tombstone::stored;
use crate::vacuum;

/// How often the compactor looks for days that have settled.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// How often objects that nothing can want are removed. Nothing waits for it but disk.
const VACUUM_EVERY: Duration = Duration::from_secs(3_600);

/// After a failed job, so long until the next.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(30);

/// So many jobs may fail before a run gives up: a damaged file fails only its own, a store that is away every one.
const FAILURES_OF_A_RUN: usize = 8;

/// What a file that is read takes at most: a batch of its rows, and of each column a page, packed and unpacked.
pub(crate) const INPUT_BYTES: usize = 4 << 20;

/// How files are merged.
#[derive(Debug, Clone)]
pub struct CompactionConfig {
    /// Whether files are merged without being asked.
    pub enabled: bool,
    /// Files of this size are large enough. A file of 512 MiB holds some 100 million rows of four fields.
    pub target_bytes: u64,
    /// So many files at least are merged into one while a day is being filled: a row is written again a number of
    /// times that grows with the logarithm of the day's rows.
    pub fan_in: usize,
    /// At most so many files are read at a time, if memory allows it.
    pub max_inputs: usize,
    /// Bytes that the files which are read at a time may take.
    pub memory_bytes: usize,
    /// A day to which nothing was added for so long is merged into as few files as its size allows.
    pub settle: Duration,
    /// The share of one processor that merging may take while rows come in, in percent.
    pub cpu_percent: u32,
}

impl Default for CompactionConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            target_bytes: 512 << 20,
            fan_in: 8,
            max_inputs: 64,
            memory_bytes: 64 * INPUT_BYTES,
            settle: Duration::from_secs(3_600),
            cpu_percent: 50,
        }
    }
}

impl CompactionConfig {
    /// Files that are read at a time. Fewer than two cannot be merged.
    #[must_use]
    pub fn inputs_at_once(&self) -> usize {
        self.max_inputs.min(self.memory_bytes / INPUT_BYTES).max(2)
    }
}

/// Runs jobs when there are any, and on demand.
#[derive(Debug)]
pub(crate) struct Compactor {
    shared: Arc<Shared>,
    /// One job at a time.
    turn: Arc<Mutex<()>>,
    stop: watch::Sender<bool>,
    task: SyncMutex<Option<JoinHandle<()>>>,
}

impl Compactor {
    /// Starts the task that merges files, if the configuration says so.
    pub(crate) fn start(shared: Arc<Shared>) -> Self {
        let turn = Arc::new(Mutex::new(()));
        let (stop, stopped) = watch::channel(false);
        let runs = shared.config.background && shared.config.compaction.enabled;
        let task = runs.then(|| tokio::spawn(work(Arc::clone(&shared), Arc::clone(&turn), stopped)));
        Self { shared, turn, stop, task: SyncMutex::new(task) }
    }

    /// Runs jobs until there is none, and returns their number. With `all`, also for days that have not settled.
    pub(crate) async fn run(&self, all: bool) -> Result<usize> {
        let want = if all { Want::All } else { Want::Due };
        run_jobs(&self.shared, &self.turn, &self.stop.subscribe(), want).await
    }

    /// Writes anew the files of some tables that hold rows which deletes up to `delete` hide, and nothing else.
    pub(crate) async fn apply_deletes(&self, delete: Sequence, tables: &HashSet<TableId>) -> Result<usize> {
        let want = Want::Deleted(delete);
        let of_tables = |table: TableId| tables.contains(&table);
        run_jobs_of(&self.shared, &self.turn, &self.stop.subscribe(), want, &of_tables).await
    }

    /// Waits for the job that runs, and keeps the next from beginning.
    pub(crate) async fn pause(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.turn).lock_owned().await
    }

    /// Stops what runs, and ends the task.
    pub(crate) async fn stop(&self) {
        self.stop.send_replace(true);
        let task = self.task.lock().take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the compactor ended badly");
        }
    }
}

async fn work(shared: Arc<Shared>, turn: Arc<Mutex<()>>, mut stopped: watch::Receiver<bool>) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    let mut vacuum = tokio::time::interval(VACUUM_EVERY);
    loop {
        tokio::select! {
            _ = stopped.changed() => return,
            () = shared.compact_wanted.notified() => {}
            _ = look.tick() => {}
            _ = vacuum.tick() => {
                if let Err(error) = vacuum::run(&shared).await {
                    tracing::warn!(%error, "not everything that no table wants could be removed");
                }
            }
        }
        if let Err(error) = run_jobs(&shared, &turn, &stopped, Want::Due).await {
            tracing::error!(%error, "a compaction failed; its files stay as they are and it is tried again");
            tokio::select! {
                _ = stopped.changed() => return,
                () = tokio::time::sleep(PAUSE_AFTER_FAILURE) => {}
            }
        }
    }
}

async fn run_jobs(
    shared: &Arc<Shared>,
    turn: &Mutex<()>,
    stopped: &watch::Receiver<bool>,
    want: Want,
) -> Result<usize> {
    run_jobs_of(shared, turn, stopped, want, &|_| true).await
}

async fn run_jobs_of(
    shared: &Arc<Shared>,
    turn: &Mutex<()>,
    stopped: &watch::Receiver<bool>,
    want: Want,
    tables: &(dyn Fn(TableId) -> bool + Sync),
) -> Result<usize> {
    let _turn = turn.lock().await;
    let (mut done, mut failures) = (0, Vec::new());
    // Days whose job failed or was overtaken: a damaged file must not keep all others from being merged.
    let mut left_alone = HashSet::new();
    // Where nodes share a table, one of them merges its files (TXN-3).
    let (mut leases, mut others) = (HashMap::new(), HashSet::new());
    while failures.len() < FAILURES_OF_A_RUN
        && let Some(job) =
            next_job(shared, want, &left_alone, &|table| tables(table) && !others.contains(&table))
    {
        let Some(lease) = leases.get(&job.table) else {
            match cluster::take_turn(shared, job.table).await {
                Ok(Some(lease)) => drop(leases.insert(job.table, lease)),
                Ok(None) => drop(others.insert(job.table)),
                Err(error) => {
                    others.insert(job.table);
                    failures.push(error);
                }
            }
            // The table may be another than the job was chosen of.
            continue;
        };
        let day = (job.table, job.date);
        match job::run(shared, job, stopped, lease).await {
            Ok(Outcome::Merged { commit_took }) => {
                done += 1;
                cluster::leave_room(shared, commit_took, stopped).await;
                if matches!(want, Want::Deleted(_)) {
                    fail::fail_point!("erasure-between-data-files");
                }
            }
            Ok(Outcome::Cancelled) => break,
            Ok(Outcome::Overtaken) => {
                left_alone.insert(day);
            }
            Err(error) => {
                left_alone.insert(day);
                failures.push(error);
            }
        }
    }
    stored::drop_settled(shared).await;
    for lease in leases.into_values() {
        lease.release().await;
    }
    failures.into_iter().next().map_or(Ok(done), Err)
}

/// The most useful job of all tables: the newest day comes first, because it is asked for most.
fn next_job(
    shared: &Shared,
    want: Want,
    left_alone: &HashSet<(TableId, i32)>,
    tables: &dyn Fn(TableId) -> bool,
) -> Option<Job> {
    let now_ms = clock::now().unix_millis();
    let snapshot = shared.view.snapshot();
    let config = &shared.config.compaction;
    snapshot
        .tables()
        .filter(|(table, _)| tables(*table))
        .filter_map(|(table, view)| {
            let others = view.files.iter().filter(|file| !left_alone.contains(&(table, file.date)));
            let others: Vec<_> = others.cloned().collect();
            plan::next_job(table, &others, &view.tombstones, now_ms, want, config)
        })
        .max_by_key(|job| job.date)
}
