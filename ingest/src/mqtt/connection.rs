//! One connection: reads packets, runs publishes together, sends acknowledgements in order.
//!
//! Invariants:
//! - A PUBACK is written only after the publish's future is `Ok` (or its payload can never be stored), and after the
//!   PUBACKs of all PUBLISHes before it.
//! - At most `max_in_flight` publishes and, but for one packet, `max_in_flight_bytes` are held; a PUBLISH's bytes
//!   are taken from the budget of all connections as soon as its length is known, before the rest of it is read.
//! - However a connection ends, what it has begun to publish is finished, unless storage is unavailable.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, PubAck, Publish, SubAck, SubscribeReasonCode, UnsubAck};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Sleep, sleep, timeout};

use super::close::Close;
use super::handshake::{Welcome, shake};
use super::in_flight::{InFlight, Outcome};
use super::listener::Shared;
use super::wire::{self, Front};

/// Room for the next read. A reading of a sensor has 100 bytes; a busy connection grows its buffer by itself.
const READ_BYTES: usize = 1 << 10;

/// Room for the next read while publishes are in flight, which tells a busy connection.
const BUSY_READ_BYTES: usize = 16 << 10;

/// Bytes of a packet that is no PUBLISH: a SUBSCRIBE with a hundred filters. They are not taken from the budget.
const CONTROL_BYTES: usize = 16 << 10;

/// How long a client may take to read its acknowledgements. They are 4 bytes each: only a dead one takes so long.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

/// How long, and for how many bytes, a client is still read that is being closed. To close a socket with unread
/// bytes resets it, and a reset may overtake the last acknowledgements.
const LINGER: Duration = Duration::from_millis(500);
/// See [`LINGER`].
const LINGER_BYTES: u64 = 1 << 20;

/// How long a packet may take from its first bytes to its last. It holds a part of the common budget meanwhile.
const PACKET_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a client that promises no keep-alive may be silent: a battery sensor reports every hour or so.
const SILENCE: Duration = Duration::from_secs(2 * 3_600);

/// Serves one connection to its end, and counts and tells why it ended.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    shared: Arc<Shared>,
    mut stopping: watch::Receiver<bool>,
    number: u64,
) -> Close {
    let mut received = BytesMut::with_capacity(READ_BYTES);
    let shaken = tokio::select! {
        shaken = timeout(
            shared.config.connect_timeout,
            shake(&mut stream, &mut received, shared.authenticate.as_ref(), number),
        ) => shaken.unwrap_or(Err(Close::TooSlow)),
        () = stopped(&mut stopping) => Err(Close::Stopping),
    };
    let metrics = shared.metrics.clone();
    let welcome = match shaken {
        Ok(welcome) => welcome,
        Err(close) => {
            close.count(metrics.record());
            if matches!(close, Close::Refused(_) | Close::Version(_)) {
                linger(&mut stream).await;
            }
            return close;
        }
    };
    let mut connection = Connection::new(stream, received, shared, welcome);
    let close = match connection.run(&mut stopping).await {
        Ok(never) => match never {},
        Err(close) => close,
    };
    // Counted before the client can notice.
    close.count(metrics.record());
    connection.finish(&close).await;
    close
}

/// Resolves when the listener stops.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the listener is gone, which is a stop as well.
    stopping.wait_for(|stop| *stop).await.ok();
}

struct Connection<S> {
    stream: S,
    received: BytesMut,
    to_send: BytesMut,
    in_flight: InFlight,
    shared: Arc<Shared>,
    /// The share of the common budget for the packet at the front.
    reserved: Option<OwnedSemaphorePermit>,
    silence: Duration,
}

