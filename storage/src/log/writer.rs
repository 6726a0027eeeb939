//! The one writer of the log.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::disk::{Disk, DiskFile};
use crate::engine::hold::Hold;
use crate::error::{Error, Result};
use crate::log::aside;
use crate::log::epoch::Epoch;
use crate::log::frame::{self, FrameHeader, Seed};
use crate::log::reader::{LogReader, Recovered, Visit};
use crate::log::segment::{self, SegmentHeader};
use crate::log::spare;
use crate::model::{FrameNumber, Sequence};

/// Spare segments kept for reuse; more are deleted. Two cover a rotation while another is being trimmed.
pub(super) const SPARES_KEPT: usize = 2;

/// A segment that may be trimmed: its number and its last frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentInfo {
    /// The segment.
    pub segment: u64,
    /// Its first frame.
    pub first_frame: FrameNumber,
}

/// The log as it stands up to its last durable frame.
#[derive(Debug)]
pub struct LogCut {
    /// That frame.
    pub frame: FrameNumber,
    /// The sequence of the last batch up to there.
    pub sequence: Sequence,
    /// The names of the segments' files, oldest first.
    pub segments: Vec<String>,
    /// So many bytes of the last one count; the others count as they are.
    pub last_bytes: u64,
}

/// Appends frames to the log of one directory.
#[derive(Debug)]
pub struct LogWriter {
    pub(super) place: Place,
    /// All segments, oldest first; the last one takes the frames.
    segments: Vec<SegmentHeader>,
    active: Active,
    /// The last frame written, durable or not.
    last_frame: FrameNumber,
    /// The newest frame without content: who has seen the one before has seen it.
    last_empty: FrameNumber,
    durable: Arc<AtomicU64>,
    /// The sequence of the last frame written.
    last_sequence: Sequence,
    /// Where the last durable frame ends in the active segment, and its sequence.
    durable_end: (u64, Sequence),
    poisoned: Option<String>,
    buffer: Vec<u8>,
    /// See [`super::spare`].
    pub(super) half_full: Arc<Notify>,
}

/// Where the log lies, and how its segments are made.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) folder: PathBuf,
    epoch: Epoch,
    pub(super) segment_bytes: u64,
    /// While it is held, what is retired is set aside.
    pub(super) aside: Hold,
}

#[derive(Debug)]
struct Active {
    file: Box<dyn DiskFile>,
    seed: Seed,
    offset: u64,
    length: u64,
}

impl LogWriter {
    /// Opens the log in `folder`, which exists: visits every frame, cuts a torn tail, and is ready to append.
    /// Returns the writer and the greatest sequence in the log.
    ///
    /// # Errors
    /// [`Error::Damaged`] when durable frames are missing or bad (LOG-2); the visitor's or the disk's error.
    pub fn open(
        disk: Arc<dyn Disk>,
        folder: PathBuf,
        segment_bytes: u64,
        visit: &mut Visit<'_>,
    ) -> Result<(Self, Sequence)> {
        let epoch = Epoch::open(&*disk, &folder)?;
        // A killed process may have renamed a segment and not have synced that: its next frames would go with it.
        disk.sync_folder(&folder)?;
        aside::remove_left(&*disk, &folder)?;
        let mut last_empty = FrameNumber::default();
        let found = LogReader::new(&*disk, &folder, epoch).recover(&mut |head, payload| {
            if payload.is_empty() {
                last_empty = head.number;
            }
            visit(head, payload)
        })?;
        let sequence = found.last_sequence;
        if let Some(number) = found.unfinished {
            disk.remove(&segment::path(&folder, number))?;
            disk.sync_folder(&folder)?;
        }
        let place = Place { disk, folder, epoch, segment_bytes, aside: Hold::default() };
        let (segments, active) = if found.segments.is_empty() {
            let (header, active) = place.start_segment(1, FrameNumber::new(found.last_frame.get() + 1), 0)?;
            (vec![header], active)
        } else {
            let active = place.continue_last(&found)?;
            (found.segments, active)
        };
        let durable_end = (active.offset, sequence);
        let writer = Self {
            place,
            segments,
            active,
            last_frame: found.last_frame,
            last_empty,
            durable: Arc::new(AtomicU64::new(found.last_frame.get())),
            last_sequence: sequence,
            durable_end,
            poisoned: None,
            buffer: Vec::new(),
            half_full: Arc::default(),
        };
        Ok((writer, sequence))
    }

