//! Small durable streams: alerts, notifications, rule state. Logs of their own, kept by age and bytes, read by
//! position.
//!
//! # Bytes
//!
//! A stream is a folder of segments. A segment is named by its first record's number, `%020d.seg`. All
//! numbers are little-endian.
//!
//! | segment header | bytes |
//! |---|---|
//! | magic `BBSTRM01` | 8 |
//! | number of the first record | 8 |
//!
//! | frame | bytes |
//! |---|---|
//! | length of the payload | 4 |
//! | CRC32C of the length, of what follows the CRC, and of the payload, seeded with the segment's first number | 4 |
//! | number of the record | 8 |
//! | wall-clock time of the append, nanoseconds since 1970 | 8 |
//! | payload | length |
//!
//! The payload is its owner's. A segment is written as `%020d.seg.tmp`, synced, renamed, and its folder is
//! synced, before it takes a record; so a segment that has its name has its header.
//!
//! # Invariants
//!
//! - STREAM-1: a record is one frame, and [`Stream::append`] returns after its `fdatasync`. There is one append
//!   at a time, so at most one frame can be torn, and it is the last one of the last segment.
//! - STREAM-2: numbers are contiguous from 1 within what is kept, across segments too. A bad frame with a valid
//!   later frame behind it, or in a segment that is not the last, is damage: opening fails. Any other bad bytes
//!   at the end are a torn tail: cut and synced before the next append. (Damage inside the very last frame
//!   cannot be told from a torn tail.) An owner that can do without what is lost opens it [all the
//!   same](Stream::open_tolerant).
//! - STREAM-3: a failed write is undone, and the stream goes on; after a failed sync, or when a write cannot be
//!   undone, the stream takes no more records until it is opened again.
//! - STREAM-4: only whole segments go, oldest first, never the one being written, and never a record at or
//!   above its owner's pin. Numbers are not reused: the newest segment's name keeps them.

mod frame;
mod freeze;
mod reader;
mod segment;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;

pub use freeze::{FrozenStream, freeze_all};
pub use reader::{Reader, Record};

use crate::error::{Error, Result};
use crate::model::Timestamp;
use segment::Segment;

/// Bytes of one record's payload. The largest is a snapshot of rule state: about 30 bytes for each watched
/// series, so this is room for 8 million of them.
pub const MAX_RECORD_BYTES: usize = 256 << 20;

/// Number of a record of one stream. The first record is 1; 0 is the position before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct RecordNumber(u64);

impl RecordNumber {
    /// The position before every record.
    pub const START: Self = Self(0);

    /// Wraps the raw number, as an owner has stored it.
    #[must_use]
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The raw number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of the record after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl std::fmt::Display for RecordNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// How a stream is cut into segments and how long they stay.
#[derive(Debug, Clone, Copy)]
pub struct StreamOptions {
    /// A segment that has this many bytes takes no further record. 1 makes each record a segment.
    pub segment_bytes: u64,
    /// Bytes of all segments above which the oldest go.
    pub max_bytes: u64,
    /// Age above which a record may go.
    pub max_age: Duration,
}

impl Default for StreamOptions {
    /// 16 MiB segments (a start reads one at a time), 1 GiB in all, 7 days (DESIGN §2).
    fn default() -> Self {
        Self { segment_bytes: 16 << 20, max_bytes: 1 << 30, max_age: Duration::from_hours(7 * 24) }
    }
}

/// One stream, open for appending and reading. Sharing it between threads is fine: appends take turns.
#[derive(Debug)]
pub struct Stream {
    folder: PathBuf,
    options: StreamOptions,
    /// Whether its readers go on behind damage.
    tolerant: bool,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// All segments, oldest first; the last one is being written. Never empty.
    segments: VecDeque<Segment>,
    file: File,
    /// Why the stream takes no more records.
    poisoned: Option<String>,
}

impl Stream {
    /// Opens the stream in `folder`, made if it is missing. Every record is checked; a torn tail is cut.
    ///
    /// # Errors
    /// [`Error::Damaged`] says which file is damaged and where (STREAM-2); [`Error::Io`].
    pub fn open(folder: impl Into<PathBuf>, options: StreamOptions) -> Result<Self> {
        let folder = folder.into();
        make_folder(&folder)?;
        let mut segments = VecDeque::new();
        let firsts = segment::list(&folder)?;
        for (i, first) in firsts.iter().enumerate() {
            refuse_gap(&folder, segments.back().map(Segment::next), *first)?;
            segments.push_back(Segment::check(&folder, *first, i + 1 == firsts.len())?);
        }
        Self::of(folder, options, segments)
    }