/// What a connection waits for, beside its publishes.
enum Need {
    /// Room for more publishes.
    Room,
    /// So many bytes of the common budget.
    Budget(u32),
    /// Bytes from the client, within this time.
    Bytes(Patience),
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum Patience {
    /// No packet has begun.
    Idle,
    /// A packet has begun.
    Packet,
}

enum Event {
    Outcome(Outcome),
    Budget(OwnedSemaphorePermit),
    Read(usize),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    fn new(stream: S, received: BytesMut, shared: Arc<Shared>, welcome: Welcome) -> Self {
        let silence = match welcome.keep_alive {
            0 => SILENCE,
            seconds => Duration::from_secs(seconds.into()).mul_f32(1.5),
        };
        let in_flight = InFlight::new(shared.publish.clone(), welcome.session, shared.metrics.clone());
        shared.metrics.record().bytes(received.len());
        Self { stream, received, to_send: BytesMut::new(), in_flight, shared, reserved: None, silence }
    }

    async fn run(&mut self, stopping: &mut watch::Receiver<bool>) -> Result<std::convert::Infallible, Close> {
        let timer = sleep(self.silence);
        tokio::pin!(timer);
        let mut waits_for = None;
        loop {
            let (need, progress) = self.take_packets()?;
            self.send().await?;
            // The time of the client runs only while it is listened to.
            let patience = if let Need::Bytes(patience) = need { Some(patience) } else { None };
            if progress || patience != waits_for {
                waits_for = patience;
                self.restart(timer.as_mut(), patience);
            }
            match self.wait(&need, timer.as_mut(), stopping).await? {
                Event::Outcome(outcome) => self.settle(outcome)?,
                Event::Budget(permit) => self.reserved = Some(permit),
                Event::Read(0) => return Err(Close::ByClient),
                Event::Read(bytes) => self.shared.metrics.record().bytes(bytes),
            }
        }
    }

    fn restart(&self, mut timer: Pin<&mut Sleep>, patience: Option<Patience>) {
        timer.set(sleep(match patience {
            Some(Patience::Packet) => self.silence.min(PACKET_TIMEOUT),
            Some(Patience::Idle) | None => self.silence,
        }));
    }

    /// Waits for the first thing that happens.
    async fn wait(
        &mut self,
        need: &Need,
        timer: Pin<&mut Sleep>,
        stopping: &mut watch::Receiver<bool>,
    ) -> Result<Event, Close> {
        let reads = matches!(need, Need::Bytes(_));
        let budget = match need {
            Need::Budget(bytes) => Some(self.shared.budget.clone().acquire_many_owned(*bytes)),
            Need::Room | Need::Bytes(_) => None,
        };
        if reads {
            self.received.reserve(if self.in_flight.is_empty() { READ_BYTES } else { BUSY_READ_BYTES });
        }
        tokio::select! {
            outcome = self.in_flight.next() => Ok(Event::Outcome(outcome)),
            permit = optional(budget) => permit.map(Event::Budget).map_err(|_| Close::Stopping),
            bytes = self.stream.read_buf(&mut self.received), if reads => Ok(Event::Read(bytes?)),
            () = stopped(stopping) => Err(Close::Stopping),
            () = timer, if reads => Err(match need {
                Need::Bytes(Patience::Packet) => Close::TooSlow,
                _ => Close::Idle,
            }),
        }
    }

    /// Takes all packets that are there, as far as there is room; says what is needed for more, and whether any
    /// packet was taken.
    fn take_packets(&mut self) -> Result<(Need, bool), Close> {
        let mut progress = false;
        loop {
            let is_publish = wire::is_publish(&self.received);
            let limit = match is_publish {
                true => self.shared.config.max_packet_bytes,
                false => CONTROL_BYTES.min(self.shared.config.max_packet_bytes),
            };
            if !self.in_flight.has_room(&self.shared.config) {
                return Ok((Need::Room, progress));
            }
            let front = wire::front(&self.received, limit)?;
            let (Front::Part(bytes) | Front::Whole(bytes)) = front else {
                return Ok((Need::Bytes(Patience::Idle), progress));
            };
            if is_publish && self.reserved.is_none() {
                let bytes = self.shared.budget_for(bytes);
                match self.shared.budget.clone().try_acquire_many_owned(bytes) {
                    Ok(permit) => self.reserved = Some(permit),
                    Err(_) => return Ok((Need::Budget(bytes), progress)),
                }
            }
            if matches!(front, Front::Part(_)) {
                return Ok((Need::Bytes(Patience::Packet), progress));
            }
            let packet = wire::take(&mut self.received, limit)?;
            progress = true;
            let permit = self.reserved.take();
            self.handle(packet, permit)?;
        }
    }

