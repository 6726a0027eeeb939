//! Line protocol over MQTT 3.1.1, QoS 0 or 1, on the public codec of `rumqttc`.
//!
//! `rumqttc`'s own event loop does not say which publish a PUBACK belongs to, and that is what is
//! measured here; so the connection is ours, the packets are the codec's.
//!
//! Invariants:
//! - A batch is acknowledged by the PUBACK with its packet id and by nothing else.
//! - At most `inflight` publishes wait for their PUBACK, in the order in which they were sent.
//! - After a reconnect all of them are sent again, in that order, with the same ids and DUP set.

use crate::clock;
use crate::delivery::Stop;
use crate::error::LoadError;
use crate::protocol::retry::Backoff;
use crate::protocol::{Batch, BatchSource};
use crate::reconnects::Reconnects;
use crate::report::{Ending, Stats};
use crate::target::{Qos, Target};
use bytes::BytesMut;
use rumqttc::mqttbytes::v4::{ConnAck, Connect, ConnectReturnCode, Disconnect, Packet, PingReq, Publish};
use rumqttc::mqttbytes::{Error as CodecError, QoS};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The server only sends acknowledgements; anything bigger is not MQTT.
const MAX_INCOMING_BYTES: usize = 64 * 1024;
/// Below the usual 60 s after which middle boxes forget a connection.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Half of the keep-alive, so that one late ping does no harm.
const PING_EVERY: Duration = Duration::from_secs(15);
/// Room for a few publishes between two writes to the socket.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;

/// One client with its own session.
#[derive(Debug)]
pub struct MqttConnection {
    address: String,
    connect: Connect,
    topic: String,
    number: usize,
    window: usize,
    timeout: Duration,
    retry_for: Duration,
    /// Whether publishes are acknowledged.
    qos: Qos,
    stats: Arc<Stats>,
    stop: Stop,
    reconnects: Reconnects,
    unacknowledged: VecDeque<Waiting>,
    /// PUBACKs over all of its connects, and publishes of QoS 0 that the system took: progress, which renews the right
    /// to retry.
    progress: u64,
    next_id: u16,
}

#[derive(Debug)]
struct Waiting {
    id: u16,
    batch: Batch,
    due: Instant,
    sent: Instant,
}

/// Why a connection ended.
enum End {
    /// Everything is acknowledged or the run was stopped.
    Done,
    /// Lost; what waits must be sent again.
    Lost(String),
    /// Closed to be opened again at once.
    Again,
    /// No further try can help.
    Hopeless(LoadError),
}

impl From<String> for End {
    fn from(reason: String) -> Self {
        Self::Lost(reason)
    }
}

impl From<LoadError> for End {
    fn from(error: LoadError) -> Self {
        Self::Hopeless(error)
    }
}

impl MqttConnection {
    /// Does not connect yet.
    pub fn new(
        target: &Target,
        number: usize,
        stats: Arc<Stats>,
        stop: Stop,
        reconnects: Reconnects,
    ) -> Result<Self, LoadError> {
        let Some(address) = target.mqtt.clone() else {
            return Err(LoadError::Options("give the MQTT address with --mqtt HOST:PORT".to_owned()));
        };
        let run: u64 = rand::random();
        let mut connect = Connect::new(format!("loadgen-{run:016x}-{number}"));
        connect.clean_session = false;
        connect.keep_alive = u16::try_from(KEEP_ALIVE.as_secs()).unwrap_or(30);
        if let Some(token) = &target.token {
            connect.set_login(target.mqtt_user.clone(), token.clone());
        }
        Ok(Self {
            address,
            connect,
            topic: format!("busbar/{}/lp", target.db),
            number,
            window: target.inflight,
            timeout: target.timeout,
            retry_for: target.retry_for,
            qos: target.qos,
            stats,
            stop,
            reconnects,
            unacknowledged: VecDeque::with_capacity(target.inflight),
            progress: 0,
            next_id: 0,
        })
    }

    /// Sends all of the source's batches for this connection; on return each is counted.
    pub async fn run(mut self, source: Arc<dyn BatchSource>) -> Result<(), LoadError> {
        let mut backoff = Backoff::new(self.retry_for);
        let mut pending = None;
        let mut exhausted = false;
        let mut is_first = true;
        let result = loop {
            let progress_before = self.progress;
            let end = match self.open().await {
                Ok(mut wire) => {
                    self.stats.reconnected(u64::from(!std::mem::take(&mut is_first)));
                    self.exchange(&mut wire, source.as_ref(), &mut pending, &mut exhausted).await
                }
                Err(end) => end,
            };
            if self.progress > progress_before {
                backoff = Backoff::new(self.retry_for);
            }
            match end {
                End::Done => break Ok(()),
                End::Hopeless(error) => break Err(error),
                End::Again => continue,
                End::Lost(reason) => self.stats.message(&reason),
            }
            let Some(wait) = backoff.next(None) else { break Ok(()) };
            if !self.stop.sleep_until(clock::now() + wait).await {
                break Ok(());
            }
        };
        for waiting in self.unacknowledged.drain(..) {
            self.stats.unsettled(&waiting.batch, Ending::Unknown);
        }
        if let Some(batch) = pending {
            self.stats.unsettled(&batch, Ending::NotSent);
        }
        result
    }

