//! Packets from and to bytes, by `rumqttc`'s codec, and what that codec does not check.

use bytes::BytesMut;
use rumqttc::mqttbytes::v4::Packet;
use rumqttc::mqttbytes::{Error, check};

use super::close::Close;

/// What stands at the front of the received bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Front {
    /// Not even the length of the next packet.
    Nothing,
    /// The beginning of a packet that will have this many bytes.
    Part(usize),
    /// A whole packet of this many bytes.
    Whole(usize),
}

/// The type of a CONNECT packet, the upper half of its first byte.
const CONNECT: u8 = 1;
/// The type of a PUBLISH packet.
const PUBLISH: u8 = 3;

/// Looks at the front of the received bytes.
///
/// # Errors
/// When the packet is longer than `limit`, or its length makes no sense.
pub(super) fn front(received: &BytesMut, limit: usize) -> Result<Front, Close> {
    match check(received.iter(), limit) {
        Ok(header) => Ok(Front::Whole(header.frame_length())),
        Err(Error::InsufficientBytes(missing)) => Ok(match announced(received) {
            true => Front::Part(received.len() + missing),
            false => Front::Nothing,
        }),
        Err(Error::PayloadSizeLimitExceeded(bytes)) => Err(Close::TooLarge { bytes, limit }),
        Err(error) => Err(Close::Malformed(error)),
    }
}

/// Whether a PUBLISH stands at the front, as far as its first byte says.
pub(super) fn is_publish(received: &[u8]) -> bool {
    received.first().is_some_and(|first| first >> 4 == PUBLISH)
}

/// Whether the length of the packet is there: its bytes end with one below 128.
fn announced(received: &[u8]) -> bool {
    received.iter().skip(1).take(4).any(|byte| byte & 0x80 == 0)
}

/// Takes the whole packet off the front.
///
/// # Errors
/// When it is not a packet of MQTT 3.1.1.
pub(super) fn take(received: &mut BytesMut, limit: usize) -> Result<Packet, Close> {
    check_fixed_flags(received.first().copied().unwrap_or_default())?;
    Packet::read(received, limit).map_err(Close::Malformed)
}

/// Checks the lower half of the first byte, which is reserved for all packets but PUBLISH.
fn check_fixed_flags(first: u8) -> Result<(), Close> {
    let expected = match first >> 4 {
        PUBLISH => return Ok(()),
        6 | 8 | 10 => 0b0010,
        _ => 0,
    };
    if first & 0x0f == expected { Ok(()) } else { Err(Close::Malformed(Error::IncorrectPacketFormat)) }
}

/// The protocol version of the CONNECT at the front, before the codec is tried on it: the codec takes MQTT 5 for
/// 3.1.1 and stumbles.
pub(super) fn connect_version(received: &[u8]) -> Option<u8> {
    let (first, rest) = received.split_first()?;
    if first >> 4 != CONNECT {
        return None;
    }
    let length_bytes = rest.iter().position(|byte| byte & 0x80 == 0)? + 1;
    let body = rest.get(length_bytes..)?;
    let name_length = usize::from(u16::from_be_bytes([*body.first()?, *body.get(1)?]));
    body.get(2 + name_length).copied()
}

/// Appends a packet to what is to be sent.
///
/// # Errors
/// Only when the packet cannot be written at all, which none of ours is.
pub(super) fn put(packet: &Packet, out: &mut BytesMut) -> Result<(), Close> {
    packet.write(out, usize::MAX).map(drop).map_err(Close::Malformed)
}

/// Whether this may be the topic of a PUBLISH: not empty, without wildcards and NUL.
pub(super) fn is_publishable(topic: &str) -> bool {
    !topic.is_empty() && !topic.contains(['+', '#', '\0'])
}
