//! Segments of a stream: their names, their header, and the check when a stream is opened.
//!
//! Invariant: what [`Segment::check`] returns describes only whole frames with contiguous numbers.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::{frame, refuse_gap, sync_folder};
use crate::error::{Error, Result};

const MAGIC: &[u8; 8] = b"BBSTRM01";

/// Bytes before the first frame.
pub(super) const HEADER_BYTES: usize = 16;

/// What is known of one segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    /// Number of its first record, or of the one that will be.
    pub(super) first: u64,
    /// Records in it.
    pub(super) records: u64,
    /// Bytes of the header and of the whole frames.
    pub(super) bytes: u64,
    /// The greatest time of an append, in nanoseconds since 1970.
    pub(super) newest: i64,
}

impl Segment {
    /// A segment that does not exist.
    pub(super) const NONE: Self = Self { first: 1, records: 0, bytes: 0, newest: i64::MIN };

    /// The number of the record after the segment's last.
    pub(super) fn next(&self) -> u64 {
        self.first + self.records
    }

    /// Reads the segment and checks every frame. A torn tail is cut only in the stream's last segment.
    pub(super) fn check(folder: &Path, first: u64, is_last: bool) -> Result<Self> {
        let (segment, torn) = Self::survey(folder, first, is_last)?;
        if torn == 0 {
            return Ok(segment);
        }
        let path = path(folder, first);
        tracing::warn!(path = %path.display(), bytes = torn, "cut the torn tail of a stream");
        let file = OpenOptions::new().write(true).open(&path).map_err(Error::io("open", &path))?;
        file.set_len(segment.bytes).map_err(Error::io("cut", &path))?;
        file.sync_all().map_err(Error::io("sync", &path))?;
        Ok(segment)
    }

    /// Reads the segment, checks every frame, and changes nothing. Returns the bytes of a torn tail too.
    pub(super) fn survey(folder: &Path, first: u64, is_last: bool) -> Result<(Self, usize)> {
        let path = path(folder, first);
        let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
        check_header(&path, first, &bytes)?;
        let mut segment = Self { bytes: HEADER_BYTES as u64, ..Self::empty(first) };
        let mut rest = bytes.get(HEADER_BYTES..).unwrap_or_default();
        while let Some(frame) = frame::decode(first, rest).filter(|f| f.number == segment.next()) {
            segment.records += 1;
            segment.bytes += frame.bytes() as u64;
            segment.newest = segment.newest.max(frame.appended_at.nanos());
            rest = rest.get(frame.bytes()..).unwrap_or_default();
        }
        if rest.is_empty() {
            return Ok((segment, 0));
        }
        let lost = segment.next();
        let extent = match frame::later_frame(first, lost - 1, rest) {
            Some((_, later)) => format!("records {lost} to {} are", later.saturating_sub(1)),
            None if is_last => return Ok((segment, rest.len())),
            None => format!("record {lost} and those after it in this segment are"),
        };
        Err(Error::Damaged(format!(
            "stream segment {} is damaged at byte {}: {extent} not readable; restore the file from a backup",
            path.display(),
            segment.bytes
        )))
    }

    /// As [`check`](Self::check), of a segment that may be damaged: what is readable is found by whoever reads it. Its
    /// numbers go up to the segment that `following` begins, or to its last whole frame. Returns what is damaged.
    pub(super) fn tolerate(
        folder: &Path,
        first: u64,
        following: Option<u64>,
    ) -> Result<(Self, Option<Error>)> {
        let damage = match Self::check(folder, first, following.is_none()) {
            Ok(segment) => {
                match following.map_or(Ok(()), |next| refuse_gap(folder, Some(segment.next()), next)) {
                    Ok(()) => return Ok((segment, None)),
                    Err(gap) => gap,
                }
            }
            Err(damage @ Error::Damaged(_)) => damage,
            Err(error) => return Err(error),
        };
        let path = path(folder, first);
        let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
        let (mut rest, mut next) = (bytes.as_slice(), first);
        while let Some((at, number)) = frame::later_frame(first, next - 1, rest) {
            (rest, next) = (rest.get(at..).unwrap_or_default(), number + 1);
        }
        // A number that was given is not given again: so a segment without a whole frame had one.
        let records = following.unwrap_or(next.max(first + 1)) - first;
        let segment = Self { records, bytes: bytes.len() as u64, newest: i64::MAX, first };
        Ok((segment, Some(damage)))
    }

