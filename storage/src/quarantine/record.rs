//! One record of the quarantine's stream: a change of what is kept.
//!
//! # Bytes
//!
//! All numbers are little-endian; a text is its length (4 bytes) and its bytes.
//!
//! | record | bytes |
//! |---|---|
//! | version, 1 | 1 |
//! | the id that the next line gets | 8 |
//! | how many lines go, and their ids | 4, 8 each |
//! | how many lines are kept, and the lines | 4, each as below |
//!
//! | line | bytes |
//! |---|---|
//! | id; when it came | 8; 8 |
//! | bits: 1 it has a table, 2 it has a time | 1 |
//! | time, if it has one | 8 |
//! | database, table (if it has one), reason, detail, protocol, precision, form, content | texts |
//! | how many tags; name and value of each | 4, texts |
//!
//! Invariant: what [`Change::encode`] made, [`Change::decode`] gives back exactly, and it refuses all other bytes.

use bytes::{Buf, Bytes};

use super::line::{KeptLine, LineId};
use crate::error::{Error, Result};
use crate::model::Timestamp;

const VERSION: u8 = 1;
const HAS_TABLE: u8 = 1;
const HAS_TIME: u8 = 2;

/// Bytes of the smallest line, and of the smallest tag: a count above what fits is refused before room is made for it.
pub(super) const LEAST_LINE_BYTES: usize = 17;
const LEAST_TAG_BYTES: usize = 8;

/// A change of what is kept. Lines with an id that is there already take its place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Change {
    pub(super) next_id: u64,
    pub(super) gone: Vec<LineId>,
    pub(super) kept: Vec<(LineId, KeptLine)>,
}

impl Change {
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let lines: u64 = self.kept.iter().map(|(_, line)| line.charge()).sum();
        let mut bytes = Vec::with_capacity(usize::try_from(lines).unwrap_or_default() + self.gone.len() * 8);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.next_id.to_le_bytes());
        put_count(&mut bytes, self.gone.len())?;
        for id in &self.gone {
            bytes.extend_from_slice(&id.get().to_le_bytes());
        }
        put_count(&mut bytes, self.kept.len())?;
        for (id, line) in &self.kept {
            put_line(&mut bytes, *id, line)?;
        }
        Ok(bytes)
    }

    pub(super) fn decode(payload: Vec<u8>) -> Result<Self> {
        let mut rest = Bytes::from(payload);
        let decoded = read(&mut rest).filter(|_| rest.is_empty());
        decoded.ok_or_else(|| Error::Damaged("a record of the quarantine is not what was written".into()))
    }
}

fn put_line(bytes: &mut Vec<u8>, id: LineId, line: &KeptLine) -> Result<()> {
    bytes.extend_from_slice(&id.get().to_le_bytes());
    bytes.extend_from_slice(&line.received_at.nanos().to_le_bytes());
    let table = if line.table.is_some() { HAS_TABLE } else { 0 };
    bytes.push(table | if line.time.is_some() { HAS_TIME } else { 0 });
    if let Some(time) = line.time {
        bytes.extend_from_slice(&time.nanos().to_le_bytes());
    }
    put(bytes, line.database.as_bytes())?;
    if let Some(table) = &line.table {
        put(bytes, table.as_bytes())?;
    }
    for text in [&line.reason, &line.detail, &line.protocol, &line.precision, &line.form] {
        put(bytes, text.as_bytes())?;
    }
    put(bytes, &line.content)?;
    put_count(bytes, line.tags.len())?;
    for (name, value) in &line.tags {
        put(bytes, name.as_bytes())?;
        put(bytes, value.as_bytes())?;
    }
    Ok(())
}

fn put(bytes: &mut Vec<u8>, text: &[u8]) -> Result<()> {
    put_count(bytes, text.len())?;
    bytes.extend_from_slice(text);
    Ok(())
}

fn put_count(bytes: &mut Vec<u8>, count: usize) -> Result<()> {
    let count = u32::try_from(count)
        .map_err(|_| Error::LimitExceeded("the quarantine keeps no text of 4 GiB".into()))?;
    bytes.extend_from_slice(&count.to_le_bytes());
    Ok(())
}

fn read(rest: &mut Bytes) -> Option<Change> {
    if rest.try_get_u8().ok()? != VERSION {
        return None;
    }
    let next_id = rest.try_get_u64_le().ok()?;
    let gone = count(rest, size_of::<u64>())?;
    let gone = (0..gone).map(|_| rest.try_get_u64_le().ok().map(LineId::new)).collect::<Option<_>>()?;
    let kept = count(rest, LEAST_LINE_BYTES)?;
    let kept = (0..kept).map(|_| line(rest)).collect::<Option<_>>()?;
    Some(Change { next_id, gone, kept })
}

fn line(rest: &mut Bytes) -> Option<(LineId, KeptLine)> {
    let id = LineId::new(rest.try_get_u64_le().ok()?);
    let received_at = Timestamp::from_nanos(rest.try_get_i64_le().ok()?);
    let bits = rest.try_get_u8().ok().filter(|bits| bits & !(HAS_TABLE | HAS_TIME) == 0)?;
    let time = match bits & HAS_TIME {
        0 => None,
        _ => Some(Timestamp::from_nanos(rest.try_get_i64_le().ok()?)),
    };
    let database = text(rest)?;
    let table = match bits & HAS_TABLE {
        0 => None,
        _ => Some(text(rest)?),
    };
    let [reason, detail, protocol, precision, form] =
        [text(rest)?, text(rest)?, text(rest)?, text(rest)?, text(rest)?];
    let content = blob(rest)?;
    let tags = count(rest, LEAST_TAG_BYTES)?;
    let tags = (0..tags).map(|_| Some((text(rest)?, text(rest)?))).collect::<Option<_>>()?;
    let line = KeptLine {
        received_at,
        database,
        table,
        tags,
        time,
        reason,
        detail,
        protocol,
        precision,
        form,
        content,
    };
    Some((id, line))
}

/// A count of things that have at least `least` bytes each, and can be there.
fn count(rest: &mut Bytes, least: usize) -> Option<usize> {
    let count = usize::try_from(rest.try_get_u32_le().ok()?).ok()?;
    (count <= rest.len() / least).then_some(count)
}

fn text(rest: &mut Bytes) -> Option<Box<str>> {
    std::str::from_utf8(&blob(rest)?).ok().map(Box::from)
}

fn blob(rest: &mut Bytes) -> Option<Bytes> {
    let length = count(rest, 1)?;
    Some(rest.split_to(length))
}