    /// Connects, logs in, and sends again what waits.
    async fn open(&mut self) -> Result<Wire, End> {
        let deadline = clock::now() + self.timeout;
        let mut wire = tokio::select! {
            opened = Wire::open(&self.address, &self.connect) => opened?,
            () = clock::sleep_until(deadline) => return Err(End::Lost("MQTT login took too long".to_owned())),
        };
        for waiting in &mut self.unacknowledged {
            waiting.sent = clock::now();
            wire.queue_publish(&self.topic, &waiting.batch, Some(waiting.id), true)?;
            wire.flush().await?;
            self.stats.retried();
        }
        Ok(wire)
    }

    /// Publishes and reads acknowledgements until there is nothing left of either.
    async fn exchange(
        &mut self,
        wire: &mut Wire,
        source: &dyn BatchSource,
        pending: &mut Option<Batch>,
        exhausted: &mut bool,
    ) -> End {
        let mut ping_at = clock::now() + PING_EVERY;
        loop {
            // Here, because without a pace there is always something to send.
            if self.reconnects.is_due() {
                return End::Again;
            }
            if clock::now() >= ping_at {
                ping_at = clock::now() + PING_EVERY;
                if let Err(reason) = wire.queue(&Packet::PingReq) {
                    return End::Lost(reason);
                }
            }
            if let Err(end) = self.fill(wire, source, pending, exhausted).await {
                return end;
            }
            let stopped = self.stop.is_set();
            if self.unacknowledged.is_empty() && (stopped || (*exhausted && pending.is_none())) {
                return self.close(wire).await;
            }
            let room = self.unacknowledged.len() < self.window;
            let due = pending.as_ref().filter(|_| room && !stopped).and_then(|batch| batch.due);
            let late = self.unacknowledged.front().map(|oldest| oldest.sent + self.timeout);
            let step = tokio::select! {
                biased;
                packet = wire.read() => Step::Received(packet),
                () = std::future::ready(()), if room && pending.is_none() && !*exhausted => Step::Fill,
                () = sleep_until_some(due), if due.is_some() => Step::Fill,
                () = sleep_until_some(late), if late.is_some() => Step::Late,
                () = self.reconnects.next() => Step::Again,
                _ = self.stop.sleep_until(ping_at), if !stopped => Step::Fill,
            };
            match step {
                Step::Received(Ok(packet)) => {
                    self.receive(&packet);
                    while let Ok(Some(packet)) = wire.buffered() {
                        self.receive(&packet);
                    }
                }
                Step::Received(Err(reason)) => return End::Lost(reason),
                Step::Fill => {}
                Step::Again => return End::Again,
                Step::Late => return End::Lost(format!("no PUBACK within {:?}", self.timeout)),
            }
        }
    }

    /// Publishes what is due while the window has room, and writes it to the socket.
    async fn fill(
        &mut self,
        wire: &mut Wire,
        source: &dyn BatchSource,
        pending: &mut Option<Batch>,
        exhausted: &mut bool,
    ) -> Result<(), End> {
        *exhausted |= self.stop.is_set();
        let mut unanswered = 0;
        while self.unacknowledged.len() < self.window && wire.outgoing.len() < WRITE_BUFFER_BYTES {
            let next = match pending.take() {
                Some(batch) if self.stop.is_set() => {
                    *pending = Some(batch);
                    break;
                }
                Some(batch) => Some(batch),
                None if *exhausted => None,
                None => source.next(self.number)?,
            };
            let Some(batch) = next else {
                *exhausted = true;
                break;
            };
            *pending = self.publish_if_due(wire, batch);
            if pending.is_some() {
                break;
            }
            unanswered += u64::from(self.qos == Qos::AtMostOnce);
        }
        let deadline = clock::now() + self.timeout;
        tokio::select! {
            biased;
            written = wire.flush() => written?,
            () = clock::sleep_until(deadline) => {
                return Err(End::Lost(format!("the MQTT server took nothing for {:?}", self.timeout)));
            }
        }
        self.progress += unanswered;
        Ok(())
    }

    /// Queues the publish, or gives the batch back when its time has not come.
    fn publish_if_due(&mut self, wire: &mut Wire, batch: Batch) -> Option<Batch> {
        let now = clock::now();
        if batch.due.is_some_and(|due| due > now) {
            return Some(batch);
        }
        if self.qos == Qos::AtMostOnce {
            let ending = match wire.queue_publish(&self.topic, &batch, None, false) {
                Ok(()) => Ending::Unconfirmed,
                Err(reason) => {
                    self.stats.message(&reason);
                    Ending::NotSent
                }
            };
            self.stats.unsettled(&batch, ending);
            return None;
        }
        let id = self.free_id();
        let waiting = Waiting { id, due: batch.due.unwrap_or(now), sent: now, batch };
        if let Err(reason) = wire.queue_publish(&self.topic, &waiting.batch, Some(id), false) {
            self.stats.message(&reason);
            self.stats.unsettled(&waiting.batch, Ending::NotSent);
            return None;
        }
        self.unacknowledged.push_back(waiting);
        None
    }

