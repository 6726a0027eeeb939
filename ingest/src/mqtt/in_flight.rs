//! The publishes of one connection that are not committed yet.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use futures::{FutureExt, StreamExt};
use rumqttc::mqttbytes::{QoS, v4};
use tokio::sync::OwnedSemaphorePermit;

use super::config::ListenerConfig;
use super::handler::{Publish, PublishError, Session};
use super::metrics::Metrics;

/// How a publish ended.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The packet id to acknowledge; `None` with QoS 0.
    pub(super) packet_id: Option<u16>,
    /// Why it must not be acknowledged.
    pub(super) unavailable: Option<String>,
    bytes: usize,
}

/// Runs publishes together and gives their outcomes in the order in which they came.
pub(super) struct InFlight {
    running: FuturesOrdered<BoxFuture<'static, Outcome>>,
    bytes: usize,
    publish: Arc<dyn Publish>,
    session: Arc<Session>,
    metrics: Arc<Metrics>,
}

impl InFlight {
    pub(super) fn new(publish: Arc<dyn Publish>, session: Session, metrics: Arc<Metrics>) -> Self {
        Self { running: FuturesOrdered::new(), bytes: 0, publish, session: Arc::new(session), metrics }
    }

    pub(super) fn has_room(&self, config: &ListenerConfig) -> bool {
        self.running.len() < config.max_in_flight && self.bytes < config.max_in_flight_bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Begins a publish. The permit is given back when it ends.
    pub(super) fn push(&mut self, packet: v4::Publish, permit: Option<OwnedSemaphorePermit>) {
        self.metrics.record().publishes(1);
        let bytes = packet.size();
        self.bytes += bytes;
        let packet_id = (packet.qos != QoS::AtMostOnce).then_some(packet.pkid);
        let (publish, session) = (self.publish.clone(), self.session.clone());
        let metrics = self.metrics.clone();
        self.running.push_back(
            async move {
                let result = store(publish.as_ref(), &session, packet, &metrics).await;
                drop(permit);
                let unavailable = match result {
                    Err(PublishError::Unavailable(reason)) => Some(reason),
                    Ok(()) | Err(PublishError::Rejected(_)) => None,
                };
                Outcome { packet_id, unavailable, bytes }
            }
            .boxed(),
        );
    }

    /// The next outcome in order. Never resolves while nothing is in flight.
    pub(super) async fn next(&mut self) -> Outcome {
        match self.running.next().await {
            Some(outcome) => {
                self.bytes -= outcome.bytes;
                outcome
            }
            None => std::future::pending().await,
        }
    }

    /// The next outcome in order, if it is there already.
    pub(super) fn next_ready(&mut self) -> Option<Outcome> {
        self.next().now_or_never()
    }
}

async fn store(
    publish: &dyn Publish,
    session: &Session,
    packet: v4::Publish,
    metrics: &Metrics,
) -> Result<(), PublishError> {
    let v4::Publish { topic, payload, retain, dup, .. } = packet;
    match publish.publish(session, &topic, payload.clone(), retain, dup).await {
        Err(PublishError::Rejected(reason)) => {
            metrics.record().rejected(1);
            tracing::warn!(client = %session.client_id, %topic, bytes = payload.len(), %reason, "publish rejected");
            publish.rejected(session, &topic, payload, &reason).await
        }
        result => result,
    }
}