    /// The segment's file, at its end.
    pub(super) fn open_for_append(&self, folder: &Path) -> Result<File> {
        let path = path(folder, self.first);
        OpenOptions::new().append(true).open(&path).map_err(Error::io("open", path))
    }

    /// The segment's frames as they stood when `self` was copied.
    pub(super) fn read(&self, folder: &Path) -> Result<Vec<u8>> {
        let path = path(folder, self.first);
        let mut bytes = Vec::new();
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        file.take(self.bytes).read_to_end(&mut bytes).map_err(Error::io("read", &path))?;
        check_header(&path, self.first, &bytes)?;
        Ok(bytes.split_off(HEADER_BYTES.min(bytes.len())))
    }

    /// As [`read`](Self::read), whatever the header is.
    pub(super) fn read_tolerantly(&self, folder: &Path) -> Result<Vec<u8>> {
        let path = path(folder, self.first);
        let mut bytes = Vec::new();
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        file.take(self.bytes).read_to_end(&mut bytes).map_err(Error::io("read", &path))?;
        Ok(bytes.split_off(HEADER_BYTES.min(bytes.len())))
    }

    fn empty(first: u64) -> Self {
        Self { first, ..Self::NONE }
    }
}

/// The file of the segment that begins with this record.
pub(super) fn path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}.seg"))
}

/// Makes an empty segment. It has its name, durably, on return.
pub(super) fn create(folder: &Path, first: u64) -> Result<(Segment, File)> {
    let path = path(folder, first);
    let temporary = path.with_extension("seg.tmp");
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&first.to_le_bytes());
    let mut file = File::create(&temporary).map_err(Error::io("make", &temporary))?;
    file.write_all(&header).map_err(Error::io("write", &temporary))?;
    file.sync_all().map_err(Error::io("sync", &temporary))?;
    fail::fail_point!("stream-before-rename");
    fs::rename(&temporary, &path).map_err(Error::io("rename", &temporary))?;
    sync_folder(folder)?;
    fail::fail_point!("stream-after-rename");
    let segment = Segment { bytes: HEADER_BYTES as u64, ..Segment::empty(first) };
    let file = segment.open_for_append(folder)?;
    Ok((segment, file))
}

/// The first record numbers of the folder's segments, in order.
pub(super) fn firsts(folder: &Path) -> Result<Vec<u64>> {
    let mut firsts = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let name = entry.map_err(Error::io("list", folder))?.file_name();
        firsts.extend(name.to_str().and_then(|name| name.strip_suffix(".seg")?.parse::<u64>().ok()));
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// The first record numbers of the folder's segments, in order. Unfinished segments are removed.
pub(super) fn list(folder: &Path) -> Result<Vec<u64>> {
    let mut firsts = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let path = entry.map_err(Error::io("list", folder))?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if name.ends_with(".seg.tmp") {
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        } else if let Some(first) = name.strip_suffix(".seg").and_then(|n| n.parse().ok()) {
            firsts.push(first);
        }
    }
    firsts.sort_unstable();
    Ok(firsts)
}

fn check_header(path: &Path, first: u64, bytes: &[u8]) -> Result<()> {
    let magic = bytes.get(..8) == Some(MAGIC.as_slice());
    let number = bytes.get(8..HEADER_BYTES) == Some(first.to_le_bytes().as_slice());
    if magic && number {
        return Ok(());
    }
    Err(Error::Damaged(format!(
        "stream segment {} does not begin with its header; restore the file from a backup",
        path.display()
    )))
}
