//! `definitions.log`: what the ids of trimmed segments mean (KEY-3).
//!
//! A list of records, each `u32` length, `u32` CRC-32C of the payload, and the payload: a definitions section
//! as in a frame. Before segments are trimmed, the definitions that they hold are appended here and synced; so
//! a torn record at the end holds only definitions that are still in the log, and is cut.

use std::path::Path;

use crate::catalog::Definition;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::log::{decode_group, encode_definitions};

const HEADER_BYTES: usize = 8;

/// Appends definitions, durably.
pub(super) fn append(disk: &dyn Disk, path: &Path, definitions: &[Definition]) -> Result<()> {
    if definitions.is_empty() {
        return Ok(());
    }
    let payload = encode_definitions(definitions)?;
    let length = u32::try_from(payload.len())
        .map_err(|_| Error::LimitExceeded("definitions since the last trim exceed 4 GiB".into()))?;
    let mut record = Vec::with_capacity(HEADER_BYTES + payload.len());
    record.extend_from_slice(&length.to_le_bytes());
    record.extend_from_slice(&crc32c::crc32c(&payload).to_le_bytes());
    record.extend_from_slice(&payload);
    let file = disk.open(path, true)?;
    let end = file.length()?;
    if let Err(error) = file.write_at(end, &record).and_then(|()| file.sync()) {
        // What is on the medium is unknown: the next record takes its place, not the one behind it.
        if let Err(error) = file.set_length(end) {
            tracing::warn!(%error, path = %path.display(), "a record that was not synced could not be cut");
        }
        return Err(error);
    }
    disk.sync_folder(path.parent().unwrap_or(path))
}

/// Reads all definitions and cuts a torn record at the end.
pub(super) fn load(disk: &dyn Disk, path: &Path) -> Result<Vec<Definition>> {
    let file = disk.open(path, true)?;
    let length =
        usize::try_from(file.length()?).map_err(|_| Error::Damaged("definitions.log is too large".into()))?;
    let mut bytes = vec![0; length];
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    let mut definitions = Vec::new();
    let mut rest = bytes.as_slice();
    let mut last = None;
    while let Some((payload, next)) = record(rest) {
        definitions.extend(decode_group(payload)?.0);
        last = rest.get(..rest.len() - next.len());
        rest = next;
    }
    if let Some(last) = last {
        // Its sync may have failed: what is read may not be on the medium. Those before it were synced first.
        file.write_at((bytes.len() - rest.len() - last.len()) as u64, last)?;
        file.sync()?;
    }
    if !rest.is_empty() {
        refuse_damage(path, rest)?;
        file.set_length((bytes.len() - rest.len()) as u64)?;
        file.sync()?;
    }
    Ok(definitions)
}

/// The first record's payload and what follows it; `None` when it is torn.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let length = u32::from_le_bytes(*head.first_chunk()?) as usize;
    let checksum = u32::from_le_bytes(*head.last_chunk()?);
    let (payload, rest) = rest.split_at_checked(length)?;
    (crc32c::crc32c(payload) == checksum).then_some((payload, rest))
}

/// A record that is bad though a good one follows it was durable: that is damage, not a torn end.
fn refuse_damage(path: &Path, rest: &[u8]) -> Result<()> {
    let length = rest.first_chunk().map(|b| u32::from_le_bytes(*b) as usize);
    let follows = length.and_then(|length| rest.get(HEADER_BYTES.checked_add(length)?..)).and_then(record);
    if follows.is_some_and(|(payload, _)| !payload.is_empty()) {
        return Err(Error::Damaged(format!(
            "{} is damaged in the middle: restore it from a backup",
            path.display()
        )));
    }
    Ok(())
}
