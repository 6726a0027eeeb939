//! The commit tap: in-process consumers (rules, last values) see every committed group, in log order.
//!
//! Invariants:
//! - a group is offered after its frame is durable, never before;
//! - offering never waits: a consumer whose queue is full is *cut off* (its queue is dropped and counted) and
//!   catches up by reading the log from its own position, which the log keeps for it;
//! - the log is trimmed only up to the smallest position that the consumers have reported as durable, or as far as it
//!   was *let go*: one that hangs must not fill the disk, and learns afterwards what it has missed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::clock;
use crate::model::{FrameNumber, Sequence, WriteBatch};

/// One group write, as it stands in one frame of the log.
#[derive(Debug, Clone)]
pub struct CommittedGroup {
    /// The frame that holds it: the consumer's position once it has applied the group.
    pub frame: FrameNumber,
    /// The sequence of the group's last batch. Batches have rising sequences in their order.
    pub sequence: Sequence,
    /// The batches, in commit order.
    pub batches: Vec<Arc<WriteBatch>>,
    /// Bytes that the batches hold in memory.
    pub bytes: usize,
}

/// What a consumer gets next.
#[derive(Debug)]
pub enum Next {
    /// The next group in log order.
    Group(Arc<CommittedGroup>),
    /// The consumer was too slow: groups after its position must be read from the log.
    CutOff,
    /// The log is longer than it need be, and kept for this consumer alone: it should make its state durable.
    CheckpointWanted,
    /// The engine has closed; nothing follows.
    Closed,
}

/// The fan-out from the writer to the consumers.
#[derive(Debug, Default)]
pub struct Tap {
    consumers: Mutex<Vec<Arc<Queue>>>,
    /// Names of consumers that will subscribe: until then they are owed the whole log.
    expected: Mutex<Vec<&'static str>>,
    /// The newest frame with something for consumers.
    owed: AtomicU64,
    /// Up to this frame the log is kept for no consumer.
    let_go: AtomicU64,
}

#[derive(Debug)]
struct Queue {
    name: &'static str,
    max_bytes: usize,
    state: Mutex<QueueState>,
    wake: Notify,
    /// The frame up to which the consumer's own durable state reaches.
    checkpoint: AtomicU64,
    cut_offs: AtomicU64,
}

#[derive(Debug, Default)]
struct QueueState {
    groups: VecDeque<Arc<CommittedGroup>>,
    bytes: usize,
    cut_off: bool,
    checkpoint_wanted: bool,
    /// Since when a checkpoint is wanted that has not come.
    asked: Option<Instant>,
    closed: bool,
}

/// One consumer's end of the tap.
#[derive(Debug)]
pub struct TapConsumer {
    queue: Arc<Queue>,
}

impl Tap {
    /// A tap that keeps the whole log until these consumers have subscribed. Without this, a flush right after
    /// the start could trim what a consumer that subscribes a moment later has not seen. Up to `let_go` it was kept for none.
    #[must_use]
    pub fn expecting(consumers: Vec<&'static str>, let_go: FrameNumber) -> Self {
        Self { expected: Mutex::new(consumers), let_go: AtomicU64::new(let_go.get()), ..Self::default() }
    }

    /// Adds a consumer whose durable state reaches `checkpoint`. It is owed every group after that frame:
    /// those before the first call of [`TapConsumer::next`] it reads from the log itself.
    pub fn subscribe(&self, name: &'static str, checkpoint: FrameNumber, max_bytes: usize) -> TapConsumer {
        let queue = Arc::new(Queue {
            name,
            max_bytes,
            state: Mutex::default(),
            wake: Notify::new(),
            checkpoint: AtomicU64::new(checkpoint.get()),
            cut_offs: AtomicU64::new(0),
        });
        self.consumers.lock().push(Arc::clone(&queue));
        self.expected.lock().retain(|expected| *expected != name);
        TapConsumer { queue }
    }

    /// Offers a durable group to every consumer. Never waits.
    pub fn publish(&self, group: &Arc<CommittedGroup>) {
        for queue in self.consumers.lock().iter() {
            let mut state = queue.state.lock();
            if state.cut_off {
                continue;
            }
            if state.bytes + group.bytes > queue.max_bytes && !state.groups.is_empty() {
                queue.cut_off(&mut state);
                tracing::warn!(
                    consumer = queue.name,
                    "consumer of the commit tap is too slow: it reads the log"
                );
            } else {
                state.bytes += group.bytes;
                state.groups.push_back(Arc::clone(group));
            }
            drop(state);
            queue.wake.notify_one();
        }
    }

