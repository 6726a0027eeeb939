//! Drives the connections: takes batches, waits until they are due, sends, counts.
//!
//! Invariants:
//! - Open loop: a batch's due time comes from the schedule and does not move when the server is slow.
//! - A batch that gets no answer within `retry_for` ends its connection, so a dead server ends the run.

use crate::clock;
use crate::error::LoadError;
use crate::protocol::http::{Attempt, HttpConnection, HttpEndpoint};
use crate::protocol::mqtt::MqttConnection;
use crate::protocol::retry::Backoff;
use crate::protocol::{Batch, BatchSource};
use crate::reconnects::Reconnects;
use crate::report::{Ending, Stats};
use crate::target::Target;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What shells give for a process ended by Ctrl-C.
const EXIT_INTERRUPTED: i32 = 130;

/// Tells every connection to take no further batches.
#[derive(Debug, Clone)]
pub struct Stop {
    sender: Arc<watch::Sender<bool>>,
    receiver: watch::Receiver<bool>,
}

impl Default for Stop {
    fn default() -> Self {
        let (sender, receiver) = watch::channel(false);
        Self { sender: Arc::new(sender), receiver }
    }
}

impl Stop {
    /// Set by the first Ctrl-C; the second one ends the process at once.
    #[must_use]
    pub fn on_interrupt() -> Self {
        let stop = Self::default();
        let watched = stop.clone();
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                watched.set();
            }
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(EXIT_INTERRUPTED);
            }
        });
        stop
    }

    /// From now on no batch is taken.
    pub fn set(&self) {
        self.sender.send_replace(true);
    }

    /// Whether it was set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        *self.receiver.borrow()
    }

    /// Returns when it is set.
    pub async fn stopped(&self) {
        let mut receiver = self.receiver.clone();
        // The sender lives as long as `self`, so the wait ends only when it is set.
        let ended = receiver.wait_for(|stopped| *stopped).await;
        debug_assert!(ended.is_ok());
    }

    /// Returns true at `deadline`, or false when stopped before it.
    pub async fn sleep_until(&self, deadline: Instant) -> bool {
        tokio::select! {
            () = clock::sleep_until(deadline) => true,
            () = self.stopped() => false,
        }
    }
}

/// What sending took, from the first batch to the last answer.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// By the clock on the wall.
    pub wall: Duration,
    /// CPU time of this process, where the system tells it.
    pub cpu: Option<Duration>,
}

/// Sends everything that `source` has. On return each batch taken is counted in `stats`.
pub async fn deliver(
    target: &Target,
    source: Arc<dyn BatchSource>,
    stats: &Arc<Stats>,
    stop: &Stop,
    reconnects: &Reconnects,
) -> Result<Effort, LoadError> {
    let (started, cpu_before) = (clock::now(), clock::cpu_time());
    let mut connections = JoinSet::new();
    let http = if target.mqtt.is_some() { None } else { Some(Arc::new(HttpEndpoint::new(target)?)) };
    for number in 0..target.connections {
        let (source, stats, stop) = (source.clone(), stats.clone(), stop.clone());
        let reconnects = reconnects.clone();
        match &http {
            Some(endpoint) => {
                let connection = HttpConnection::new(endpoint.clone());
                let lane = HttpLane { connection, stats, stop, reconnects, retry_for: target.retry_for };
                connections.spawn(async move { lane.run(number, source).await });
            }
            None => {
                let connection = MqttConnection::new(target, number, stats, stop, reconnects)?;
                connections.spawn(async move { connection.run(source).await });
            }
        }
    }
    let mut first_error = None;
    while let Some(ended) = connections.join_next().await {
        let outcome =
            ended.unwrap_or_else(|error| Err(LoadError::Network(format!("a connection broke: {error}"))));
        if let Err(error) = outcome {
            stop.set();
            first_error.get_or_insert(error);
        }
    }
    if let Some(error) = first_error {
        return Err(error);
    }
    let cpu = clock::cpu_time().zip(cpu_before).map(|(after, before)| after.saturating_sub(before));
    Ok(Effort { wall: clock::now().duration_since(started), cpu })
}

struct HttpLane {
    connection: HttpConnection,
    stats: Arc<Stats>,
    stop: Stop,
    reconnects: Reconnects,
    retry_for: Duration,
}

impl HttpLane {
    async fn run(mut self, number: usize, source: Arc<dyn BatchSource>) -> Result<(), LoadError> {
        while !self.stop.is_set() {
            let Some(batch) = source.next(number)? else { break };
            let due = match batch.due {
                Some(due) if !self.stop.sleep_until(due).await => {
                    self.stats.unsettled(&batch, Ending::NotSent);
                    break;
                }
                Some(due) => due,
                None => clock::now(),
            };
            if self.reconnects.is_due() {
                self.connection.close();
                self.stats.reconnected(1);
            }
            if !self.settle(&batch, due).await {
                break;
            }
        }
        Ok(())
    }

    /// False when the batch was given up.
    async fn settle(&mut self, batch: &Batch, due: Instant) -> bool {
        let mut backoff = Backoff::new(self.retry_for);
        loop {
            match self.connection.send(batch.body.clone()).await {
                Attempt::Acknowledged => {
                    self.stats.acknowledged(batch, clock::now().duration_since(due));
                    return true;
                }
                Attempt::Refused(reason) => {
                    self.stats.message(&reason);
                    self.stats.unsettled(batch, Ending::Refused);
                    return true;
                }
                Attempt::TryAgain { after, reason } => {
                    self.stats.message(&reason);
                    let wait = backoff.next(after);
                    let waited = match wait {
                        Some(wait) => self.stop.sleep_until(clock::now() + wait).await,
                        None => false,
                    };
                    if !waited {
                        self.stats.unsettled(batch, Ending::Unknown);
                        return false;
                    }
                    self.stats.retried();
                }
            }
        }
    }
}
