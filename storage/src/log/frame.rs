//! Frames: header, payload, and the seeded checksum over both.

use crate::log::epoch::Epoch;
use crate::model::{FrameNumber, Sequence};

/// Marks the start of a frame; found again by scanning after damage.
const MAGIC: [u8; 4] = *b"BBFR";

/// Bytes of a frame's header.
pub(super) const HEADER_BYTES: usize = 40;

/// Frames begin at multiples of this, so that a scan after damage need not look at every byte.
pub(super) const ALIGNMENT: usize = 8;

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// The frame's number.
    pub number: FrameNumber,
    /// The last frame that was durable when this one was written (LOG-2).
    pub durable: FrameNumber,
    /// The sequence of the frame's last batch; for a frame without batches the last sequence given.
    pub sequence: Sequence,
    /// Bytes of the payload.
    pub payload_bytes: u32,
}

/// A frame that was read from the log and whose checksum is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its header.
    pub header: FrameHeader,
    /// Its payload: see [`super::decode_group`].
    pub payload: Vec<u8>,
}

/// The start value of the checksums of one segment (LOG-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seed(u32);

impl Seed {
    pub(super) fn new(epoch: &Epoch, segment: u64) -> Self {
        Self(crc32c::crc32c_append(crc32c::crc32c(epoch.as_bytes()), &segment.to_le_bytes()))
    }

    pub(super) fn checksum(self, parts: &[&[u8]]) -> u32 {
        parts.iter().fold(self.0, |crc, part| crc32c::crc32c_append(crc, part))
    }
}

/// Bytes of a frame with this payload, with the padding to the next frame.
pub(super) fn frame_bytes(payload: usize) -> usize {
    (HEADER_BYTES + payload).next_multiple_of(ALIGNMENT)
}

/// Completes a frame in `buffer`, which holds [`HEADER_BYTES`] free bytes and then the payload.
pub(super) fn seal(buffer: &mut Vec<u8>, header: FrameHeader, seed: Seed) {
    let mut head = [0; HEADER_BYTES];
    let fields: [&[u8]; 5] = [
        &MAGIC,
        &header.payload_bytes.to_le_bytes(),
        &header.number.get().to_le_bytes(),
        &header.durable.get().to_le_bytes(),
        &header.sequence.get().to_le_bytes(),
    ];
    let mut free = head.as_mut_slice();
    for field in fields {
        let (here, rest) = std::mem::take(&mut free).split_at_mut(field.len());
        here.copy_from_slice(field);
        free = rest;
    }
    let payload = buffer.get(HEADER_BYTES..).unwrap_or_default();
    let covered = head.get(..CHECKSUM_AT).unwrap_or_default();
    let checksum = seed.checksum(&[covered, payload]);
    if let Some(place) = head.get_mut(CHECKSUM_AT..CHECKSUM_AT + 4) {
        place.copy_from_slice(&checksum.to_le_bytes());
    }
    if let Some(place) = buffer.get_mut(..HEADER_BYTES) {
        place.copy_from_slice(&head);
    }
    buffer.resize(frame_bytes(header.payload_bytes as usize), 0);
}

/// Where the checksum stands; it covers the bytes before it and the payload.
const CHECKSUM_AT: usize = 32;

/// Reads the frame at the start of `bytes`; `None` when there is none with a right checksum.
pub(super) fn parse(bytes: &[u8], seed: Seed) -> Option<(FrameHeader, &[u8])> {
    let (head, rest) = bytes.split_at_checked(HEADER_BYTES)?;
    if !starts_frame(head) {
        return None;
    }
    let number = |at: usize| Some(u64::from_le_bytes(*head.get(at..)?.first_chunk()?));
    let payload_bytes = u32::from_le_bytes(*head.get(4..)?.first_chunk()?);
    let payload = rest.get(..payload_bytes as usize)?;
    let checksum = u32::from_le_bytes(*head.get(CHECKSUM_AT..)?.first_chunk()?);
    if seed.checksum(&[head.get(..CHECKSUM_AT)?, payload]) != checksum {
        return None;
    }
    let header = FrameHeader {
        number: FrameNumber::new(number(8)?),
        durable: FrameNumber::new(number(16)?),
        sequence: Sequence::new(number(24)?),
        payload_bytes,
    };
    Some((header, payload))
}

/// Whether these bytes could be the start of a frame.
pub(super) fn starts_frame(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}