    /// As [`open`](Self::open), but damaged records keep nobody from the others: readers give an [`Error::Damaged`] in
    /// their place and go on. Returns what is damaged. Its owner should [begin a segment](Self::begin_segment), write what
    /// is left of the older ones again, and remove them.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open_tolerant(folder: impl Into<PathBuf>, options: StreamOptions) -> Result<(Self, Vec<Error>)> {
        let folder = folder.into();
        make_folder(&folder)?;
        let (mut segments, mut damages) = (VecDeque::new(), Vec::new());
        let firsts = segment::list(&folder)?;
        for (i, first) in firsts.iter().enumerate() {
            let (segment, damage) = Segment::tolerate(&folder, *first, firsts.get(i + 1).copied())?;
            segments.push_back(segment);
            damages.extend(damage);
        }
        Ok((Self { tolerant: true, ..Self::of(folder, options, segments)? }, damages))
    }

    fn of(folder: PathBuf, options: StreamOptions, mut segments: VecDeque<Segment>) -> Result<Self> {
        let (last, file) = match segments.pop_back() {
            Some(last) => {
                let file = last.open_for_append(&folder)?;
                (last, file)
            }
            None => segment::create(&folder, 1)?,
        };
        segments.push_back(last);
        let inner = Mutex::new(Inner { segments, file, poisoned: None });
        Ok(Self { folder, options, tolerant: false, inner })
    }

    /// Appends a record; it is durable on return. `now` is the wall-clock time, for the retention by age.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`] above [`MAX_RECORD_BYTES`]; [`Error::LogPoisoned`] after a failed sync;
    /// [`Error::Io`], after which the record does not exist (STREAM-3).
    pub fn append(&self, payload: &[u8], now: Timestamp) -> Result<RecordNumber> {
        let mut inner = self.inner.lock();
        if let Some(why) = &inner.poisoned {
            return Err(Error::LogPoisoned(why.clone()));
        }
        if payload.len() > MAX_RECORD_BYTES {
            return Err(Error::LimitExceeded(format!(
                "a stream record may have {MAX_RECORD_BYTES} bytes, this one has {}",
                payload.len()
            )));
        }
        if inner.last().bytes >= self.options.segment_bytes && inner.last().records > 0 {
            inner.roll(&self.folder)?;
        }
        inner.append(&self.folder, payload, now)
    }

    /// The oldest record that is kept; the number of the next one when none is.
    #[must_use]
    pub fn first(&self) -> RecordNumber {
        RecordNumber(self.inner.lock().segments.front().map_or(1, |s| s.first))
    }

    /// The newest record; [`RecordNumber::START`] when there never was one.
    #[must_use]
    pub fn last(&self) -> RecordNumber {
        RecordNumber(self.inner.lock().last().next() - 1)
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.inner.lock().segments.iter().map(|s| s.bytes).sum()
    }

    /// The records after `position` that are durable now, in order. Records that retention removed are
    /// skipped: compare [`first`](Self::first) with the position when that matters.
    #[must_use]
    pub fn read(&self, position: RecordNumber) -> Reader {
        let segments =
            self.inner.lock().segments.iter().filter(|s| s.next() > position.0 + 1).copied().collect();
        let reader = Reader::new(self.folder.clone(), segments, position);
        if self.tolerant { reader.tolerant() } else { reader }
    }

    /// Lets the next record begin a segment, so that those before it can go without it.
    ///
    /// # Errors
    /// [`Error::LogPoisoned`] after a failed sync; [`Error::Io`].
    pub fn begin_segment(&self) -> Result<()> {
        let mut inner = self.inner.lock();
        if let Some(why) = &inner.poisoned {
            return Err(Error::LogPoisoned(why.clone()));
        }
        if inner.last().records > 0 {
            inner.roll(&self.folder)?;
        }
        Ok(())
    }

    /// Removes the segments that hold no record at or above `kept`, but never the one being written.
    ///
    /// # Errors
    /// [`Error::Io`]; what was removed by then stays removed.
    pub fn remove_before(&self, kept: RecordNumber) -> Result<()> {
        let mut inner = self.inner.lock();
        let mut removed = false;
        while inner.segments.len() > 1 {
            let Some(oldest) = inner.segments.front().filter(|segment| segment.next() <= kept.0) else {
                break;
            };
            let path = segment::path(&self.folder, oldest.first);
            fs::remove_file(&path).map_err(Error::io("remove", path))?;
            inner.segments.pop_front();
            removed = true;
        }
        if removed { sync_folder(&self.folder) } else { Ok(()) }
    }

