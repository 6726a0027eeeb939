//! One frame of a stream: see the header of [`super`] for its bytes.
//!
//! Invariant: a frame that decodes has the number that was asked for, and all its bytes are as written.

use super::MAX_RECORD_BYTES;
use crate::error::{Error, Result};
use crate::model::Timestamp;

/// Bytes before the payload.
pub(super) const HEADER_BYTES: usize = 24;

/// A frame, borrowed from its segment's bytes.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub(super) number: u64,
    pub(super) appended_at: Timestamp,
    pub(super) payload: &'a [u8],
}

impl Frame<'_> {
    /// Bytes of the whole frame.
    pub(super) fn bytes(&self) -> usize {
        HEADER_BYTES + self.payload.len()
    }
}

/// The bytes of a frame. `segment` is the number of its segment's first record.
pub(super) fn encode(segment: u64, number: u64, now: Timestamp, payload: &[u8]) -> Result<Vec<u8>> {
    let length = u32::try_from(payload.len())
        .map_err(|_| Error::LimitExceeded("a stream record is longer than 4 GiB".into()))?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&now.nanos().to_le_bytes());
    bytes.extend_from_slice(payload);
    let crc = checksum(segment, length, bytes.get(8..).unwrap_or_default());
    if let Some(place) = bytes.get_mut(4..8) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
    Ok(bytes)
}

/// The frame at the start of `bytes`, if it is whole; its number is not judged.
pub(super) fn decode(segment: u64, bytes: &[u8]) -> Option<Frame<'_>> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length);
    if length as usize > MAX_RECORD_BYTES {
        return None;
    }
    let checked = rest.get(..HEADER_BYTES - 8 + length as usize)?;
    if checksum(segment, length, checked) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (number, rest) = checked.split_first_chunk::<8>()?;
    let (time, payload) = rest.split_first_chunk::<8>()?;
    Some(Frame {
        number: u64::from_le_bytes(*number),
        appended_at: Timestamp::from_nanos(i64::from_le_bytes(*time)),
        payload,
    })
}

/// The first valid frame with a number above `last` that begins in `bytes` after the first byte: where, and its number.
pub(super) fn later_frame(segment: u64, last: u64, bytes: &[u8]) -> Option<(usize, u64)> {
    // The number is looked at first: almost no offset has a plausible one, so few checksums are computed.
    let plausible = last..=last.saturating_add((bytes.len() / HEADER_BYTES) as u64 + 1);
    (1..bytes.len().saturating_sub(HEADER_BYTES - 1)).find_map(|at| {
        let number = u64::from_le_bytes(*bytes.get(at + 8..)?.first_chunk()?);
        if number <= last || !plausible.contains(&number) {
            return None;
        }
        decode(segment, bytes.get(at..)?).map(|frame| (at, frame.number))
    })
}

fn checksum(segment: u64, length: u32, rest: &[u8]) -> u32 {
    let seed = crc32c::crc32c(&segment.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(seed, &length.to_le_bytes()), rest)
}
