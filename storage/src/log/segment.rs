//! Segments: the files of the log.

use std::path::{Path, PathBuf};

use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Result};
use crate::log::epoch::Epoch;
use crate::log::frame::Seed;
use crate::model::FrameNumber;

/// Bytes of a segment's header; the first frame begins there. One block, so it is never written again.
pub(super) const HEADER_BYTES: u64 = 4_096;

/// The first bytes of a segment: name and version of the format.
const MAGIC: [u8; 8] = *b"BUSLOG01";

/// Written at once when a segment is filled with zeros.
static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

/// A segment's identity, from its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Its number.
    pub(super) segment: u64,
    /// The number of its first frame.
    pub(super) first_frame: FrameNumber,
}

/// The file name of a segment.
pub(super) fn file_name(segment: u64) -> String {
    format!("{segment:020}.seg")
}

/// The number in a segment's file name; `None` for other files.
pub(super) fn number_of(name: &str) -> Option<u64> {
    name.strip_suffix(".seg").filter(|digits| digits.len() == 20)?.parse().ok()
}

/// Whether the name is that of a segment.
pub(crate) fn is_segment(name: &str) -> bool {
    number_of(name).is_some()
}

/// Whether the name is that of a segment that waits for use.
pub(crate) fn is_spare(name: &str) -> bool {
    name.strip_suffix(".spare").is_some_and(|digits| digits.parse::<u64>().is_ok())
}

/// The file name of the spare segment that was segment `origin` or is prepared for it.
pub(super) fn spare_name(origin: u64) -> String {
    format!("{origin:020}.spare")
}

/// The file name of the segment that was set aside, to be overwritten.
pub(super) fn aside_name(origin: u64) -> String {
    format!("{origin:020}.aside")
}

/// The number in the name of a segment that was set aside.
pub(super) fn number_of_aside(name: &str) -> Option<u64> {
    name.strip_suffix(".aside")?.parse().ok()
}

/// Makes a file of `bytes` zeros, durably. It is written, not only allocated: a sync into an allocated but
/// unwritten file must also change the file system's books.
pub(super) fn prewrite(disk: &dyn Disk, path: &Path, bytes: u64) -> Result<()> {
    let file = disk.open(path, true)?;
    write_zeros(&*file, bytes, || Ok(()))?;
    file.set_length(bytes)?;
    file.sync()
}

/// As [`prewrite`], but synced piece by piece: who syncs something else meanwhile would wait for all of it.
pub(super) fn prewrite_in_pieces(disk: &dyn Disk, path: &Path, bytes: u64) -> Result<()> {
    let file = disk.open(path, true)?;
    write_zeros(&*file, bytes, || file.sync())?;
    file.set_length(bytes)?;
    file.sync()
}

/// Writes zeros over the first `bytes` of a file, in pieces that are followed by `after`.
pub(super) fn write_zeros(
    file: &dyn DiskFile,
    bytes: u64,
    mut after: impl FnMut() -> Result<()>,
) -> Result<()> {
    let mut offset = 0;
    while offset < bytes {
        let length = ZEROS.len().min(usize::try_from(bytes - offset).unwrap_or(ZEROS.len()));
        file.write_at(offset, ZEROS.get(..length).unwrap_or(&ZEROS))?;
        offset += length as u64;
        after()?;
    }
    Ok(())
}

/// The bytes of a segment's header.
pub(super) fn header_bytes(epoch: &Epoch, header: SegmentHeader) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(epoch.as_bytes());
    bytes.extend_from_slice(&header.segment.to_le_bytes());
    bytes.extend_from_slice(&header.first_frame.get().to_le_bytes());
    let checksum = Seed::new(epoch, header.segment).checksum(&[&bytes]);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Writes a segment's header and makes it durable.
pub(super) fn write_header(file: &dyn DiskFile, epoch: &Epoch, header: SegmentHeader) -> Result<()> {
    file.write_at(0, &header_bytes(epoch, header))?;
    file.sync()
}

/// What is known of a segment file from its header.
#[derive(Debug)]
pub(super) enum Opened {
    /// A segment of this log.
    Segment(SegmentHeader),
    /// No valid header: the segment was being made when the machine stopped, or it is damaged.
    NoHeader,
}

/// Reads a segment's header.
///
/// # Errors
/// [`Error::Damaged`] for a segment of another log; the failure of the disk.
pub(super) fn read_header(file: &dyn DiskFile, path: &Path, epoch: &Epoch, segment: u64) -> Result<Opened> {
    let mut bytes = [0; 44];
    if file.read_at(0, &mut bytes)? < bytes.len() || !bytes.starts_with(&MAGIC) {
        return Ok(Opened::NoHeader);
    }
    let (covered, checksum) = bytes.split_at(40);
    let number = |at: usize| covered.get(at..).and_then(|b| b.first_chunk()).map(|b| u64::from_le_bytes(*b));
    let named = number(24);
    let is_of = |epoch: &Epoch| Seed::new(epoch, segment).checksum(&[covered]).to_le_bytes() == *checksum;
    if !is_of(epoch) {
        // A damaged header agrees with no epoch, another log's with its own. A recycled file under its new name
        // still has its old number: that is no header of this segment.
        let own =
            covered.get(8..24).and_then(|bytes| bytes.first_chunk()).map(|bytes| Epoch::from_bytes(*bytes));
        return if named == Some(segment) && own.is_some_and(|own| is_of(&own)) {
            Err(Error::Damaged(format!(
                "{} belongs to another log; keep the files of one data directory together",
                path.display()
            )))
        } else {
            Ok(Opened::NoHeader)
        };
    }
    let first_frame = FrameNumber::new(number(32).unwrap_or_default());
    Ok(Opened::Segment(SegmentHeader { segment, first_frame }))
}

/// The path of a segment.
pub(super) fn path(folder: &Path, segment: u64) -> PathBuf {
    folder.join(file_name(segment))
}