    fn receive(&mut self, packet: &Packet) {
        let Packet::PubAck(ack) = packet else { return };
        // Usually the oldest: the server acknowledges in order.
        let Some(at) = self.unacknowledged.iter().position(|waiting| waiting.id == ack.pkid) else {
            self.stats.message("PUBACK for a packet id that was not waiting");
            return;
        };
        if let Some(done) = self.unacknowledged.remove(at) {
            self.progress += 1;
            self.stats.acknowledged(&done.batch, clock::now().duration_since(done.due));
        }
    }

    /// The window is at most all 65,535 ids, and one is free when this is called.
    fn free_id(&mut self) -> u16 {
        loop {
            self.next_id = self.next_id.checked_add(1).unwrap_or(1);
            if !self.unacknowledged.iter().any(|waiting| waiting.id == self.next_id) {
                return self.next_id;
            }
        }
    }

    async fn close(&self, wire: &mut Wire) -> End {
        // All is acknowledged: a server that is gone by now took nothing with it.
        if wire.queue(&Packet::Disconnect).is_ok() && wire.flush().await.is_err() {
            self.stats.message("the MQTT server closed before DISCONNECT");
        }
        if self.qos == Qos::AtMostOnce {
            // The server has read everything when it closes; who closes first may take back what is under way.
            let deadline = clock::now() + self.timeout;
            tokio::select! {
                () = async { while wire.read().await.is_ok() {} } => {}
                () = clock::sleep_until(deadline) => self.stats.message("the MQTT server did not close after DISCONNECT"),
            }
        }
        End::Done
    }
}

enum Step {
    Received(Result<Packet, String>),
    Fill,
    Late,
    Again,
}

async fn sleep_until_some(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => clock::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// A socket with the codec around it.
#[derive(Debug)]
struct Wire {
    stream: TcpStream,
    incoming: BytesMut,
    outgoing: BytesMut,
}

impl Wire {
    async fn open(address: &str, connect: &Connect) -> Result<Self, End> {
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| format!("cannot connect to MQTT at {address}: {error}"))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let mut wire = Self { stream, incoming: BytesMut::new(), outgoing: BytesMut::new() };
        wire.queue(&Packet::Connect(connect.clone()))?;
        wire.flush().await?;
        match wire.read().await? {
            Packet::ConnAck(ConnAck { code: ConnectReturnCode::Success, .. }) => Ok(wire),
            Packet::ConnAck(ConnAck { code: ConnectReturnCode::ServiceUnavailable, .. }) => {
                Err(End::Lost("the MQTT server is not available yet".to_owned()))
            }
            Packet::ConnAck(refused) => Err(End::Hopeless(LoadError::Network(format!(
                "MQTT login refused ({:?}): check --token and --mqtt-user",
                refused.code
            )))),
            other => Err(End::Lost(format!("the MQTT server began with {other:?}, not with CONNACK"))),
        }
    }

    fn queue(&mut self, packet: &Packet) -> Result<(), String> {
        let written = match packet {
            Packet::PingReq => PingReq.write(&mut self.outgoing),
            Packet::Disconnect => Disconnect.write(&mut self.outgoing),
            other => other.write(&mut self.outgoing, usize::MAX),
        };
        written.map(|_| ()).map_err(|error| error.to_string())
    }

    /// Without an id nobody acknowledges it.
    fn queue_publish(
        &mut self,
        topic: &str,
        batch: &Batch,
        id: Option<u16>,
        dup: bool,
    ) -> Result<(), String> {
        let qos = if id.is_some() { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        let mut publish = Publish::from_bytes(topic, qos, batch.body.clone());
        publish.pkid = id.unwrap_or(0);
        publish.dup = dup;
        publish.write(&mut self.outgoing).map(|_| ()).map_err(|error| error.to_string())
    }

    async fn flush(&mut self) -> Result<(), String> {
        if self.outgoing.is_empty() {
            return Ok(());
        }
        let written = self.stream.write_all(&self.outgoing).await;
        self.outgoing.clear();
        written.map_err(|error| format!("MQTT connection lost while writing: {error}"))
    }

    /// Cancel safe: bytes that were read stay in the buffer.
    async fn read(&mut self) -> Result<Packet, String> {
        loop {
            if let Some(packet) = self.buffered()? {
                return Ok(packet);
            }
            match self.stream.read_buf(&mut self.incoming).await {
                Ok(0) => return Err("the MQTT server closed the connection".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(format!("MQTT connection lost while reading: {error}")),
            }
        }
    }

    /// The next packet that has arrived as a whole.
    fn buffered(&mut self) -> Result<Option<Packet>, String> {
        match Packet::read(&mut self.incoming, MAX_INCOMING_BYTES) {
            Ok(packet) => Ok(Some(packet)),
            Err(CodecError::InsufficientBytes(_)) => Ok(None),
            Err(error) => Err(format!("not MQTT: {error}")),
        }
    }
}
