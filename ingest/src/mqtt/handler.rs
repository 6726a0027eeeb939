//! What is handed to a listener: who may connect, and what happens to a publish.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

/// Who is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The id that the client gave itself, or a made-up one if it gave none. Proves nothing.
    pub client_id: Arc<str>,
    /// Whom the credentials prove it to be; `None` where no credentials are needed.
    pub principal: Option<Arc<str>>,
}

/// Why a connection is refused. Each has its own code in CONNACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    /// The client id is not acceptable (code 2).
    #[error("the client id is not acceptable")]
    ClientId,
    /// The server cannot take connections now (code 3).
    #[error("the server cannot take connections now")]
    Unavailable,
    /// User name or password are wrong or missing (code 4).
    #[error("user name or password are wrong or missing")]
    Credentials,
    /// The credentials are right and do not allow to connect (code 5).
    #[error("the credentials do not allow to connect")]
    NotAllowed,
}

/// Decides who may connect.
#[async_trait]
pub trait Authenticate: Send + Sync {
    /// Checks the credentials of a CONNECT. An absent user name or password and an empty one are the same.
    ///
    /// # Errors
    /// Why the connection is refused.
    async fn connect(
        &self,
        client_id: &str,
        username: Option<&str>,
        password: Option<&[u8]>,
    ) -> Result<Session, Refused>;
}

/// Why a publish was not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// It can never be stored: the topic means nothing here or is not allowed, or the payload is wrong. It is
    /// acknowledged all the same, because MQTT 3.1.1 has no way to say no, and the client would send it for ever.
    #[error("{0}")]
    Rejected(String),
    /// It cannot be stored now. It is not acknowledged and the connection is closed, so that the client sends it
    /// again later.
    #[error("{0}")]
    Unavailable(String),
}

/// Takes what devices publish.
#[async_trait]
pub trait Publish: Send + Sync {
    /// Stores a publish; resolves with `Ok` when its rows are committed.
    ///
    /// The futures of one connection are polled for the first time in the order of their PUBLISHes and then run
    /// together, so rows that are handed on in the first poll keep that order. To slow a client down, take long:
    /// the connection is not read while too much is in flight. A future is dropped unfinished only when its
    /// connection fails with [`PublishError::Unavailable`] or a shutdown takes too long.
    ///
    /// # Errors
    /// Why it was not stored.
    async fn publish(
        &self,
        session: &Session,
        topic: &str,
        payload: Bytes,
        retain: bool,
        dup: bool,
    ) -> Result<(), PublishError>;

    /// Keeps a publish that was rejected, for later inspection. It is acknowledged after this resolves.
    ///
    /// # Errors
    /// [`PublishError::Unavailable`] if it must be sent again; otherwise it is given up.
    async fn rejected(
        &self,
        _session: &Session,
        _topic: &str,
        _payload: Bytes,
        _reason: &str,
    ) -> Result<(), PublishError> {
        Ok(())
    }
}
