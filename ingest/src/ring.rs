//! The ring: a bounded lock-free queue from the sources to the one writer.
//!
//! Invariants: it is bounded by count and by bytes, and a full ring refuses instead of growing; what was
//! accepted is answered exactly once, also when the ring closes; the writer sleeps only while fewer requests wait
//! than it wants, and whoever pushes the last of these wakes it. It wants more than one only for moments.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::thread::Thread;
use std::time::Duration;

use crossbeam::queue::ArrayQueue;
use storage::clock;
use storage::engine::Visible;
use storage::log::EncodedBatch;
use storage::missing::AsOf;
use tokio::sync::oneshot;

/// Requests that may wait. More than the connections of a busy node; each waits with its own acknowledgement.
const SLOTS: usize = 8_192;

/// Bytes that may wait to be written: a disk that stalls for a second at 64 MB/s is ridden out.
pub const QUEUED_BYTES: usize = 64 << 20;

/// Bytes of one group. A group is one write and one sync; beyond some megabytes waiting longer gains nothing.
const GROUP_BYTES: usize = 8 << 20;

/// The writer looks up after so long without work, to confirm its last frame (LOG-3).
const IDLE: Duration = Duration::from_millis(100);

/// Requests wait for others for so long at most.
const MOST_PATIENCE: Duration = Duration::from_millis(1);

/// One request on its way to the log.
#[derive(Debug)]
pub struct Submission {
    /// The rows, encoded for the log.
    pub batch: EncodedBatch,
    /// What the rows must be missing in, to be written.
    pub only_missing: Option<AsOf>,
    /// Told when the rows are durable and visible, or why they are not.
    pub done: oneshot::Sender<Result<Visible, CommitError>>,
}

/// Why rows that were handed over are not durable.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// The ring is full.
    #[error("the writer is busy")]
    Full,
    /// The engine is closing.
    #[error("the engine is closing")]
    Closing,
    /// What was missing is there now, or may be: look again.
    #[error("others have written to the same points")]
    Overtaken,
    /// The log did not take the group.
    #[error("{0}")]
    Log(String),
}

/// Requests that may come together.
#[derive(Debug, Clone, Copy)]
pub struct Company {
    /// How many are to go together.
    pub requests: usize,
    /// How long the first of them may wait for the others.
    pub patience: Duration,
}

impl Company {
    /// None is waited for.
    pub const NONE: Self = Self { requests: 1, patience: Duration::ZERO };

    /// After so many requests came together and their sync took so long. With half of them the disk goes on: the other
    /// half is decoded meanwhile. To wait for longer than a sync would be to lose by it.
    #[must_use]
    pub fn after(requests: usize, sync: Duration) -> Self {
        Self { requests: requests.div_ceil(2), patience: sync.min(MOST_PATIENCE) }
    }
}

/// What the writer finds.
#[derive(Debug)]
pub enum Group {
    /// Requests to be written together.
    Work(Vec<Submission>),
    /// Nothing came for a while.
    Idle,
    /// The ring is closed and empty.
    Closed,
}

/// The queue.
#[derive(Debug)]
pub struct Ring {
    queue: ArrayQueue<Submission>,
    bytes: AtomicUsize,
    closed: AtomicBool,
    /// For so many requests the writer waits.
    wanted: AtomicUsize,
    writer: OnceLock<Thread>,
}

impl Default for Ring {
    fn default() -> Self {
        Self {
            queue: ArrayQueue::new(SLOTS),
            bytes: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            wanted: AtomicUsize::new(1),
            writer: OnceLock::new(),
        }
    }
}

impl Ring {
    /// Hands a request to the writer.
    ///
    /// # Errors
    /// [`CommitError::Full`] at the bound, [`CommitError::Closing`] after [`close`](Self::close).
    pub fn push(&self, submission: Submission) -> Result<(), CommitError> {
        let bytes = submission.batch.bytes.len();
        let before = self.bytes.fetch_add(bytes, Ordering::AcqRel);
        // A request that is larger than the whole bound passes when nothing else waits.
        let refused = if self.closed.load(Ordering::Acquire) {
            Some(CommitError::Closing)
        } else if before > 0 && before + bytes > QUEUED_BYTES {
            Some(CommitError::Full)
        } else {
            self.queue.push(submission).err().map(|_| CommitError::Full)
        };
        if let Some(error) = refused {
            self.bytes.fetch_sub(bytes, Ordering::AcqRel);
            return Err(error);
        }
        fence(Ordering::SeqCst);
        if self.queue.len() >= self.wanted.load(Ordering::Relaxed)
            && let Some(writer) = self.writer.get()
        {
            writer.unpark();
        }
        Ok(())
    }