    /// Removes segments all of whose records are older than the age limit, and the oldest ones above the byte
    /// limit, but none that holds a record at or above `pin`. Returns how many went.
    ///
    /// # Errors
    /// [`Error::Io`]; what was removed by then stays removed.
    pub fn trim(&self, now: Timestamp, pin: RecordNumber) -> Result<usize> {
        let mut inner = self.inner.lock();
        let age = i64::try_from(self.options.max_age.as_nanos()).unwrap_or(i64::MAX);
        let oldest_kept = now.nanos().saturating_sub(age);
        let last = *inner.last();
        let idle = last.records > 0 && last.newest < oldest_kept && last.next() <= pin.0;
        if idle && inner.poisoned.is_none() {
            inner.roll(&self.folder)?;
        }
        let mut bytes: u64 = inner.segments.iter().map(|s| s.bytes).sum();
        let mut removed = 0;
        while inner.segments.len() > 1 {
            let Some(oldest) = inner.segments.front().copied() else { break };
            let expired = oldest.newest < oldest_kept || bytes > self.options.max_bytes;
            if !expired || oldest.next() > pin.0 {
                break;
            }
            fail::fail_point!("stream-trim");
            let path = segment::path(&self.folder, oldest.first);
            fs::remove_file(&path).map_err(Error::io("remove", path))?;
            bytes = bytes.saturating_sub(oldest.bytes);
            inner.segments.pop_front();
            removed += 1;
        }
        if removed > 0 {
            sync_folder(&self.folder)?;
        }
        Ok(removed)
    }
}

impl Inner {
    fn last(&self) -> &Segment {
        // `open` puts a segment in, and nothing takes out the last one.
        self.segments.back().unwrap_or(&Segment::NONE)
    }

    /// Begins a new segment. The old one is complete: every record of it was synced by its append.
    fn roll(&mut self, folder: &Path) -> Result<()> {
        let (segment, file) = segment::create(folder, self.last().next())?;
        self.segments.push_back(segment);
        self.file = file;
        Ok(())
    }

    fn append(&mut self, folder: &Path, payload: &[u8], now: Timestamp) -> Result<RecordNumber> {
        let last = *self.last();
        let number = last.next();
        let bytes = frame::encode(last.first, number, now, payload)?;
        if let Err(source) = self.write(&bytes) {
            let path = segment::path(folder, last.first);
            if let Err(undo) = self.file.set_len(last.bytes) {
                self.poisoned = Some(format!("cut {}: {undo}", path.display()));
            }
            return Err(Error::Io { action: "append to", path, source });
        }
        if let Err(source) = self.sync() {
            let path = segment::path(folder, last.first);
            self.poisoned = Some(format!("sync {}: {source}", path.display()));
            return Err(Error::Io { action: "sync", path, source });
        }
        fail::fail_point!("stream-after-sync");
        if let Some(segment) = self.segments.back_mut() {
            segment.records += 1;
            segment.bytes += bytes.len() as u64;
            segment.newest = segment.newest.max(now.nanos());
        }
        Ok(RecordNumber(number))
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        fail::fail_point!("stream-write", |_| {
            // A full disk takes a part of the frame.
            self.file.write_all(bytes.get(..bytes.len() / 2).unwrap_or_default())?;
            Err(std::io::ErrorKind::StorageFull.into())
        });
        self.file.write_all(bytes)
    }

    fn sync(&self) -> std::io::Result<()> {
        fail::fail_point!("stream-sync", |_| Err(std::io::Error::other("failpoint")));
        self.file.sync_data()
    }
}

/// Reads a stream's folder through and changes nothing. Returns its number of records, its bytes, and those of a torn
/// tail among them.
///
/// # Errors
/// [`Error::Damaged`] says which file is damaged, where, and which records are lost; [`Error::Io`].
pub fn verify(folder: &Path) -> Result<(u64, u64, u64)> {
    let firsts = segment::firsts(folder)?;
    let (mut next, mut records, mut bytes, mut torn) = (None, 0, 0, 0);
    for (i, first) in firsts.iter().enumerate() {
        refuse_gap(folder, next, *first)?;
        let (segment, tail) = Segment::survey(folder, *first, i + 1 == firsts.len())?;
        next = Some(segment.next());
        records += segment.records;
        torn += tail as u64;
        bytes += segment.bytes + tail as u64;
    }
    Ok((records, bytes, torn))
}

/// A segment begins where the one before it ends (STREAM-2).
fn refuse_gap(folder: &Path, expected: Option<u64>, first: u64) -> Result<()> {
    match expected.filter(|expected| *expected != first) {
        None => Ok(()),
        Some(expected) => Err(Error::Damaged(format!(
            "stream segment {}: records {expected} to {} before it are missing; restore the folder from a backup",
            segment::path(folder, first).display(),
            first.saturating_sub(1)
        ))),
    }
}

/// Makes the folder and whatever is missing above it; each new name is durable on return.
fn make_folder(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_folder(parent)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(Error::io("make", folder)(error));
        }
        _ => {}
    }
    sync_folder(parent)
}

fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(Error::io("sync", folder))
}
