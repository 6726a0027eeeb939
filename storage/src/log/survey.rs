//! Looks at every byte of the log and says exactly what is lost.
//!
//! Segments are walked in order. Where the next frame does not parse, the rest of the segment is searched for a
//! later one: what lies between is a [`Loss`]. Where none follows, the next segment's first frame says what the
//! end of this one has lost; in the last segment it is a torn tail, unless a later frame proves that the missing
//! one was durable (LOG-2).
//!
//! Invariant: every frame number between the first and the last is either visited or in exactly one loss.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::codec::decode_group;
use super::epoch::Epoch;
use super::frame::{self, FrameHeader};
use super::reader::{Loaded, LogReader};
use super::segment;
use crate::disk::Disk;
use crate::error::Result;
use crate::model::{FrameNumber, Sequence};

/// Frames of the log that cannot be read any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// The segment in which they stood, or the one before it when a whole segment is missing.
    pub segment: u64,
    /// The damaged bytes of that segment's file: from here
    pub from_byte: u64,
    /// to here, exclusive.
    pub to_byte: u64,
    /// The first lost frame.
    pub first_frame: u64,
    /// The last lost frame; below [`first_frame`](Self::first_frame) when bytes are damaged and no frame is lost.
    pub last_frame: u64,
    /// Lost are only sequences above this one
    pub after_sequence: u64,
    /// and below this one; `None` when no later frame has any.
    pub before_sequence: Option<u64>,
    /// What happened, for people.
    pub cause: String,
}

impl Loss {
    /// Number of lost frames.
    #[must_use]
    pub fn frames(&self) -> u64 {
        (self.last_frame + 1).saturating_sub(self.first_frame)
    }

    /// Number of damaged bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.to_byte.saturating_sub(self.from_byte)
    }
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { from_byte, to_byte, first_frame, last_frame, after_sequence, cause, .. } = self;
        let file = segment::file_name(self.segment);
        write!(f, "log/{file} bytes {from_byte} to {to_byte}: {cause}; ")?;
        if self.frames() == 0 {
            let header = *to_byte <= segment::HEADER_BYTES;
            return write!(
                f,
                "{}",
                if header { "no frame is lost" } else { "how many frames stood there is unknown" }
            );
        }
        write!(f, "frames {first_frame} to {last_frame} are lost, sequences above {after_sequence}")?;
        self.before_sequence.map_or(Ok(()), |before| write!(f, " and below {before}"))
    }
}

/// The state of a log.
#[derive(Debug, Default)]
pub struct Survey {
    /// What is lost, in order.
    pub losses: Vec<Loss>,
    /// Valid frames.
    pub frames: u64,
    /// Bytes of all segments.
    pub bytes: u64,
    /// Bytes of a frame that was being written when the machine stopped.
    pub torn_bytes: u64,
    /// The segments, in order.
    pub(super) segments: Vec<SurveyedSegment>,
}

/// A segment as it should be.
#[derive(Debug)]
pub(super) struct SurveyedSegment {
    pub(super) number: u64,
    /// Its first frame, and the first frame of the next segment, as far as they are known.
    pub(super) first_frame: FrameNumber,
    pub(super) next_frame: FrameNumber,
    /// Where its last valid frame ends, and the length of the file.
    pub(super) end: u64,
    pub(super) length: u64,
    /// Its header or some of its frames must be written anew.
    pub(super) is_damaged: bool,
}

/// Surveys the log in `folder`, read only, and visits the valid frames.
///
/// # Errors
/// [`Error::Damaged`](crate::Error::Damaged) for a segment of another log; the visitor's or the disk's error.
pub(super) fn survey(
    disk: &dyn Disk,
    folder: &Path,
    epoch: Epoch,
    visit: &mut super::Visit<'_>,
) -> Result<Survey> {
    let reader = LogReader::new(disk, folder, epoch);
    let numbers = reader.segment_numbers()?;
    let mut walk = Walk { visit, expected: None, sequence: Sequence::ZERO, survey: Survey::default() };
    for (position, &number) in numbers.iter().enumerate() {
        let (header, loaded) = reader.load_any(number)?;
        walk.survey.bytes += loaded.bytes.len() as u64;
        let is_last = position + 1 == numbers.len();
        let first = match header {
            Some(header) => header.first_frame,
            None => match walk.first_without_header(number, &loaded, is_last) {
                Some(first) => first,
                None => continue,
            },
        };
        walk.join(number, first);
        let first = walk.expected.unwrap_or(first);
        walk.segment(number, first, &loaded, is_last)?;
        if header.is_none() {
            walk.header_lost(number);
        }
    }
    Ok(walk.survey)
}

/// The state of a survey on its way.
struct Walk<'a, 'b> {
    visit: &'a mut super::Visit<'b>,
    /// The number of the next frame.
    expected: Option<FrameNumber>,
    sequence: Sequence,
    survey: Survey,
}

impl Walk<'_, '_> {
    /// The first frame of a segment whose header is lost. `None` for the segment that was being made when the
    /// machine stopped, and for one that holds nothing readable: the next segment tells what it has lost.
    fn first_without_header(&mut self, number: u64, loaded: &Loaded, is_last: bool) -> Option<FrameNumber> {
        let found = next_frame(loaded, 0, FrameNumber::default());
        match found {
            Some((_, frame)) => Some(self.expected.unwrap_or(frame.number)),
            None if is_last => None,
            None => {
                let first_frame = self.expected.unwrap_or_default();
                self.survey.segments.push(SurveyedSegment {
                    number,
                    first_frame,
                    next_frame: first_frame,
                    end: 0,
                    length: loaded.bytes.len() as u64,
                    is_damaged: true,
                });
                None
            }
        }
    }

