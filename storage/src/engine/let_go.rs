//! How far the log is kept for consumers of the tap, and what it has stopped keeping.
//!
//! Invariants:
//! - a consumer keeps the log up to its bound and no further, so one that hangs fills no disk and stops no write;
//! - that frames are let go is durable before they go, so a consumer that comes after a restart learns of it too.

use std::path::Path;
use std::time::Duration;

use super::Shared;
use crate::disk::{Disk, read_file};
use crate::error::{Error, Result};
use crate::model::FrameNumber;

/// The file beside the segments that holds the last frame which was let go.
pub(super) const FILE: &str = "let-go";

/// A consumer that was asked for its state has so long to make it durable: a thousand times what that takes.
const GRACE: Duration = Duration::from_secs(10);

/// The last frame that was let go; 0 if none was.
pub(super) fn load(disk: &dyn Disk, folder: &Path) -> Result<FrameNumber> {
    if !disk.list(folder)?.iter().any(|name| name == FILE) {
        return Ok(FrameNumber::default());
    }
    let path = folder.join(FILE);
    let bytes = read_file(disk, &path)?;
    let number = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok());
    number.map(FrameNumber::new).ok_or_else(|| {
        Error::Damaged(format!(
            "{} does not hold a frame's number; without it alerting cannot tell what it has missed: write 0 into it",
            path.display()
        ))
    })
}

fn save(disk: &dyn Disk, folder: &Path, frame: FrameNumber) -> Result<()> {
    let fresh = folder.join("let-go.new");
    let file = disk.open(&fresh, true)?;
    let text = frame.to_string();
    file.write_at(0, text.as_bytes())?;
    // One that was left by a crash may be longer.
    file.set_length(text.len() as u64)?;
    file.sync()?;
    disk.rename(&fresh, &folder.join(FILE))?;
    disk.sync_folder(folder)
}

impl Shared {
    /// Bytes of log that are kept for rows and consumers that wait.
    pub(crate) fn log_bound(&self) -> u64 {
        self.config.log_bytes.min(self.config.disk_limit / super::shared::LOG_PART_OF_DISK)
    }

    /// Asks consumers for their state when the log is half as long as it may be, and keeps it no longer for those that
    /// hang when it is too long. Everything up to `published` is in tables.
    pub(crate) fn hurry_consumers(&self, published: FrameNumber) -> Result<()> {
        let (held, bound) = (self.disk_use.log_bytes(), self.log_bound());
        if held < bound / 2 {
            return Ok(());
        }
        self.tap.want_checkpoints(published);
        let grace = if self.disk_use.bytes() < self.config.disk_limit / 2 { GRACE } else { Duration::ZERO };
        if held < bound || self.holds.log.is_held() {
            return Ok(());
        }
        let frame = self.before_newest(bound - bound / 4).min(published);
        if self.tap.waits_below(frame, grace) {
            let folder = super::Layout(&self.config.data_dir).log();
            save(&*self.config.disk, &folder, frame)?;
            self.tap.let_go(frame);
        }
        Ok(())
    }

    /// The last frame before the newest segments of so many bytes.
    fn before_newest(&self, bytes: u64) -> FrameNumber {
        let segments = self.log.lock().segments();
        let kept = usize::try_from(bytes / self.config.segment_bytes.max(1)).unwrap_or(usize::MAX).max(1);
        let first_kept = segments.get(segments.len().saturating_sub(kept));
        first_kept
            .map_or_else(FrameNumber::default, |s| FrameNumber::new(s.first_frame.get().saturating_sub(1)))
    }
}