    fn handle(&mut self, packet: Packet, permit: Option<OwnedSemaphorePermit>) -> Result<(), Close> {
        let answer = match packet {
            Packet::Publish(publish) => return self.begin(publish, permit),
            Packet::PingReq => Packet::PingResp,
            Packet::Subscribe(subscribe) => {
                let codes = subscribe.filters.iter().map(|_| SubscribeReasonCode::Failure).collect();
                Packet::SubAck(SubAck::new(subscribe.pkid, codes))
            }
            Packet::Unsubscribe(unsubscribe) => Packet::UnsubAck(UnsubAck::new(unsubscribe.pkid)),
            Packet::Disconnect => return Err(Close::ByClient),
            Packet::Connect(_) => return Err(Close::Unexpected("a second CONNECT")),
            _ => return Err(Close::Unexpected("only a server sends it, or only with QoS 2")),
        };
        wire::put(&answer, &mut self.to_send)
    }

    fn begin(&mut self, publish: Publish, permit: Option<OwnedSemaphorePermit>) -> Result<(), Close> {
        if publish.qos == QoS::ExactlyOnce {
            return Err(Close::Unexpected("a PUBLISH with QoS 2, use QoS 1"));
        }
        if !wire::is_publishable(&publish.topic) {
            return Err(Close::Unexpected("a PUBLISH to a topic that is empty or has wildcards"));
        }
        self.in_flight.push(publish, permit);
        Ok(())
    }

    /// Acknowledges what has ended, as far as it is the next in order.
    fn settle(&mut self, first: Outcome) -> Result<(), Close> {
        let mut next = Some(first);
        while let Some(outcome) = next {
            match (outcome.packet_id, outcome.unavailable) {
                (Some(packet_id), None) => {
                    self.shared.metrics.record().acks(1);
                    wire::put(&Packet::PubAck(PubAck::new(packet_id)), &mut self.to_send)?;
                }
                (None, None) => {}
                (packet_id, Some(reason)) => {
                    self.shared.metrics.record().unavailable(1);
                    // With QoS 0 the client would not send it again.
                    if packet_id.is_some() {
                        return Err(Close::Unavailable(reason));
                    }
                    tracing::warn!(%reason, "publish with QoS 0 lost");
                }
            }
            next = self.in_flight.next_ready();
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), Close> {
        if self.to_send.is_empty() {
            return Ok(());
        }
        let sent = timeout(WRITE_TIMEOUT, async {
            self.stream.write_all(&self.to_send).await?;
            self.stream.flush().await
        });
        sent.await.map_err(|_| Close::DoesNotRead)??;
        self.to_send.clear();
        Ok(())
    }

    /// Finishes what was begun, acknowledges it if the client still listens, and closes.
    async fn finish(mut self, close: &Close) {
        self.reserved = None;
        let mut listens = !matches!(close, Close::DoesNotRead | Close::Io(_));
        while !self.in_flight.is_empty() && !matches!(close, Close::Unavailable(_)) {
            let outcome = self.in_flight.next().await;
            if self.settle(outcome).is_err() {
                break;
            }
            listens = listens && self.send().await.is_ok();
        }
        if listens && self.send().await.is_ok() && !matches!(close, Close::ByClient) {
            linger(&mut self.stream).await;
        }
    }
}

/// Closes so that what was sent arrives: see [`LINGER`].
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) {
    let rest = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut tokio::io::sink()).await
    };
    timeout(LINGER, rest).await.ok();
}

/// The future's result, or never.
async fn optional<F: Future>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
