//! Reading a stream from a position.
//!
//! Invariant: a reader gives the records that were durable when it was made, each once, in order; it holds one
//! segment in memory. Of a stream that tolerates damage it gives an error in the place of damaged records, and then goes on.

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

/// An iterator over records. After an error it ends, unless the stream [tolerates](super::Stream::open_tolerant) it.
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    segments: VecDeque<Segment>,
    position: RecordNumber,
    tolerant: bool,
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
        Self { folder, segments, position, tolerant: false, current: None }
    }

    pub(super) fn tolerant(self) -> Self {
        Self { tolerant: true, ..self }
    }

    fn advance(&mut self) -> Result<Option<Record>> {
        loop {
            let Some(loaded) = self.current.as_mut().filter(|l| l.next < l.segment.next()) else {
                let Some(segment) = self.segments.pop_front() else { return Ok(None) };
                let bytes = match self.tolerant {
                    true => segment.read_tolerantly(&self.folder)?,
                    false => segment.read(&self.folder)?,
                };
                self.current = Some(Loaded { segment, bytes, at: 0, next: segment.first });
                continue;
            };
            let first = loaded.segment.first;
            let rest = loaded.bytes.get(loaded.at..).unwrap_or_default();
            let Some(frame) = frame::decode(first, rest).filter(|f| f.number == loaded.next) else {
                let path = segment::path(&self.folder, first);
                let what = format!("stream segment {}: record {} is damaged", path.display(), loaded.next);
                loaded.skip_damage();
                return Err(Error::Damaged(what));
            };
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

impl Loaded {
    /// Goes to the next whole frame, or to the end of the segment.
    fn skip_damage(&mut self) {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        match frame::later_frame(self.segment.first, self.next.saturating_sub(1), rest) {
            Some((at, number)) => (self.at, self.next) = (self.at + at, number),
            None => self.next = self.segment.next(),
        }
    }
}

impl Iterator for Reader {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        let goes_on = |error: &Error| self.tolerant && matches!(error, Error::Damaged(_));
        if next.as_ref().is_err_and(|error| !goes_on(error)) {
            self.segments.clear();
            self.current = None;
        }
        next.transpose()
    }
}
