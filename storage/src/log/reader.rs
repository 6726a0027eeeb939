//! Reads the log: once at start, to find its end and tell a torn tail from damage, and later for consumers
//! that fell behind.
//!
//! At start ([`LogReader::recover`]):
//! 1. Segments are read in order of their numbers; frames follow each other without gaps.
//! 2. Where the next frame does not parse, the following segment, if there is one, must begin with exactly
//!    that frame; else frames are missing: damage.
//! 3. In the last segment the rest is scanned for later frames. One that says the missing frame was durable
//!    proves damage; without one it is a torn tail.

use std::collections::VecDeque;
use std::path::Path;

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::log::epoch::Epoch;
use crate::log::frame::{self, FrameHeader, Seed};
use crate::log::segment::{self, Opened, SegmentHeader};
use crate::log::survey::{next_frame, proves_durable};
use crate::model::{FrameNumber, Sequence};

/// What a visitor of frames gets: the header and the payload.
pub type Visit<'a> = dyn FnMut(&FrameHeader, &[u8]) -> Result<()> + 'a;

/// Reads the segments of one log directory.
#[derive(Debug, Clone, Copy)]
pub struct LogReader<'a> {
    disk: &'a dyn Disk,
    folder: &'a Path,
    epoch: Epoch,
}

/// Where the log ends.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    /// The segments in order, each with the number of its first frame.
    pub(super) segments: Vec<SegmentHeader>,
    /// The offset in the last segment at which the next frame goes.
    pub(super) end: u64,
    /// The last valid frame, or the number before the first.
    pub(super) last_frame: FrameNumber,
    /// The greatest sequence in any frame.
    pub(super) last_sequence: Sequence,
    /// A segment without a frame that was being made when the machine stopped, or when the disk failed.
    pub(super) unfinished: Option<u64>,
    /// Bytes of a frame that was being written when the machine stopped.
    pub(super) torn: bool,
    /// The frames before `end` that no later one says to be durable. After a failed sync and a restart they may
    /// be read from memory and not be on the medium (LOG-4).
    pub(super) unproven: Vec<u8>,
}

/// Everything of one segment in memory.
pub(super) struct Loaded {
    pub(super) bytes: Vec<u8>,
    pub(super) seed: Seed,
}

/// The memory of the segment that was read before. Fresh memory for each would cost several times the reading.
type Memory = Vec<u8>;

impl<'a> LogReader<'a> {
    /// A reader of the log in `folder`.
    #[must_use]
    pub fn new(disk: &'a dyn Disk, folder: &'a Path, epoch: Epoch) -> Self {
        Self { disk, folder, epoch }
    }

    /// Visits all frames with `after < number <= last`, which must be durable.
    ///
    /// # Errors
    /// [`Error::Damaged`] when one of them cannot be read; the visitor's error.
    pub fn read(&self, after: FrameNumber, last: FrameNumber, visit: &mut Visit<'_>) -> Result<()> {
        let mut expected = None;
        let mut memory = Memory::new();
        let numbers = self.segment_numbers()?;
        for (position, &number) in numbers.iter().enumerate() {
            let ends_before = |n: &u64| {
                Ok::<_, Error>(self.load_header(*n)?.map(|h| h.first_frame.get() <= after.get() + 1))
            };
            if numbers.get(position + 1).map(ends_before).transpose()?.flatten() == Some(true) {
                continue;
            }
            let Some((header, loaded)) = self.load(number, memory)? else {
                memory = Memory::new();
                continue;
            };
            let mut wanted = |head: &FrameHeader, payload: &[u8]| {
                if head.number > after && head.number <= last { visit(head, payload) } else { Ok(()) }
            };
            expected = Some(walk(&loaded, header.first_frame, &mut wanted)?.next);
            memory = loaded.bytes;
            if expected.is_some_and(|next| next > last) {
                return Ok(());
            }
        }
        match expected {
            _ if last <= after => Ok(()),
            Some(next) if next > last => Ok(()),
            _ => Err(Error::Damaged(format!(
                "frames after {after} up to {last} are not all in the log any more"
            ))),
        }
    }

    /// Visits every frame and finds the end of the log.
    pub(super) fn recover(&self, visit: &mut Visit<'_>) -> Result<Recovered> {
        let numbers = self.segment_numbers()?;
        let mut found = Recovered { end: segment::HEADER_BYTES, ..Recovered::default() };
        let mut expected = None;
        let mut memory = Memory::new();
        for (position, &number) in numbers.iter().enumerate() {
            let is_last = position + 1 == numbers.len();
            let Some((header, loaded)) = self.load(number, memory)? else {
                self.refuse_lost_header(number, is_last, expected)?;
                found.unfinished = Some(number);
                break;
            };
            if is_last && expected.is_some_and(|next| header.first_frame < next) && holds_no_frame(&loaded) {
                found.unfinished = Some(number);
                break;
            }
            if expected.is_some_and(|next| header.first_frame != next) {
                return Err(self.damage(
                    number,
                    segment::HEADER_BYTES,
                    expected.unwrap_or_default(),
                    "are missing",
                ));
            }
            let mut highest = found.last_sequence;
            let walked = walk(&loaded, header.first_frame, &mut |head, payload| {
                highest = highest.max(head.sequence);
                visit(head, payload)
            })?;
            found.last_sequence = highest;
            found.segments.push(header);
            found.end = walked.end as u64;
            found.last_frame = FrameNumber::new(walked.next.get() - 1);
            if is_last {
                found.unproven = loaded.bytes.get(walked.unproven..walked.end).unwrap_or_default().to_vec();
                found.torn = self.refuse_damage_after(&loaded, number, &walked)?;
            }
            expected = Some(walked.next);
            memory = loaded.bytes;
        }
        Ok(found)
    }

