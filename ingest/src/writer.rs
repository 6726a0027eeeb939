//! The one writer: a thread of its own that takes groups from the ring and commits them.
//!
//! Invariant: `commit` is the only way to an acknowledgement, and its order is log, disk, memory,
//! acknowledgement. The types of [`storage::engine`] do not let another order compile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use storage::clock;
use storage::engine::{Committer, Visible};

use crate::ring::{CommitError, Company, Group, Ring, Submission};

/// What the writer has done since the start, for `/metrics`.
#[derive(Debug, Default)]
pub struct WriterMetrics {
    /// Groups committed: each is one write and one sync.
    pub groups: AtomicU64,
    /// Requests committed.
    pub requests: AtomicU64,
    /// Rows committed, before last-write-wins.
    pub rows: AtomicU64,
    /// Bytes written to the log for them.
    pub bytes: AtomicU64,
    /// Groups that failed.
    pub failures: AtomicU64,
    /// Nanoseconds spent writing frames.
    pub append_ns: AtomicU64,
    /// Nanoseconds spent waiting for the disk.
    pub sync_ns: AtomicU64,
    /// Nanoseconds spent making rows visible.
    pub publish_ns: AtomicU64,
}

/// The running writer.
#[derive(Debug)]
pub struct Writer {
    ring: Arc<Ring>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(
        committer: Committer,
        ring: Arc<Ring>,
        metrics: Arc<WriterMetrics>,
    ) -> std::io::Result<Self> {
        let own = Arc::clone(&ring);
        let thread = std::thread::Builder::new()
            .name("busbar-writer".into())
            .spawn(move || run(committer, &own, &metrics))?;
        Ok(Self { ring, thread })
    }

    /// Writes what waits, refuses what comes, and ends the thread. Blocks until then.
    pub fn stop(self) {
        self.ring.close();
        if self.thread.join().is_err() {
            tracing::error!("the writer ended by a panic: rows without an acknowledgement may be lost");
        }
    }
}

fn run(mut committer: Committer, ring: &Ring, metrics: &WriterMetrics) {
    let mut company = Company::NONE;
    loop {
        let done = match ring.take(company) {
            Group::Work(group) => {
                let (requests, synced) = (group.len(), metrics.sync_ns.load(Ordering::Relaxed));
                commit_in_order(&mut committer, group, metrics);
                let sync_ns = metrics.sync_ns.load(Ordering::Relaxed) - synced;
                company = Company::after(requests, Duration::from_nanos(sync_ns));
                continue;
            }
            Group::Idle => false,
            Group::Closed => true,
        };
        if let Err(error) = committer.confirm() {
            tracing::error!(%error, "the last frame of the log could not be confirmed");
        }
        if done {
            return;
        }
    }
}

/// Commits a group. Where rows may be written only if they are missing, that is decided when all that stands before them is
/// visible.
fn commit_in_order(committer: &mut Committer, group: Vec<Submission>, metrics: &WriterMetrics) {
    let mut together = Vec::with_capacity(group.len());
    for submission in group {
        if let Some(as_of) = &submission.only_missing {
            commit(committer, std::mem::take(&mut together), metrics);
            if !committer.still_misses(&submission.batch.batch, as_of) {
                // Whoever has gone has nobody to tell.
                let _gone = submission.done.send(Err(CommitError::Overtaken));
                continue;
            }
        }
        together.push(submission);
    }
    commit(committer, together, metrics);
}

/// Commits one group and answers every request of it.
fn commit(committer: &mut Committer, group: Vec<Submission>, metrics: &WriterMetrics) {
    if group.is_empty() {
        return;
    }
    let count = |counter: &AtomicU64, by: usize| counter.fetch_add(by as u64, Ordering::Relaxed);
    count(&metrics.groups, 1);
    count(&metrics.requests, group.len());
    count(&metrics.rows, group.iter().map(|s| s.batch.batch.rows()).sum());
    count(&metrics.bytes, group.iter().map(|s| s.batch.bytes.len()).sum());
    let (batches, waiting): (Vec<_>, Vec<_>) = group.into_iter().map(|s| (s.batch, s.done)).unzip();

    let result: storage::Result<Visible> = (|| {
        let appended = timed(&metrics.append_ns, || committer.append(batches))?; // 1 log
        let durable = timed(&metrics.sync_ns, || appended.sync())?; //              2 disk
        Ok(timed(&metrics.publish_ns, || durable.publish())) //                     3 memory and tap
    })();
    let result = result.map_err(|error| {
        count(&metrics.failures, 1);
        tracing::error!(%error, "a group could not be committed; its requests are told so");
        CommitError::Log(error.to_string())
    });
    for done in waiting {
        // 4 acknowledgement. A client that has gone has nobody to tell; its rows stay.
        let _gone = done.send(result.clone());
    }
}

fn timed<T>(counter: &AtomicU64, stage: impl FnOnce() -> T) -> T {
    let begun = clock::instant();
    let value = stage();
    let spent = clock::instant().duration_since(begun).as_nanos();
    counter.fetch_add(u64::try_from(spent).unwrap_or(u64::MAX), Ordering::Relaxed);
    value
}