    /// The log's epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.place.epoch
    }

    /// The last durable frame, shared with readers.
    #[must_use]
    pub fn durable_frame(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.durable)
    }

    /// The segments, oldest first, the active one last.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let info = |s: &SegmentHeader| SegmentInfo { segment: s.segment, first_frame: s.first_frame };
        self.segments.iter().map(info).collect()
    }

    /// Bytes of the segments, about: one that holds a larger frame counts as any other.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.len() as u64 * self.place.segment_bytes
    }

    /// Writes one frame with the concatenation of `parts` as its payload. It is not durable before
    /// [`sync`](Self::sync).
    ///
    /// # Errors
    /// [`Error::LogPoisoned`] after a failed sync; the failure of the disk, after which nothing was appended.
    pub fn append(&mut self, sequence: Sequence, parts: &[&[u8]]) -> Result<FrameNumber> {
        self.refuse_if_poisoned()?;
        let payload: usize = parts.iter().map(|p| p.len()).sum();
        let payload_bytes = u32::try_from(payload)
            .map_err(|_| Error::LimitExceeded("one write may have 4 GiB in the log".into()))?;
        let number = FrameNumber::new(self.last_frame.get() + 1);
        let durable = FrameNumber::new(self.durable.load(Ordering::Acquire));
        let header = FrameHeader { number, durable, sequence, payload_bytes };
        let needed = frame::frame_bytes(payload) as u64;
        if self.active.offset + needed > self.active.length {
            self.rotate(needed)?;
        }
        self.buffer.clear();
        self.buffer.resize(frame::HEADER_BYTES, 0);
        parts.iter().for_each(|part| self.buffer.extend_from_slice(part));
        frame::seal(&mut self.buffer, header, self.active.seed);
        self.active.file.write_at(self.active.offset, &self.buffer)?;
        let was_half_full = self.is_half_full();
        self.active.offset += needed;
        if self.is_half_full() && !was_half_full {
            self.half_full.notify_one();
        }
        self.last_frame = number;
        if payload == 0 {
            self.last_empty = number;
        }
        self.last_sequence = self.last_sequence.max(sequence);
        if self.buffer.capacity() > KEPT_BUFFER_BYTES {
            self.buffer = Vec::new();
        }
        Ok(number)
    }

    /// Makes every appended frame durable.
    ///
    /// # Errors
    /// [`Error::LogPoisoned`]: the sync failed now or earlier. What is durable is unknown, so no frame that
    /// was not yet acknowledged may be, and the log takes no more (LOG-4).
    pub fn sync(&mut self) -> Result<FrameNumber> {
        self.refuse_if_poisoned()?;
        fail::fail_point!("log-before-sync");
        if let Err(error) = self.active.file.sync() {
            tracing::error!(%error, "the log could not be synced and takes no more writes (LOG-4)");
            self.poisoned = Some(error.to_string());
            return Err(Error::LogPoisoned(error.to_string()));
        }
        fail::fail_point!("log-after-sync");
        self.durable.store(self.last_frame.get(), Ordering::Release);
        self.durable_end = (self.active.offset, self.last_sequence);
        Ok(self.last_frame)
    }

    /// The log up to its last durable frame. What it names stays as it is until a [`trim`](Self::trim).
    #[must_use]
    pub fn cut(&self) -> LogCut {
        let (last_bytes, sequence) = self.durable_end;
        LogCut {
            frame: FrameNumber::new(self.durable.load(Ordering::Acquire)),
            sequence,
            segments: self.segments.iter().map(|s| segment::file_name(s.segment)).collect(),
            last_bytes,
        }
    }

    /// Begins a new segment, unless the active one is empty, so that every frame so far can be trimmed.
    ///
    /// # Errors
    /// As [`sync`](Self::sync); the failure of the disk.
    pub fn roll(&mut self) -> Result<()> {
        if self.active.offset > segment::HEADER_BYTES { self.rotate(0) } else { Ok(()) }
    }

    /// Recycles the segments whose frames are all at or below `frame`. The active segment stays.
    ///
    /// # Errors
    /// The failure of the disk; what was recycled before it stays so.
    pub fn trim(&mut self, frame: FrameNumber) -> Result<()> {
        while let [first, second, ..] = self.segments.as_slice() {
            if second.first_frame.get() > frame.get() + 1 {
                break;
            }
            let number = first.segment;
            fail::fail_point!("log-before-trim");
            self.place.retire(number)?;
            self.segments.remove(0);
        }
        Ok(())
    }

    /// Begins a new segment, also when the active one is empty: what that was recycled from may be left in it.
    ///
    /// Returns the last frame before it.
    ///
    /// # Errors
    /// As [`roll`](Self::roll).
    pub(crate) fn begin_segment(&mut self) -> Result<FrameNumber> {
        self.rotate(0)?;
        Ok(self.last_frame)
    }

    /// `frame`, or the one after it if that has no content: nobody has to see it.
    pub(crate) fn past_empty(&self, frame: FrameNumber) -> FrameNumber {
        if self.last_empty.get() == frame.get() + 1 { self.last_empty } else { frame }
    }

    pub(super) fn is_half_full(&self) -> bool {
        self.active.offset > self.active.length / 2
    }

    pub(super) fn is_poisoned(&self) -> bool {
        self.poisoned.is_some()
    }

    /// The number of the segment behind the active one.
    pub(super) fn next_segment(&self) -> u64 {
        self.segments.last().map_or(1, |s| s.segment + 1)
    }

    fn refuse_if_poisoned(&self) -> Result<()> {
        self.poisoned.as_ref().map_or(Ok(()), |cause| Err(Error::LogPoisoned(cause.clone())))
    }

    fn rotate(&mut self, needed: u64) -> Result<()> {
        // Frames of the old segment must be durable before the new one says where it begins.
        self.sync()?;
        let number = self.next_segment();
        let first_frame = FrameNumber::new(self.last_frame.get() + 1);
        match self.place.start_segment(number, first_frame, needed) {
            Ok((header, active)) => {
                self.segments.push(header);
                self.active = active;
                self.durable_end.0 = segment::HEADER_BYTES;
                Ok(())
            }
            Err(error) => {
                self.place.abandon(number);
                Err(error)
            }
        }
    }
}