    /// The frame up to which every consumer's state is durable: the log may be trimmed so far. `None` without
    /// consumers, 0 while an expected one has not subscribed.
    #[must_use]
    pub fn checkpoint(&self) -> Option<FrameNumber> {
        if !self.expected.lock().is_empty() {
            return Some(FrameNumber::default());
        }
        let consumers = self.consumers.lock();
        let durable = consumers.iter().map(|q| FrameNumber::new(q.checkpoint.load(Ordering::Acquire))).min();
        durable.map(|durable| durable.max(self.let_go_up_to()))
    }

    /// Up to this frame the log may be gone although a consumer's durable state does not reach so far.
    #[must_use]
    pub fn let_go_up_to(&self) -> FrameNumber {
        FrameNumber::new(self.let_go.load(Ordering::Acquire))
    }

    /// Keeps the log up to `frame` for no consumer any more. Those that still needed it are cut off: what they get next
    /// lies behind it.
    pub fn let_go(&self, frame: FrameNumber) {
        self.let_go.fetch_max(frame.get(), Ordering::AcqRel);
        for queue in self.consumers.lock().iter().filter(|queue| queue.lacks(frame)) {
            tracing::warn!(
                consumer = queue.name,
                frame = frame.get(),
                "a consumer of the commit tap hangs: the log is not kept for it any longer"
            );
            queue.cut_off(&mut queue.state.lock());
            queue.wake.notify_one();
        }
    }

    /// Whether the log up to `frame` is kept for a consumer that was asked for its state so long ago.
    pub(crate) fn waits_below(&self, frame: FrameNumber, grace: Duration) -> bool {
        let now = clock::instant();
        let hangs = |queue: &Arc<Queue>| {
            let asked = queue.state.lock().asked;
            queue.lacks(frame) && asked.is_some_and(|asked| now.duration_since(asked) >= grace)
        };
        frame > self.let_go_up_to() && self.consumers.lock().iter().any(hangs)
    }

    /// Says that a frame has something for consumers. Called before its rows are visible.
    pub(crate) fn owe(&self, frame: FrameNumber) {
        self.owed.fetch_max(frame.get(), Ordering::AcqRel);
    }

    /// `frame`, which is visible, or as far as every consumer's state is durable. Who has seen the newest frame that has
    /// something for it needs none of those that follow.
    pub(crate) fn not_needed_up_to(&self, frame: FrameNumber) -> FrameNumber {
        match self.checkpoint() {
            Some(checkpoint) if checkpoint.get() < self.owed.load(Ordering::Acquire) => checkpoint.min(frame),
            Some(checkpoint) if !self.expected.lock().is_empty() => checkpoint.min(frame),
            _ => frame,
        }
    }

    /// Asks the consumers whose durable state does not reach `frame` to make it so, once they have taken what waits.
    pub(crate) fn want_checkpoints(&self, frame: FrameNumber) {
        for queue in self.consumers.lock().iter() {
            if queue.lacks(frame) {
                let mut state = queue.state.lock();
                state.checkpoint_wanted = true;
                state.asked.get_or_insert_with(clock::instant);
                drop(state);
                queue.wake.notify_one();
            }
        }
    }

    /// Each consumer's name, bytes waiting, and times that it was cut off.
    #[must_use]
    pub fn lag(&self) -> Vec<(&'static str, usize, u64)> {
        let consumers = self.consumers.lock();
        consumers.iter().map(|q| (q.name, q.state.lock().bytes, q.cut_offs.load(Ordering::Relaxed))).collect()
    }

    /// Ends every consumer once it has taken what waits for it.
    pub fn close(&self) {
        for queue in self.consumers.lock().iter() {
            queue.state.lock().closed = true;
            queue.wake.notify_one();
        }
    }
}

impl Queue {
    /// Whether the consumer's durable state does not reach `frame`.
    fn lacks(&self, frame: FrameNumber) -> bool {
        self.checkpoint.load(Ordering::Acquire) < frame.get()
    }

