//! Notifications: each recorded transition goes to its rule's webhooks until it is *settled* (delivered, or dead).
//!
//! The notifier runs on a thread of its own: a dispatcher, one worker per receiver, and a recorder that writes
//! outcomes to the stream `notifications`.
//!
//! Invariants:
//! - NOTIFY-1 of the crate: a delivery leaves memory only after its outcome is durable; what the alert stream
//!   holds and the notification stream does not is sent again after a restart, with the same key;
//! - a receiver's queue, slots and failures are its own: a slow one delays nobody else;
//! - enqueueing never waits: at [`limits::DELIVERIES_PER_RECEIVER`] the delivery is dead, and recorded as such.
//!
//! Non-guarantee: when the notification stream passed its byte limit within the retry time, transitions older
//! than what it still holds are taken as settled.

mod address;
mod outcome;
mod receiver;
#[cfg(test)]
mod tests;
mod webhook;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use storage::stream::{FrozenStream, RecordNumber, Stream, StreamOptions};
use tokio::sync::{mpsc, watch};

pub use address::is_public;
pub use webhook::{Secret, WebhookConfig};

use crate::error::{Error, Result};
use crate::id;
use crate::limits;
use crate::metrics::Metrics;
use crate::record::Transition;
use crate::rule::Severity;
use crate::service::Clock;
use outcome::{Outcome, Settled};
use webhook::Webhook;

/// When a failed delivery is tried again, and until when.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// The wait before the first retry; each further one is twice as long. Waits have full jitter.
    pub base: Duration,
    /// The longest wait.
    pub cap: Duration,
    /// How long after its recording a transition is given up.
    pub give_up: Duration,
    /// The same for critical ones.
    pub give_up_critical: Duration,
}

impl Default for RetryPolicy {
    /// Acceptance statement N5.
    fn default() -> Self {
        Self {
            base: Duration::from_secs(1),
            cap: Duration::from_mins(5),
            give_up: Duration::from_hours(6),
            give_up_critical: Duration::from_hours(24),
        }
    }
}

impl RetryPolicy {
    /// When this transition is given up, in wall-clock nanoseconds.
    fn deadline(&self, transition: &Transition) -> i64 {
        let critical = transition.severity == Severity::Critical;
        let limit = if critical { self.give_up_critical } else { self.give_up };
        transition.recorded_at.saturating_add(i64::try_from(limit.as_nanos()).unwrap_or(i64::MAX))
    }

    /// The longest wait after this many failures.
    fn wait(&self, failures: u32) -> Duration {
        let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.cap)
    }
}

/// One transition on its way to one receiver.
#[derive(Debug, Clone)]
struct Delivery {
    /// `hash(transition id, receiver)`: the idempotency key.
    key: Arc<str>,
    transition: Arc<Transition>,
    receiver: Arc<str>,
    /// The alert record that holds the transition.
    record: RecordNumber,
}

/// The notifier, as the engine sees it.
pub(crate) struct Notifier {
    metrics: Arc<Metrics>,
    retry: RetryPolicy,
    clock: Clock,
    webhooks: HashMap<String, WebhookConfig>,
    stream: Stream,
    settled: Mutex<Settled>,
    queued: Mutex<Queued>,
    deliveries: mpsc::UnboundedSender<Delivery>,
    outcomes: mpsc::UnboundedSender<Outcome>,
    /// The other ends, until [`Self::run`] takes them.
    ends: Mutex<Option<Ends>>,
}

struct Ends {
    deliveries: mpsc::UnboundedReceiver<Delivery>,
    outcomes: mpsc::UnboundedReceiver<Outcome>,
}

/// What is not settled. The channels behind it are unbounded; this bounds them.
#[derive(Default)]
struct Queued {
    by_receiver: HashMap<String, usize>,
    by_record: BTreeMap<RecordNumber, usize>,
}

impl Notifier {
    /// Opens the notification stream in `folder`.
    pub(crate) fn open(
        folder: &Path,
        options: StreamOptions,
        webhooks: Vec<WebhookConfig>,
        (retry, clock, metrics): (RetryPolicy, Clock, Arc<Metrics>),
    ) -> Result<Self> {
        let mut by_name = HashMap::new();
        for webhook in webhooks {
            webhook.check()?;
            if let Some(twice) = by_name.insert(webhook.name.clone(), webhook) {
                return Err(Error::Invalid(format!("webhook {:?} is configured twice", twice.name)));
            }
        }
        let stream = Stream::open(folder.join("notifications"), options)?;
        let settled = Settled::read(&stream)?;
        let (deliveries, deliveries_end) = mpsc::unbounded_channel();
        let (outcomes, outcomes_end) = mpsc::unbounded_channel();
        Ok(Self {
            metrics,
            retry,
            clock,
            webhooks: by_name,
            stream,
            settled: Mutex::new(settled),
            queued: Mutex::default(),
            deliveries,
            outcomes,
            ends: Mutex::new(Some(Ends { deliveries: deliveries_end, outcomes: outcomes_end })),
        })
    }

    /// The notification stream as it is now.
    pub(crate) fn freeze(&self) -> Result<FrozenStream> {
        Ok(self.stream.freeze()?)
    }

