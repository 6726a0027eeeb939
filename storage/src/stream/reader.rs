//! Reading a stream from a position.
//!
//! Invariant: a reader gives the records that were durable when it was made, each once, in order; it holds one
//! segment in memory.

use std::collections::VecDeque;
use std::path::PathBuf;

use super::segment::{self, Segment};
use super::{RecordNumber, frame};
use crate::error::{Error, Result};
use crate::model::Timestamp;

/// One record of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub number: RecordNumber,
    /// Wall-clock time of its append.
    pub appended_at: Timestamp,
    /// Its owner's bytes.
    pub payload: Vec<u8>,
}

/// An iterator over records. After an error it ends.
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    segments: VecDeque<Segment>,
    position: RecordNumber,
    current: Option<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    segment: Segment,
    bytes: Vec<u8>,
    at: usize,
    next: u64,
}

impl Reader {
    pub(super) fn new(folder: PathBuf, segments: VecDeque<Segment>, position: RecordNumber) -> Self {
        Self { folder, segments, position, current: None }
    }

    fn advance(&mut self) -> Result<Option<Record>> {
        loop {
            let Some(loaded) = self.current.as_mut().filter(|l| l.next < l.segment.next()) else {
                let Some(segment) = self.segments.pop_front() else { return Ok(None) };
                let bytes = segment.read(&self.folder)?;
                self.current = Some(Loaded { segment, bytes, at: 0, next: segment.first });
                continue;
            };
            let first = loaded.segment.first;
            let rest = loaded.bytes.get(loaded.at..).unwrap_or_default();
            let frame = frame::decode(first, rest).filter(|f| f.number == loaded.next).ok_or_else(|| {
                let path = segment::path(&self.folder, first);
                Error::Damaged(format!(
                    "stream segment {}: record {} is damaged",
                    path.display(),
                    loaded.next
                ))
            })?;
            let number = RecordNumber(frame.number);
            let wanted = number > self.position;
            let (appended_at, length) = (frame.appended_at, frame.bytes());
            let payload = if wanted { frame.payload.to_vec() } else { Vec::new() };
            loaded.at += length;
            loaded.next += 1;
            if wanted {
                return Ok(Some(Record { number, appended_at, payload }));
            }
        }
    }
}

impl Iterator for Reader {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if next.is_err() {
            self.segments.clear();
            self.current = None;
        }
        next.transpose()
    }
}