    /// Bytes that wait to be written.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.bytes.load(Ordering::Acquire)
    }

    /// Refuses new requests; those that wait are still written.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    /// Waits for work. Only the writer's thread calls this. Of `company`, requests that may come together, it waits for
    /// the rest for a moment: they share a sync then.
    pub fn take(&self, company: Company) -> Group {
        self.writer.get_or_init(std::thread::current);
        if !self.wait_for(1, IDLE) {
            // A push that saw the ring open may have landed since: look once more.
            let rest = self.pop_group();
            return match (rest.is_empty(), self.closed.load(Ordering::Acquire)) {
                (false, _) => Group::Work(rest),
                (true, false) => Group::Idle,
                (true, true) => Group::Closed,
            };
        }
        if company.requests > 1 {
            self.wait_for(company.requests, company.patience);
        }
        Group::Work(self.pop_group())
    }

    /// Whether so many requests wait, now or after at most so long. Ends early when the ring is closed.
    fn wait_for(&self, requests: usize, at_most: Duration) -> bool {
        self.wanted.store(requests, Ordering::Relaxed);
        let mut until = None;
        loop {
            // Whoever pushes looks behind the same fence: one of the two sees the other.
            fence(Ordering::SeqCst);
            if self.queue.len() >= requests {
                return true;
            }
            let now = clock::instant();
            let until = *until.get_or_insert(now + at_most);
            if now >= until || self.closed.load(Ordering::Acquire) {
                return false;
            }
            // It may return at once: whoever pushed what the last group took has woken this thread for the next time.
            std::thread::park_timeout(until - now);
        }
    }

    fn pop_group(&self) -> Vec<Submission> {
        let mut group = Vec::new();
        let mut bytes = 0;
        while bytes < GROUP_BYTES {
            let Some(submission) = self.queue.pop() else { break };
            bytes += submission.batch.bytes.len();
            group.push(submission);
        }
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        group
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        while let Some(submission) = self.queue.pop() {
            // A request whose task has ended has nobody to tell.
            let _gone = submission.done.send(Err(CommitError::Closing));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use storage::log::encode_batch;
    use storage::model::WriteBatch;

    use super::{Company, Group, Ring, Submission};

    fn submission() -> Submission {
        let (done, _) = tokio::sync::oneshot::channel();
        Submission { batch: encode_batch(WriteBatch::of(Vec::new())).unwrap(), only_missing: None, done }
    }

    #[test]
    fn a_writer_that_was_woken_for_what_it_has_already_taken_waits_for_more() {
        let ring = Ring::default();
        ring.push(submission()).unwrap();
        assert!(matches!(ring.take(Company::NONE), Group::Work(group) if group.len() == 1));
        for _ in 0..20 {
            std::thread::scope(|scope| {
                // Taken before it is waited for, so that the wake-up is left over.
                ring.push(submission()).unwrap();
                assert!(matches!(ring.take(Company::NONE), Group::Work(_)));
                scope.spawn(|| {
                    std::thread::park_timeout(Duration::from_millis(2));
                    ring.push(submission()).unwrap();
                });
                assert!(matches!(ring.take(Company::NONE), Group::Work(_)), "it was taken for idle");
            });
        }
    }

    #[test]
    fn half_as_many_requests_as_came_together_are_waited_for_no_longer_than_a_sync_takes() {
        let wanted = [0, 1, 2, 3, 8, 9].map(|requests| Company::after(requests, Duration::ZERO).requests);
        assert_eq!(wanted, [0, 1, 1, 2, 4, 5]);
        let patience = [50, 5_000].map(|sync| Company::after(8, Duration::from_micros(sync)).patience);
        assert_eq!(patience, [50, 1_000].map(Duration::from_micros));
    }

    #[test]
    fn a_request_waits_for_its_company_and_no_longer_than_it_may() {
        let ring = Ring::default();
        let of_two = |patience| Company { requests: 2, patience };
        ring.push(submission()).unwrap();
        let group = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::park_timeout(Duration::from_millis(2));
                ring.push(submission()).unwrap();
            });
            ring.take(of_two(Duration::from_secs(60)))
        });
        assert!(matches!(group, Group::Work(group) if group.len() == 2));
        ring.push(submission()).unwrap();
        assert!(
            matches!(ring.take(of_two(Duration::from_millis(2))), Group::Work(group) if group.len() == 1)
        );
        // Nor does it wait in a ring that closes.
        ring.push(submission()).unwrap();
        ring.close();
        assert!(matches!(ring.take(of_two(Duration::from_secs(60))), Group::Work(_)));
        assert!(matches!(ring.take(of_two(Duration::from_secs(60))), Group::Closed));
    }
}
