//! The worker of one receiver: its queue, its slots, its retries.
//!
//! Invariants: at most [`limits::REQUESTS_PER_RECEIVER`] requests are in flight; of one alert at most one, and
//! its deliveries go in the order of their transitions, so nobody hears of a resolving before the firing.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use hashbrown::HashMap;
use storage::clock;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep_until, timeout};

use super::outcome::Outcome;
use super::webhook::{Answer, Webhook};
use super::{Delivery, Notifier, Stop};
use crate::limits;

struct Attempted {
    alert_id: String,
    answer: Answer,
}

/// The deliveries of one alert, oldest first, and how often the oldest has failed.
#[derive(Default)]
struct Chain {
    waiting: VecDeque<Delivery>,
    failures: u32,
}

struct Worker {
    notifier: Arc<Notifier>,
    webhook: Arc<Webhook>,
    chains: HashMap<String, Chain>,
    /// When the oldest delivery of an alert is due; the number keeps equals in order.
    due: BinaryHeap<Reverse<(Instant, u64, String)>>,
    turn: u64,
    in_flight: FuturesUnordered<BoxFuture<'static, Attempted>>,
}

/// Delivers what comes, until it is told to stop.
pub(super) async fn work(
    notifier: Arc<Notifier>,
    webhook: Webhook,
    mut from: mpsc::UnboundedReceiver<Delivery>,
    mut stop: watch::Receiver<Stop>,
) {
    let mut worker = Worker {
        notifier,
        webhook: Arc::new(webhook),
        chains: HashMap::new(),
        due: BinaryHeap::new(),
        turn: 0,
        in_flight: FuturesUnordered::new(),
    };
    loop {
        worker.send_due();
        let next_due = worker.next_due();
        let wait = async {
            match next_due {
                Some(at) => sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = stop.wait_for(|s| *s != Stop::No) => break,
            Some(done) = worker.in_flight.next() => worker.done(done),
            Some(delivery) = from.recv() => worker.take(delivery),
            () = wait => {}
        }
    }
    let now = *stop.borrow() == Stop::Now;
    if !now && timeout(limits::STOP_GRACE, worker.drain()).await.is_err() {
        tracing::info!("webhook requests were cut off; they are repeated after the next start");
    }
}

impl Worker {
    fn take(&mut self, delivery: Delivery) {
        let alert = delivery.transition.alert_id.clone();
        let chain = self.chains.entry(alert.clone()).or_default();
        chain.waiting.push_back(delivery);
        if chain.waiting.len() == 1 {
            self.schedule(alert, clock::instant());
        }
    }

    fn schedule(&mut self, alert: String, at: Instant) {
        self.turn += 1;
        self.due.push(Reverse((at, self.turn, alert)));
    }

    /// When the next request may be made; `None` while all slots are taken or nothing waits.
    fn next_due(&self) -> Option<Instant> {
        let free = self.in_flight.len() < limits::REQUESTS_PER_RECEIVER;
        self.due.peek().filter(|_| free).map(|Reverse((at, ..))| *at)
    }

    fn send_due(&mut self) {
        while self.next_due().is_some_and(|at| at <= clock::instant()) {
            let Some(Reverse((_, _, alert_id))) = self.due.pop() else { return };
            let Some(chain) = self.chains.get(&alert_id) else { continue };
            let Some(delivery) = chain.waiting.front().cloned() else { continue };
            let now = (self.notifier.clock)().nanos();
            if now > self.notifier.retry.deadline(&delivery.transition) {
                let attempts = chain.failures;
                self.settle(&alert_id, Outcome::dead(&delivery, attempts, "its time is over".into()));
                continue;
            }
            let webhook = Arc::clone(&self.webhook);
            self.notifier.metrics.webhook_requests.add(1);
            self.in_flight.push(Box::pin(async move {
                let answer = webhook.send(&delivery.key, &delivery.transition, now).await;
                Attempted { alert_id, answer }
            }));
        }
    }

    fn done(&mut self, Attempted { alert_id, answer }: Attempted) {
        let Some(chain) = self.chains.get_mut(&alert_id) else { return };
        let Some(delivery) = chain.waiting.front().cloned() else { return };
        chain.failures += 1;
        let failures = chain.failures;
        match answer {
            Answer::Taken(status) => self.settle(&alert_id, Outcome::delivered(&delivery, failures, status)),
            Answer::Refused(why) => self.settle(&alert_id, Outcome::dead(&delivery, failures, why)),
            Answer::Later { after, why } => {
                tracing::debug!(rule = %delivery.transition.rule, why, "a notification is tried again");
                self.notifier.metrics.webhook_retries.add(1);
                let longest = self.notifier.retry.wait(failures);
                let wait = after.unwrap_or_else(|| longest.mul_f64(rand::random_range(0.0..=1.0)));
                let left =
                    self.notifier.retry.deadline(&delivery.transition) - (self.notifier.clock)().nanos();
                // Not beyond the deadline by more than a tick: there it is settled.
                let left = Duration::from_nanos(u64::try_from(left).unwrap_or(0)) + Duration::from_millis(1);
                self.schedule(alert_id, clock::instant() + wait.min(left));
            }
        }
    }

    /// The oldest delivery of the alert has its outcome; the next one is due.
    fn settle(&mut self, alert_id: &str, outcome: Outcome) {
        self.notifier.settle(outcome);
        let Some(chain) = self.chains.get_mut(alert_id) else { return };
        chain.waiting.pop_front();
        chain.failures = 0;
        if chain.waiting.is_empty() {
            self.chains.remove(alert_id);
        } else {
            self.schedule(alert_id.to_owned(), clock::instant());
        }
    }

    async fn drain(&mut self) {
        while let Some(done) = self.in_flight.next().await {
            self.done(done);
        }
    }
}
