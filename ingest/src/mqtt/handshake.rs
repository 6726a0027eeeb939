//! From the accepted socket to CONNACK.

use bytes::BytesMut;
use rumqttc::mqttbytes::Error;
use rumqttc::mqttbytes::v4::{ConnAck, Connect, ConnectReturnCode, Packet};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::close::Close;
use super::handler::{Authenticate, Refused, Session};
use super::wire::{self, Front};

/// Bytes of a CONNECT: client id, will, user name and password of usual sizes, and long tokens. It is read before
/// anyone is known, so it is small.
const CONNECT_BYTES: usize = 16 << 10;

/// The version number of MQTT 3.1.1.
const VERSION_3_1_1: u8 = 4;
/// The version number of MQTT 5.
const VERSION_5: u8 = 5;

/// MQTT 5's CONNACK for "unsupported protocol version", which its clients understand.
const CONNACK_5_UNSUPPORTED: [u8; 5] = [0x20, 3, 0, 0x84, 0];

/// Who connected, and how often it wants to be heard.
pub(super) struct Welcome {
    pub(super) session: Session,
    /// Seconds; 0 if the client promises nothing.
    pub(super) keep_alive: u16,
    /// Whether the client asked for a session that outlives the connection.
    resumes: bool,
}

/// Reads CONNECT, asks whether it may, and answers. `received` keeps what came after CONNECT. `number` is the
/// connection's, for clients without an id.
///
/// # Errors
/// Why the connection ends; CONNACK has been sent if there is a code for it.
pub(super) async fn shake<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    received: &mut BytesMut,
    authenticate: &dyn Authenticate,
    number: u64,
) -> Result<Welcome, Close> {
    let connect = read_connect(stream, received).await;
    let welcome = match connect {
        Ok(connect) => admit(connect, authenticate, number).await,
        Err(close) => Err(close),
    };
    let answer = match &welcome {
        // A session holds subscriptions and messages to the client. There are none, so nothing is missing from the
        // session that a client resumes. It matters: some clients (rumqttc) send unacknowledged messages again
        // only if their session is said to be present.
        Ok(welcome) => connack(ConnectReturnCode::Success, welcome.resumes)?,
        Err(Close::Refused(refused)) => connack(code(*refused), false)?,
        Err(Close::Version(VERSION_5)) => BytesMut::from(CONNACK_5_UNSUPPORTED.as_slice()),
        Err(Close::Version(_)) => connack(ConnectReturnCode::RefusedProtocolVersion, false)?,
        Err(_) => return welcome,
    };
    stream.write_all(&answer).await?;
    stream.flush().await?;
    welcome
}

async fn read_connect<S: AsyncRead + Unpin>(
    stream: &mut S,
    received: &mut BytesMut,
) -> Result<Connect, Close> {
    while !matches!(wire::front(received, CONNECT_BYTES)?, Front::Whole(_)) {
        if stream.read_buf(received).await? == 0 {
            return Err(Close::ByClient);
        }
    }
    match wire::connect_version(received) {
        Some(VERSION_3_1_1) => {}
        Some(version) => return Err(Close::Version(version)),
        None => return Err(Close::Unexpected("the first packet must be CONNECT")),
    }
    match wire::take(received, CONNECT_BYTES)? {
        Packet::Connect(connect) => Ok(connect),
        _ => Err(Close::Malformed(Error::InvalidProtocol)),
    }
}

async fn admit(connect: Connect, authenticate: &dyn Authenticate, number: u64) -> Result<Welcome, Close> {
    if connect.client_id.is_empty() && !connect.clean_session {
        return Err(Refused::ClientId.into());
    }
    let client_id = match connect.client_id {
        id if id.is_empty() => format!("nameless-{number}"),
        id => id,
    };
    let login = connect.login.as_ref();
    let username = login.map(|login| login.username.as_str()).filter(|text| !text.is_empty());
    let password = login.map(|login| login.password.as_bytes()).filter(|bytes| !bytes.is_empty());
    let session = authenticate.connect(&client_id, username, password).await?;
    Ok(Welcome { session, keep_alive: connect.keep_alive, resumes: !connect.clean_session })
}

fn connack(code: ConnectReturnCode, session_present: bool) -> Result<BytesMut, Close> {
    let mut out = BytesMut::new();
    wire::put(&Packet::ConnAck(ConnAck { session_present, code }), &mut out)?;
    Ok(out)
}

const fn code(refused: Refused) -> ConnectReturnCode {
    match refused {
        Refused::ClientId => ConnectReturnCode::BadClientId,
        Refused::Unavailable => ConnectReturnCode::ServiceUnavailable,
        Refused::Credentials => ConnectReturnCode::BadUserNamePassword,
        Refused::NotAllowed => ConnectReturnCode::NotAuthorized,
    }
}