    /// Whether a rule may name this receiver: a configured webhook, or an `https` URL.
    pub(crate) fn check_receiver(&self, receiver: &str) -> Result<(), String> {
        if self.webhooks.contains_key(receiver) {
            return Ok(());
        }
        WebhookConfig::inline(receiver)
            .check()
            .map_err(|error| format!("no webhook {receiver:?} is configured, and as a URL: {error}"))
    }

    /// Takes a transition that has just been recorded.
    pub(crate) fn enqueue(&self, record: RecordNumber, transition: &Arc<Transition>) {
        for receiver in &transition.receivers {
            let key = id::hash("delivery", &[transition.transition_id.as_bytes(), receiver.as_bytes()]);
            self.enqueue_one(record, transition, receiver, key);
        }
    }

    /// Takes a transition that was recorded before the start, unless its outcome is recorded too.
    pub(crate) fn resume(&self, record: RecordNumber, transition: &Arc<Transition>) {
        for receiver in &transition.receivers {
            let key = id::hash("delivery", &[transition.transition_id.as_bytes(), receiver.as_bytes()]);
            if !self.settled.lock().holds(&key, transition.recorded_at) {
                self.enqueue_one(record, transition, receiver, key);
            }
        }
    }

    fn enqueue_one(&self, record: RecordNumber, transition: &Arc<Transition>, receiver: &str, key: String) {
        let mut queued = self.queued.lock();
        let receivers = queued.by_receiver.len();
        let waiting = queued.by_receiver.get(receiver).copied();
        let full = waiting.map_or(receivers >= limits::RECEIVERS, |n| n >= limits::DELIVERIES_PER_RECEIVER);
        *queued.by_receiver.entry_ref(receiver).or_default() += 1;
        *queued.by_record.entry(record).or_default() += 1;
        drop(queued);
        self.metrics.undelivered.add(1);
        let delivery = Delivery {
            key: key.into(),
            transition: Arc::clone(transition),
            receiver: receiver.into(),
            record,
        };
        if full {
            self.settle(Outcome::dead(&delivery, 0, "the receiver's queue is full".into()));
        } else if self.deliveries.send(delivery).is_err() {
            tracing::debug!("the notifier has ended; the delivery is sent after the next start");
        }
    }

    /// The oldest alert record with a delivery that is not settled.
    pub(crate) fn oldest_unsettled(&self) -> Option<RecordNumber> {
        self.queued.lock().by_record.keys().next().copied()
    }

    /// Runs until `stop` says so: then requests in flight get [`limits::STOP_GRACE`], and their outcomes are
    /// recorded. Before `stop`, it ends with an error only.
    pub(crate) async fn run(self: Arc<Self>, stop: watch::Receiver<Stop>) {
        let Some(ends) = self.ends.lock().take() else { return };
        self.settled.lock().forget();
        let recorder = self.clone().record(ends.outcomes, stop.clone());
        let dispatcher = self.clone().dispatch(ends.deliveries, stop);
        futures::future::join(recorder, dispatcher).await;
    }

    /// Hands each delivery to its receiver's worker.
    async fn dispatch(
        self: Arc<Self>,
        mut from: mpsc::UnboundedReceiver<Delivery>,
        mut stop: watch::Receiver<Stop>,
    ) {
        let mut workers: HashMap<Arc<str>, mpsc::UnboundedSender<Delivery>> = HashMap::new();
        let mut tasks = tokio::task::JoinSet::new();
        loop {
            let delivery = tokio::select! {
                biased;
                _ = stop.wait_for(|s| *s != Stop::No) => break,
                delivery = from.recv() => delivery,
            };
            let Some(delivery) = delivery else { break };
            let worker = workers.entry(Arc::clone(&delivery.receiver)).or_insert_with(|| {
                let (to, from) = mpsc::unbounded_channel();
                let webhook = Webhook::new(self.webhook(&delivery.receiver));
                tasks.spawn(receiver::work(self.clone(), webhook, from, stop.clone()));
                to
            });
            if worker.send(delivery).is_err() {
                tracing::error!(
                    "a receiver's worker has ended; its deliveries are sent after the next start"
                );
            }
        }
        drop(workers);
        while tasks.join_next().await.is_some() {}
        // The recorder ends when it has everything.
        self.settle(Outcome::End);
    }

    fn webhook(&self, receiver: &str) -> WebhookConfig {
        self.webhooks.get(receiver).cloned().unwrap_or_else(|| WebhookConfig::inline(receiver))
    }

    /// Hands an outcome to the recorder.
    fn settle(&self, outcome: Outcome) {
        if self.outcomes.send(outcome).is_err() {
            tracing::debug!("the recorder has ended; the delivery is repeated after the next start");
        }
    }

    fn forget(&self, outcome: &Outcome) {
        let Outcome::Settled { receiver, record, .. } = outcome else { return };
        let mut queued = self.queued.lock();
        if let Some(count) = queued.by_receiver.get_mut(&**receiver) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = queued.by_record.get_mut(record) {
            *count -= 1;
            if *count == 0 {
                queued.by_record.remove(record);
            }
        }
        self.metrics.undelivered.sub(1);
    }
}

/// Whether, and how, the notifier ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It goes on.
    No,
    /// It finishes what is in flight.
    Drain,
    /// It ends at once, as in a crash.
    Now,
}

/// Delivery keys that are settled.
type Keys = HashSet<[u8; 16]>;