/// Makes an empty log in `folder`, which is empty, under an epoch of its own. Its first frame will have this number.
///
/// # Errors
/// The failure of the disk.
pub fn found(
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    segment_bytes: u64,
    first_frame: FrameNumber,
) -> Result<Epoch> {
    let epoch = Epoch::open(&*disk, &folder)?;
    let place = Place { disk, folder, epoch, segment_bytes, aside: Hold::default() };
    place.start_segment(1, first_frame, 0)?;
    Ok(epoch)
}

impl Place {
    /// Makes segment `number` from a spare or from nothing, with room for a frame of `needed` bytes.
    fn start_segment(
        &self,
        number: u64,
        first_frame: FrameNumber,
        needed: u64,
    ) -> Result<(SegmentHeader, Active)> {
        let length = self.segment_bytes.max(segment::HEADER_BYTES + needed);
        let path = segment::path(&self.folder, number);
        let spare = self.disk.list(&self.folder)?.into_iter().find(|name| segment::is_spare(name));
        match spare.filter(|_| length == self.segment_bytes) {
            Some(spare) => self.disk.rename(&self.folder.join(spare), &path)?,
            None => {
                // Under another name first: a half-written file must not be taken for a segment.
                let fresh = self.folder.join("segment.new");
                spare::cleanly(&*self.disk, &fresh, || segment::prewrite(&*self.disk, &fresh, length))?;
                self.disk.rename(&fresh, &path)?;
            }
        }
        let file = self.disk.open(&path, false)?;
        let header = SegmentHeader { segment: number, first_frame };
        segment::write_header(&*file, &self.epoch, header)?;
        self.disk.sync_folder(&self.folder)?;
        let length = file.length()?;
        let seed = Seed::new(&self.epoch, number);
        Ok((header, Active { file, seed, offset: segment::HEADER_BYTES, length }))
    }

    /// Removes segment `number`, whose making failed: smaller frames may go on in the segment before it, and readers
    /// must not take its header for theirs. What cannot be removed is recognised at the start.
    fn abandon(&self, number: u64) {
        match self.disk.remove(&segment::path(&self.folder, number)) {
            Err(error) if error.io_kind() != Some(ErrorKind::NotFound) => {
                tracing::warn!(%error, number, "a segment whose making failed could not be removed");
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Opens the last segment where its valid frames end; writes its header and those frames again that may not be on
    /// the medium (LOG-4), zeros the rest, and syncs.
    fn continue_last(&self, found: &Recovered) -> Result<Active> {
        let header = found.segments.last().copied();
        let header = header.unwrap_or(SegmentHeader { segment: 1, first_frame: FrameNumber::new(1) });
        let number = header.segment;
        let file = self.disk.open(&segment::path(&self.folder, number), false)?;
        let length = file.length()?;
        if found.torn {
            tracing::warn!(
                segment = number,
                offset = found.end,
                "cut a torn frame that was never acknowledged"
            );
        }
        segment::write_header(&*file, &self.epoch, header)?;
        file.write_at(found.end - found.unproven.len() as u64, &found.unproven)?;
        zero_fill(&*file, found.end, length)?;
        file.sync()?;
        Ok(Active { file, seed: Seed::new(&self.epoch, number), offset: found.end, length })
    }

    /// Keeps a segment as a spare, or deletes it.
    fn retire(&self, number: u64) -> Result<()> {
        let path = segment::path(&self.folder, number);
        if self.aside.is_held() {
            self.disk.rename(&path, &self.folder.join(segment::aside_name(number)))?;
            return self.disk.sync_folder(&self.folder);
        }
        let spares = self.disk.list(&self.folder)?.iter().filter(|name| segment::is_spare(name)).count();
        if spares < SPARES_KEPT && self.disk.open(&path, false)?.length()? == self.segment_bytes {
            self.disk.rename(&path, &self.folder.join(segment::spare_name(number)))?;
        } else {
            self.disk.remove(&path)?;
        }
        self.disk.sync_folder(&self.folder)
    }
}

/// A frame buffer above this is given back after use: ordinary groups are far smaller.
const KEPT_BUFFER_BYTES: usize = 4 << 20;

static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

fn zero_fill(file: &dyn DiskFile, from: u64, to: u64) -> Result<()> {
    let mut offset = from;
    while offset < to {
        let length = usize::try_from(to - offset).map_or(ZEROS.len(), |rest| rest.min(ZEROS.len()));
        file.write_at(offset, ZEROS.get(..length).unwrap_or(&ZEROS))?;
        offset += length as u64;
    }
    Ok(())
}
