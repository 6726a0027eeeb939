//! Why a connection ends.

use std::io;

use rumqttc::mqttbytes;

use super::handler::Refused;
use super::metrics::Recorder;

/// Why a connection ends. The client learns nothing of it but that it is closed: MQTT 3.1.1 has no words for it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Close {
    #[error("the client closed the connection")]
    ByClient,
    #[error("the listener is stopping")]
    Stopping,
    #[error("nothing was received for 1.5 times the keep-alive")]
    Idle,
    #[error("a packet or the CONNECT was not finished in time")]
    TooSlow,
    #[error("the client does not read its acknowledgements")]
    DoesNotRead,
    #[error("refused: {0}")]
    Refused(#[from] Refused),
    #[error("protocol version {0} is not spoken here, use MQTT 3.1.1")]
    Version(u8),
    #[error("malformed packet: {0}")]
    Malformed(mqttbytes::Error),
    #[error("a packet of {bytes} bytes came, {limit} are allowed")]
    TooLarge { bytes: usize, limit: usize },
    #[error("this packet is not allowed here: {0}")]
    Unexpected(&'static str),
    #[error("a publish cannot be stored now: {0}")]
    Unavailable(String),
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Close {
    /// Counts the reasons that have a counter of their own.
    pub(super) fn count(&self, record: Recorder<'_>) {
        match self {
            Self::Refused(_) | Self::Version(_) => record.refused(1),
            Self::Malformed(_) | Self::TooLarge { .. } | Self::Unexpected(_) => record.malformed(1),
            Self::Idle | Self::TooSlow | Self::DoesNotRead => record.idle(1),
            Self::ByClient | Self::Stopping | Self::Unavailable(_) | Self::Io(_) => {}
        }
    }
}
