//! Jobs of one kind: one at a time, each on a task of its own, remembered for whoever asks.
//!
//! Invariants: whoever asks hears that a job has ended, however it did; after [`Jobs::stop`] none runs. What is known of a
//! job here is gone with the process.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};

use futures::FutureExt as _;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

/// Jobs that are remembered: a day of hourly ones.
const REMEMBERED: usize = 24;

/// One job since the start of the process: what it is about, with its progress, and what comes of it.
pub struct Job<A, R> {
    /// Its number.
    pub number: u64,
    /// What it is about.
    pub about: A,
    outcome: OnceLock<Result<R, String>>,
}

impl<A, R> Job<A, R> {
    /// What came of it, or why nothing did; `None` while it runs.
    #[must_use]
    pub fn outcome(&self) -> Option<Result<&R, &str>> {
        self.outcome.get().map(|outcome| outcome.as_ref().map_err(String::as_str))
    }
}

/// Why no job was begun.
#[derive(Debug, thiserror::Error)]
pub enum NotBegun {
    /// Another one runs.
    #[error("{0} {1} is running: wait until it is done")]
    Busy(&'static str, u64),
    /// The engine is stopping.
    #[error("the engine is stopping")]
    Stopping,
}

/// The jobs of one kind.
pub struct Jobs<A, R> {
    kind: &'static str,
    list: Mutex<List<A, R>>,
}

struct List<A, R> {
    last: u64,
    /// Oldest first.
    remembered: VecDeque<Arc<Job<A, R>>>,
    running: Option<JoinHandle<()>>,
    stopped: bool,
}

impl<A: Send + Sync + 'static, R: Send + Sync + 'static> Jobs<A, R> {
    /// None yet, of a kind that people call so.
    #[must_use]
    pub fn of(kind: &'static str) -> Self {
        let list = List { last: 0, remembered: VecDeque::new(), running: None, stopped: false };
        Self { kind, list: Mutex::new(list) }
    }

    /// Begins a job.
    ///
    /// # Errors
    /// Why it was not begun.
    pub fn start<W>(
        &self,
        about: A,
        work: impl FnOnce(Arc<Job<A, R>>) -> W,
    ) -> Result<Arc<Job<A, R>>, NotBegun>
    where
        W: Future<Output = storage::Result<R>> + Send + 'static,
    {
        let mut list = self.list.lock();
        if list.stopped {
            return Err(NotBegun::Stopping);
        }
        if list.running.as_ref().is_some_and(|task| !task.is_finished()) {
            return Err(NotBegun::Busy(self.kind, list.last));
        }
        list.last += 1;
        let job = Arc::new(Job { number: list.last, about, outcome: OnceLock::new() });
        let (work, of_task) = (Box::pin(work(Arc::clone(&job))), Arc::clone(&job));
        list.running = Some(tokio::spawn(async move {
            let done = AssertUnwindSafe(work).catch_unwind().await;
            let done = done.unwrap_or_else(|_| Err(storage::Error::Internal("it ended with a panic".into())));
            let outcome = done.map_err(|error| error.to_string());
            of_task.outcome.get_or_init(|| outcome);
        }));
        if list.remembered.len() == REMEMBERED {
            list.remembered.pop_front();
        }
        list.remembered.push_back(Arc::clone(&job));
        Ok(job)
    }

    /// The jobs that are remembered, newest first.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Job<A, R>>> {
        self.list.lock().remembered.iter().rev().cloned().collect()
    }

    /// Ends the one that runs, and begins no other.
    pub async fn stop(&self) {
        let running = {
            let mut list = self.list.lock();
            list.stopped = true;
            list.running.take()
        };
        let Some(running) = running else { return };
        running.abort();
        // It has ended, or is cancelled now: either is what was wanted.
        drop(running.await);
    }
}
