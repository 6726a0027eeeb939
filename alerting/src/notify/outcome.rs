//! Outcomes of deliveries: the records of the stream `notifications`.
//!
//! A record is one byte (1, the version) and a JSON list of outcomes.
//!
//! Invariant: a delivery is forgotten only after the record with its outcome is durable.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use storage::model::Timestamp;
use storage::stream::{RecordNumber, Stream};
use tokio::sync::{mpsc, watch};

use super::{Delivery, Keys, Notifier, Stop};
use crate::error::Result;
use crate::limits;
use crate::record::{from_bytes, to_bytes};

/// How long to wait before a failed append is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What became of a delivery.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Outcome {
    /// The delivery needs no more attempts.
    Settled {
        /// Its idempotency key.
        key: Arc<str>,
        /// The transition.
        transition_id: String,
        /// The receiver.
        receiver: Arc<str>,
        /// `delivered` or `dead`.
        state: &'static str,
        /// Why it is dead; the status of a delivery.
        detail: String,
        /// Requests made since the start.
        attempts: u32,
        /// The alert record that holds the transition.
        #[serde(skip)]
        record: RecordNumber,
    },
    /// Nothing follows.
    End,
}

impl Outcome {
    pub(super) fn delivered(delivery: &Delivery, attempts: u32, status: u16) -> Self {
        Self::new(delivery, "delivered", attempts, format!("status {status}"))
    }

    pub(super) fn dead(delivery: &Delivery, attempts: u32, why: String) -> Self {
        tracing::warn!(
            rule = %delivery.transition.rule,
            transition = %delivery.transition.transition_id,
            why,
            "a notification is given up"
        );
        Self::new(delivery, "dead", attempts, why)
    }

    fn new(delivery: &Delivery, state: &'static str, attempts: u32, detail: String) -> Self {
        Self::Settled {
            key: Arc::clone(&delivery.key),
            transition_id: delivery.transition.transition_id.clone(),
            receiver: Arc::clone(&delivery.receiver),
            state,
            detail,
            attempts,
            record: delivery.record,
        }
    }
}

/// The deliveries that were settled before the start.
pub(super) struct Settled {
    keys: Keys,
    /// Transitions recorded before this have outcomes that the stream no longer holds.
    complete_from: i64,
}

#[derive(Deserialize)]
struct Read {
    key: String,
}

impl Settled {
    pub(super) fn read(stream: &Stream) -> Result<Self> {
        let trimmed = stream.first().get() > 1;
        let mut settled = Self { keys: Keys::new(), complete_from: i64::MIN };
        for record in stream.read(RecordNumber::START) {
            let record = record?;
            if trimmed && settled.complete_from == i64::MIN {
                settled.complete_from = record.appended_at.nanos();
            }
            let outcomes: Vec<Read> = from_bytes(&record.payload, "notification")?;
            settled.keys.extend(outcomes.iter().filter_map(|o| parse(&o.key)));
        }
        Ok(settled)
    }

    /// Whether the delivery needs no more attempts.
    pub(super) fn holds(&self, key: &str, recorded_at: i64) -> bool {
        recorded_at < self.complete_from || parse(key).is_some_and(|key| self.keys.contains(&key))
    }

    /// Frees what only a start needs.
    pub(super) fn forget(&mut self) {
        self.keys = Keys::new();
    }
}

fn parse(key: &str) -> Option<[u8; 16]> {
    u128::from_str_radix(key, 16).ok().map(u128::to_be_bytes)
}

impl Notifier {
    /// Writes outcomes, many in one record when many wait, and forgets their deliveries.
    pub(super) async fn record(
        self: Arc<Self>,
        mut from: mpsc::UnboundedReceiver<Outcome>,
        mut stop: watch::Receiver<Stop>,
    ) {
        let mut outcomes = Vec::new();
        let mut ended = false;
        while !ended && from.recv_many(&mut outcomes, limits::OUTCOMES_PER_RECORD).await > 0 {
            if *stop.borrow() == Stop::Now {
                return;
            }
            ended = outcomes.iter().any(|o| matches!(o, Outcome::End));
            outcomes.retain(|o| !matches!(o, Outcome::End));
            while let Err(error) = self.append(&outcomes) {
                tracing::warn!(%error, "outcomes of notifications could not be recorded");
                self.metrics.stream_errors.add(1);
                let stopped = stop.wait_for(|s| *s != Stop::No);
                if tokio::time::timeout(RETRY, stopped).await.is_ok() {
                    return;
                }
            }
            for outcome in outcomes.drain(..) {
                let Outcome::Settled { state, .. } = &outcome else { continue };
                let counter = if *state == "dead" { &self.metrics.dead } else { &self.metrics.delivered };
                counter.add(1);
                self.forget(&outcome);
            }
        }
    }

    fn append(&self, outcomes: &[Outcome]) -> Result<()> {
        if outcomes.is_empty() {
            return Ok(());
        }
        let now: Timestamp = (self.clock)();
        fail::fail_point!("notify-before-outcome");
        self.stream.append(&to_bytes(&outcomes)?, now)?;
        self.stream.trim(now, RecordNumber::new(u64::MAX))?;
        Ok(())
    }
}