    /// Frames between the last one read and the first one of the next segment are lost.
    fn join(&mut self, number: u64, first: FrameNumber) {
        let Some(expected) = self.expected.filter(|expected| first > *expected) else {
            self.expected = Some(self.expected.map_or(first, |expected| expected.max(first)));
            return;
        };
        self.expected = Some(first);
        let Some(last) = self.survey.segments.last_mut() else { return };
        last.is_damaged = true;
        last.next_frame = first;
        let (segment, bytes) = (last.number, last.end..last.length);
        let cause = if segment + 1 == number {
            "no frame is readable from here to the end of the segment".to_owned()
        } else {
            format!("the segments {} to {} are missing after it", segment + 1, number - 1)
        };
        self.lose(segment, bytes, expected, first, &cause);
    }

    fn segment(&mut self, number: u64, first: FrameNumber, loaded: &Loaded, is_last: bool) -> Result<()> {
        let begin = self.survey.losses.len();
        let mut next = self.expected.unwrap_or(first);
        let mut offset = usize::try_from(segment::HEADER_BYTES).unwrap_or(usize::MAX);
        loop {
            let parsed = loaded.bytes.get(offset..).and_then(|rest| frame::parse(rest, loaded.seed));
            if let Some((header, payload)) = parsed.filter(|(header, _)| header.number == next) {
                self.close_losses(&header, payload);
                (self.visit)(&header, payload)?;
                self.survey.frames += 1;
                self.sequence = self.sequence.max(header.sequence);
                offset += frame::frame_bytes(payload.len());
                next = FrameNumber::new(next.get() + 1);
                continue;
            }
            let Some((at, later)) = next_frame(loaded, offset, next) else { break };
            if is_last && !proves_durable(loaded, offset, next) {
                break;
            }
            let bytes = offset as u64..at as u64;
            self.lose(number, bytes, next, later.number, "the frames do not match their checksums");
            (offset, next) = (at, later.number);
        }
        let rest = loaded.bytes.get(offset..).unwrap_or_default();
        if is_last && frame::starts_frame(rest) {
            self.survey.torn_bytes = rest.len() as u64;
        }
        self.expected = Some(next);
        let is_damaged = self.survey.losses.len() > begin;
        self.survey.segments.push(SurveyedSegment {
            number,
            first_frame: first,
            next_frame: next,
            end: offset as u64,
            length: loaded.bytes.len() as u64,
            is_damaged,
        });
        Ok(())
    }

    fn header_lost(&mut self, number: u64) {
        if let Some(segment) = self.survey.segments.last_mut() {
            segment.is_damaged = true;
        }
        let next = self.expected.unwrap_or_default();
        self.lose(number, 0..segment::HEADER_BYTES, next, next, "the segment's header is not readable");
    }

    fn lose(
        &mut self,
        segment: u64,
        bytes: std::ops::Range<u64>,
        first: FrameNumber,
        next: FrameNumber,
        cause: &str,
    ) {
        self.survey.losses.push(Loss {
            segment,
            from_byte: bytes.start,
            to_byte: bytes.end,
            first_frame: first.get(),
            last_frame: next.get().saturating_sub(1),
            after_sequence: self.sequence.get(),
            before_sequence: None,
            cause: cause.to_owned(),
        });
    }

    /// Says of the losses before this frame up to which sequence they go.
    fn close_losses(&mut self, header: &FrameHeader, payload: &[u8]) {
        if self.survey.losses.last().is_none_or(|loss| loss.before_sequence.is_some()) {
            return;
        }
        let batches = decode_group(payload).map_or(0, |(_, batches)| batches.len());
        if batches == 0 {
            return;
        }
        let before = (header.sequence.get() + 1).saturating_sub(batches as u64);
        for loss in self.survey.losses.iter_mut().rev().take_while(|loss| loss.before_sequence.is_none()) {
            loss.before_sequence = Some(before);
        }
    }
}

/// The next valid frame at or after an offset whose number is at least `least`.
pub(super) fn next_frame(loaded: &Loaded, from: usize, least: FrameNumber) -> Option<(usize, FrameHeader)> {
    let from = from.next_multiple_of(frame::ALIGNMENT);
    (from..loaded.bytes.len()).step_by(frame::ALIGNMENT).find_map(|offset| {
        let rest = loaded.bytes.get(offset..)?;
        let (header, _) = frame::starts_frame(rest).then(|| frame::parse(rest, loaded.seed)).flatten()?;
        (header.number >= least).then_some((offset, header))
    })
}

/// Whether any later frame says that frame `missing` was durable (LOG-2).
pub(super) fn proves_durable(loaded: &Loaded, mut from: usize, missing: FrameNumber) -> bool {
    while let Some((at, later)) = next_frame(loaded, from, missing) {
        if later.durable >= missing {
            return true;
        }
        from = at + frame::frame_bytes(later.payload_bytes as usize);
    }
    false
}

/// Where the files of a log's damage are kept.
pub(crate) fn quarantine(folder: &Path) -> PathBuf {
    folder.join("quarantined")
}
