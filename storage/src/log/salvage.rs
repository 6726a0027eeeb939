//! Salvage: a log with damage becomes a log without, and a report says what it cost.
//!
//! 1. The log is surveyed: [`survey`](super::survey).
//! 2. The report is written to `quarantined/`, and each damaged segment copied there, durably.
//! 3. Each damaged segment is written anew under another name, synced, and renamed over the old one: its valid
//!    frames as they were, and an empty frame in the place of each lost one.
//!
//! Invariants: nothing is overwritten before its copy is durable; afterwards numbers are without gaps, so every
//! reader, this start's and the next one's, sees an undamaged log. A crash between two steps only means that the
//! next salvage begins again.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::epoch::Epoch;
use super::frame::{self, FrameHeader, Seed};
use super::reader::{Loaded, LogReader};
use super::segment::{self, SegmentHeader};
use super::survey::{self, Loss, Survey, SurveyedSegment, next_frame, quarantine};
use crate::clock;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::model::{FrameNumber, Sequence};

/// What to do with a log that holds damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RecoveryMode {
    /// Refuse to start, and say where it is.
    #[default]
    Strict,
    /// Quarantine it, report what is lost, and go on with the rest.
    Salvage,
}

/// What a salvage found lost. Kept as `log/quarantined/{time}.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SalvageReport {
    /// When, in milliseconds since 1970.
    pub unix_millis: u64,
    /// The lost frames.
    pub losses: Vec<Loss>,
    /// Copies of the damaged segments, in `log/quarantined/`.
    pub copies: Vec<String>,
}

/// Surveys the log in `folder`.
///
/// # Errors
/// [`Error::Damaged`] when the epoch cannot be read or a segment is of another log; the failure of disk or
/// visitor.
pub fn survey_log(disk: &dyn Disk, folder: &Path, visit: &mut super::Visit<'_>) -> Result<Survey> {
    survey::survey(disk, folder, Epoch::open(disk, folder)?, visit)
}

/// Mends the log that `survey` describes. Nothing happens when it is whole.
///
/// # Errors
/// The failure of the disk; the log is as it was then, or mended in part.
pub fn mend(disk: &dyn Disk, folder: &Path, survey: &Survey) -> Result<Option<SalvageReport>> {
    if survey.losses.is_empty() {
        return Ok(None);
    }
    let epoch = Epoch::open(disk, folder)?;
    let reader = LogReader::new(disk, folder, epoch);
    let unix_millis = clock::now().unix_millis();
    let kept = quarantine(folder);
    disk.create_folder(&kept)?;
    let damaged = || survey.segments.iter().filter(|segment| segment.is_damaged);
    let name = |segment: &SurveyedSegment| format!("{unix_millis}-{}", segment::file_name(segment.number));
    let report =
        SalvageReport { unix_millis, losses: survey.losses.clone(), copies: damaged().map(name).collect() };
    let text = serde_json::to_vec_pretty(&report).map_err(|error| Error::Internal(error.to_string()))?;
    write_whole(disk, &kept, &format!("{unix_millis}.json"), &text)?;
    for segment in damaged() {
        let (_, loaded) = reader.load_any(segment.number)?;
        write_whole(disk, &kept, &name(segment), &loaded.bytes)?;
        let mended = mended(&epoch, segment, &loaded)?;
        write_whole(disk, folder, &segment::file_name(segment.number), &mended)?;
    }
    Ok(Some(report))
}

/// The reports of earlier salvages, oldest first.
///
/// # Errors
/// The failure of the disk.
pub fn salvage_reports(disk: &dyn Disk, folder: &Path) -> Result<Vec<SalvageReport>> {
    let kept = quarantine(folder);
    if disk.metadata(&kept).is_err() {
        return Ok(Vec::new());
    }
    let mut reports = Vec::new();
    for name in disk.list(&kept)?.iter().filter(|name| name.ends_with(".json")) {
        let path = kept.join(name);
        let text = crate::disk::read_file(disk, &path)?;
        let report = serde_json::from_slice(&text);
        let not_one = |error| Error::Damaged(format!("{} is no salvage report: {error}", path.display()));
        reports.push(report.map_err(not_one)?);
    }
    Ok(reports)
}

/// The bytes of a segment with its valid frames, and an empty frame in the place of each lost one.
fn mended(epoch: &Epoch, segment: &SurveyedSegment, loaded: &Loaded) -> Result<Vec<u8>> {
    let seed = Seed::new(epoch, segment.number);
    let header = SegmentHeader { segment: segment.number, first_frame: segment.first_frame };
    let mut bytes = segment::header_bytes(epoch, header);
    bytes.resize(usize::try_from(segment::HEADER_BYTES).unwrap_or(bytes.len()), 0);
    let (mut from, mut sequence) = (0, Sequence::ZERO);
    let mut number = segment.first_frame;
    while number < segment.next_frame {
        let found = next_frame(loaded, from, number).filter(|(_, head)| head.number < segment.next_frame);
        let until = found.map_or(segment.next_frame, |(_, head)| head.number);
        while number < until {
            let durable = FrameNumber::new(number.get().saturating_sub(1));
            let lost = FrameHeader { number, durable, sequence, payload_bytes: 0 };
            let mut frame = vec![0; frame::HEADER_BYTES];
            frame::seal(&mut frame, lost, seed);
            bytes.extend_from_slice(&frame);
            number = FrameNumber::new(number.get() + 1);
        }
        let Some((at, head)) = found else { break };
        let length = frame::frame_bytes(head.payload_bytes as usize);
        let whole = loaded.bytes.get(at..at + length);
        bytes.extend_from_slice(whole.ok_or_else(|| Error::Internal("a frame has no end".into()))?);
        (from, sequence) = (at + length, head.sequence);
        number = FrameNumber::new(number.get() + 1);
    }
    // As long as it was, so that it is still worth recycling.
    bytes.resize(bytes.len().max(loaded.bytes.len()), 0);
    Ok(bytes)
}

/// Writes a file as a whole, durably, over whatever has its name.
fn write_whole(disk: &dyn Disk, folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let fresh: PathBuf = folder.join("salvage.new");
    let file = disk.open(&fresh, true)?;
    file.set_length(0)?;
    file.write_at(0, bytes)?;
    file.sync()?;
    disk.rename(&fresh, &folder.join(name))?;
    disk.sync_folder(folder)
}
