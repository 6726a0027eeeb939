//! A listener with a commit that the test decides, and a client that speaks bytes.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use ingest::mqtt::{
    Authenticate, Listener, ListenerConfig, Metrics, Publish, PublishError, Refused, Session,
};
use rumqttc::mqttbytes::v4::{self, ConnAck, Connect, ConnectReturnCode, Packet};
use rumqttc::mqttbytes::{Error, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// How long a test waits for what must happen. It only decides how soon a broken test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// The future's result; panics when it never comes.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it never happened")
}

/// A publish that waits for its commit.
pub(crate) struct Held {
    pub(crate) session: Session,
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    answer: oneshot::Sender<Result<(), PublishError>>,
}

impl Held {
    /// Ends the publish. Panics if nobody waits for it any more.
    pub(crate) fn end(self, result: Result<(), PublishError>) {
        self.answer.send(result).expect("somebody waits for the commit");
    }

    pub(crate) fn commit(self) {
        self.end(Ok(()));
    }
}

/// What was rejected: topic, payload, reason.
pub(crate) type Rejection = (String, Bytes, String);

struct Store {
    held: mpsc::UnboundedSender<Held>,
    rejected: mpsc::UnboundedSender<Rejection>,
}

#[async_trait]
impl Publish for Store {
    async fn publish(
        &self,
        session: &Session,
        topic: &str,
        payload: Bytes,
        retain: bool,
        dup: bool,
    ) -> Result<(), PublishError> {
        let (answer, answered) = oneshot::channel();
        let (session, topic) = (session.clone(), topic.to_owned());
        self.held.send(Held { session, topic, payload, retain, dup, answer }).ok();
        answered.await.unwrap_or_else(|_| Err(PublishError::Unavailable("the test is over".into())))
    }

    async fn rejected(
        &self,
        _session: &Session,
        topic: &str,
        payload: Bytes,
        reason: &str,
    ) -> Result<(), PublishError> {
        self.rejected.send((topic.to_owned(), payload, reason.to_owned())).ok();
        Ok(())
    }
}

/// Lets in whoever has the password `secret`, and, without a password, everyone but a few client ids.
struct Door;

#[async_trait]
impl Authenticate for Door {
    async fn connect(
        &self,
        client_id: &str,
        username: Option<&str>,
        password: Option<&[u8]>,
    ) -> Result<Session, Refused> {
        match (client_id, password) {
            ("unavailable", _) => Err(Refused::Unavailable),
            ("bad-id", _) => Err(Refused::ClientId),
            ("not-allowed", _) => Err(Refused::NotAllowed),
            (_, None | Some(b"secret")) => {
                Ok(Session { client_id: client_id.into(), principal: username.map(Into::into) })
            }
            (_, Some(_)) => Err(Refused::Credentials),
        }
    }
}

/// A listener that runs.
pub(crate) struct Bench {
    pub(crate) addr: SocketAddr,
    pub(crate) metrics: Arc<Metrics>,
    held: mpsc::UnboundedReceiver<Held>,
    pub(crate) rejected: mpsc::UnboundedReceiver<Rejection>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut ListenerConfig)) -> Self {
        let mut config = ListenerConfig { addr: "127.0.0.1:0".parse().unwrap(), ..ListenerConfig::default() };
        change(&mut config);
        let (held_in, held) = mpsc::unbounded_channel();
        let (rejected_in, rejected) = mpsc::unbounded_channel();
        let store = Store { held: held_in, rejected: rejected_in };
        let listener = Listener::bind(config, Arc::new(Door), Arc::new(store)).await.unwrap();
        let (addr, metrics) = (listener.local_addr().unwrap(), listener.metrics());
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(listener.run(async move {
            stopped.await.ok();
        }));
        Self { addr, metrics, held, rejected, stop: Some(stop), running }
    }

    /// The next publish that reached the store.
    pub(crate) async fn held(&mut self) -> Held {
        soon(self.held.recv()).await.unwrap()
    }

    /// Whether no publish waits to be looked at.
    pub(crate) fn holds_nothing_new(&mut self) -> bool {
        self.held.try_recv().is_err()
    }

    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits for the end of the listener.
    pub(crate) async fn ended(self) {
        soon(self.running).await.unwrap();
    }

    /// A client that is connected and let in.
    pub(crate) async fn client(&self, id: &str) -> Client {
        self.try_client(id).await.expect("the client is let in")
    }

    /// The same, or `None` if the connection was closed instead.
    pub(crate) async fn try_client(&self, id: &str) -> Option<Client> {
        let mut client = Client::open(self.addr).await;
        soon(client.stream.write_all(&bytes_of(&Packet::Connect(Connect::new(id))))).await.ok()?;
        let answer = client.receive().await?;
        assert_eq!(answer, connack(ConnectReturnCode::Success));
        Some(client)
    }
}

pub(crate) fn connack(code: ConnectReturnCode) -> Packet {
    Packet::ConnAck(ConnAck { session_present: false, code })
}

pub(crate) fn puback(packet_id: u16) -> Packet {
    Packet::PubAck(v4::PubAck::new(packet_id))
}

pub(crate) fn publish(qos: QoS, packet_id: u16, payload: &str) -> Packet {
    let mut publish = v4::Publish::new("busbar/db/lp", qos, payload);
    publish.pkid = packet_id;
    Packet::Publish(publish)
}

/// The bytes of a packet.
pub(crate) fn bytes_of(packet: &Packet) -> BytesMut {
    let mut bytes = BytesMut::new();
    packet.write(&mut bytes, usize::MAX).unwrap();
    bytes
}

/// A client of which every byte is decided by the test.
pub(crate) struct Client {
    stream: TcpStream,
    received: BytesMut,
}

impl Client {
    pub(crate) async fn open(addr: SocketAddr) -> Self {
        Self { stream: soon(TcpStream::connect(addr)).await.unwrap(), received: BytesMut::new() }
    }

    pub(crate) async fn send(&mut self, packet: Packet) {
        self.send_bytes(&bytes_of(&packet)).await;
    }

    pub(crate) async fn publish(&mut self, packet_id: u16) {
        self.send(publish(QoS::AtLeastOnce, packet_id, &format!("m f={packet_id}"))).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        soon(self.stream.write_all(bytes)).await.unwrap();
    }

    /// The next packet; `None` when the connection is closed.
    pub(crate) async fn receive(&mut self) -> Option<Packet> {
        loop {
            match Packet::read(&mut self.received, usize::MAX) {
                Ok(packet) => return Some(packet),
                Err(Error::InsufficientBytes(_)) => {}
                Err(error) => panic!("the server sent nonsense: {error}"),
            }
            match soon(self.stream.read_buf(&mut self.received)).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Tells the server that nothing more comes.
    pub(crate) async fn finish_writing(&mut self) {
        // The server may have closed the connection already.
        self.stream.shutdown().await.ok();
    }

    /// The bytes up to the end of the connection.
    pub(crate) async fn receive_rest(&mut self) -> Vec<u8> {
        while matches!(soon(self.stream.read_buf(&mut self.received)).await, Ok(1..)) {}
        self.received.to_vec()
    }

    /// Shows that everything sent so far was looked at, and that nothing was answered to it.
    pub(crate) async fn ping(&mut self) {
        self.send(Packet::PingReq).await;
        assert_eq!(self.receive().await, Some(Packet::PingResp));
    }
}