    fn cut_off(&self, state: &mut QueueState) {
        state.groups.clear();
        state.bytes = 0;
        if !std::mem::replace(&mut state.cut_off, true) {
            self.cut_offs.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl TapConsumer {
    /// Waits for the next group.
    pub async fn next(&mut self) -> Next {
        loop {
            {
                let mut state = self.queue.state.lock();
                if let Some(group) = state.groups.pop_front() {
                    state.bytes = state.bytes.saturating_sub(group.bytes);
                    return Next::Group(group);
                }
                if state.cut_off {
                    // Groups are queued again from here on; those in between are in the log.
                    state.cut_off = false;
                    return Next::CutOff;
                }
                if std::mem::take(&mut state.checkpoint_wanted) {
                    return Next::CheckpointWanted;
                }
                if state.closed {
                    return Next::Closed;
                }
            }
            self.queue.wake.notified().await;
        }
    }

    /// Reports that everything up to `frame` is in the consumer's own durable state, so that the log may go.
    pub fn checkpointed(&self, frame: FrameNumber) {
        self.queue.checkpoint.fetch_max(frame.get(), Ordering::AcqRel);
        self.queue.state.lock().asked = None;
    }
}

impl Drop for TapConsumer {
    fn drop(&mut self) {
        // The queue stays registered, so its checkpoint keeps the log, but it takes no more memory.
        let mut state = self.queue.state.lock();
        state.groups.clear();
        state.bytes = 0;
        state.cut_off = true;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{CommittedGroup, Next, Tap};
    use crate::model::{FrameNumber, Sequence};

    fn group(frame: u64, bytes: usize) -> Arc<CommittedGroup> {
        Arc::new(CommittedGroup {
            frame: FrameNumber::new(frame),
            sequence: Sequence::new(frame),
            batches: Vec::new(),
            bytes,
        })
    }

    #[tokio::test]
    async fn a_slow_consumer_is_cut_off_and_told_so_while_others_go_on() {
        let tap = Tap::default();
        let mut slow = tap.subscribe("slow", FrameNumber::new(0), 100);
        let mut quick = tap.subscribe("quick", FrameNumber::new(0), 1_000);
        for frame in 1..=3 {
            tap.publish(&group(frame, 60));
        }
        assert!(matches!(slow.next().await, Next::CutOff));
        tap.publish(&group(4, 60));
        assert!(matches!(slow.next().await, Next::Group(g) if g.frame.get() == 4));
        for frame in 1..=4 {
            assert!(matches!(quick.next().await, Next::Group(g) if g.frame.get() == frame));
        }
        tap.close();
        assert!(matches!(quick.next().await, Next::Closed));
    }

    #[test]
    fn the_slowest_checkpoint_holds_the_log() {
        assert_eq!(Tap::default().checkpoint(), None);
        let tap = Tap::expecting(vec!["first"], FrameNumber::default());
        assert_eq!(tap.checkpoint(), Some(FrameNumber::new(0)));
        let first = tap.subscribe("first", FrameNumber::new(5), 1);
        let _second = tap.subscribe("second", FrameNumber::new(7), 1);
        assert_eq!(tap.checkpoint(), Some(FrameNumber::new(5)));
        first.checkpointed(FrameNumber::new(9));
        assert_eq!(tap.checkpoint(), Some(FrameNumber::new(7)));
    }

    #[tokio::test]
    async fn who_hangs_keeps_the_log_no_longer_than_it_is_let_go() {
        let (tap, frame) = (Tap::default(), FrameNumber::new);
        let mut hanging = tap.subscribe("hanging", frame(0), 1_000);
        (1..=3).for_each(|number| tap.publish(&group(number, 60)));
        assert!(!tap.waits_below(frame(2), Duration::ZERO), "it was not asked");
        tap.want_checkpoints(frame(2));
        assert!(tap.waits_below(frame(2), Duration::ZERO));
        assert!(!tap.waits_below(frame(2), Duration::from_secs(3_600)), "it has time");
        tap.let_go(frame(2));
        assert_eq!((tap.checkpoint(), tap.let_go_up_to()), (Some(frame(2)), frame(2)));
        assert!(matches!(hanging.next().await, Next::CutOff), "what waited for it may be gone from the log");
        hanging.checkpointed(frame(3));
        assert!(!tap.waits_below(frame(3), Duration::ZERO));
    }

    #[test]
    fn what_follows_the_last_frame_for_consumers_is_held_by_none() {
        let tap = Tap::expecting(vec!["first"], FrameNumber::default());
        let frame = FrameNumber::new;
        tap.owe(frame(7));
        assert_eq!(tap.not_needed_up_to(frame(9)), frame(0), "one that comes is owed everything");
        let first = tap.subscribe("first", frame(5), 1);
        assert_eq!(tap.not_needed_up_to(frame(9)), frame(5));
        first.checkpointed(frame(7));
        assert_eq!(tap.not_needed_up_to(frame(9)), frame(9));
        tap.owe(frame(10));
        assert_eq!(tap.not_needed_up_to(frame(10)), frame(7));
    }
}