    pub(super) fn segment_numbers(&self) -> Result<Vec<u64>> {
        Ok(self.disk.list(self.folder)?.iter().filter_map(|name| segment::number_of(name)).collect())
    }

    fn load_header(&self, number: u64) -> Result<Option<SegmentHeader>> {
        let path = segment::path(self.folder, number);
        let file = self.disk.open(&path, false)?;
        Ok(match segment::read_header(&*file, &path, &self.epoch, number)? {
            Opened::Segment(header) => Some(header),
            Opened::NoHeader => None,
        })
    }

    fn load(&self, number: u64, memory: Memory) -> Result<Option<(SegmentHeader, Loaded)>> {
        let path = segment::path(self.folder, number);
        let file = self.disk.open(&path, false)?;
        let Opened::Segment(header) = segment::read_header(&*file, &path, &self.epoch, number)? else {
            return Ok(None);
        };
        Ok(Some((header, self.load_bytes(number, &*file, memory)?)))
    }

    /// The bytes of a segment, and its header unless it is lost.
    pub(super) fn load_any(&self, number: u64) -> Result<(Option<SegmentHeader>, Loaded)> {
        let path = segment::path(self.folder, number);
        let file = self.disk.open(&path, false)?;
        let header = match segment::read_header(&*file, &path, &self.epoch, number)? {
            Opened::Segment(header) => Some(header),
            Opened::NoHeader => None,
        };
        Ok((header, self.load_bytes(number, &*file, Memory::new())?))
    }

    fn load_bytes(&self, number: u64, file: &dyn crate::disk::DiskFile, memory: Memory) -> Result<Loaded> {
        let length =
            usize::try_from(file.length()?).map_err(|_| Error::Damaged("a segment is too large".into()))?;
        let mut bytes = memory;
        bytes.resize(length, 0);
        let read = file.read_at(0, &mut bytes)?;
        bytes.truncate(read);
        Ok(Loaded { bytes, seed: Seed::new(&self.epoch, number) })
    }

    /// A segment without a header is one that was being made, if it is the last and holds no frame.
    fn refuse_lost_header(&self, number: u64, is_last: bool, expected: Option<FrameNumber>) -> Result<()> {
        let path = segment::path(self.folder, number);
        let file = self.disk.open(&path, false)?;
        let loaded = self.load_bytes(number, &*file, Memory::new())?;
        if is_last && holds_no_frame(&loaded) {
            return Ok(());
        }
        Err(self.damage(number, 0, expected.unwrap_or_default(), "have lost their segment's header"))
    }

    /// Whether a torn frame stands at the end; damage if a later frame proves that it was durable.
    fn refuse_damage_after(&self, loaded: &Loaded, number: u64, walked: &Walked) -> Result<bool> {
        if proves_durable(loaded, walked.end, walked.next) {
            return Err(self.damage(number, walked.end as u64, walked.next, "are damaged"));
        }
        Ok(loaded.bytes.get(walked.end..).is_some_and(frame::starts_frame))
    }

    fn damage(&self, segment: u64, offset: u64, first: FrameNumber, what: &str) -> Error {
        Error::Damaged(format!(
            "frames from {first} on {what} in {} at byte {offset}, though they were durable: restore the log from \
             a backup, see what is lost with `busbar verify`, or give it up with `busbar serve --log-recovery salvage`",
            segment::path(self.folder, segment).display()
        ))
    }
}

/// Whether a segment holds no frame. If its header names a frame that an earlier segment has, its making failed then, and
/// smaller frames went on in that one.
fn holds_no_frame(loaded: &Loaded) -> bool {
    next_frame(loaded, 0, FrameNumber::default()).is_none()
}

/// How far a segment's frames go.
struct Walked {
    /// The offset behind the last valid frame.
    end: usize,
    /// The number that the next frame has.
    next: FrameNumber,
    /// The offset behind the last frame that a later one says to be durable.
    unproven: usize,
}

/// Visits the frames of a segment from its start as far as they follow each other.
fn walk(loaded: &Loaded, first: FrameNumber, visit: &mut Visit<'_>) -> Result<Walked> {
    let start = usize::try_from(segment::HEADER_BYTES).unwrap_or(usize::MAX);
    let mut walked = Walked { end: start, next: first, unproven: start };
    // Where frames begin that are not proven yet.
    let mut begins = VecDeque::new();
    while let Some(rest) = loaded.bytes.get(walked.end..) {
        match frame::parse(rest, loaded.seed) {
            Some((header, payload)) if header.number == walked.next => {
                visit(&header, payload)?;
                begins.push_back((header.number, walked.end));
                while begins.pop_front_if(|(number, _)| *number <= header.durable).is_some() {}
                walked.unproven = begins.front().map_or(walked.end, |(_, begin)| *begin);
                walked.end += frame::frame_bytes(payload.len());
                walked.next = FrameNumber::new(header.number.get() + 1);
            }
            _ => break,
        }
    }
    Ok(walked)
}
