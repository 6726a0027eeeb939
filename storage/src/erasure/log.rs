//! The log, and what its ids mean.

use std::path::Path;

use super::{Amount, Job, LOOK_AGAIN_AFTER, Place};
use crate::clock;
use crate::engine::Layout;
use crate::error::{Error, Result};
use crate::log;
use crate::model::FrameNumber;

impl Job<'_> {
    /// Overwrites every segment that a deleted row may have been in.
    pub(super) async fn log(&self) -> Result<Place> {
        let mut place = Place::new("log");
        let before: u64 = self.shared.log.lock().bytes();
        place.looked_at = Amount { files: self.engine.log_extent().0 as u64, bytes: before };
        // While it is held no segment is begun in an old one's bytes.
        let _aside = self.shared.log.lock().set_aside()?;
        self.overwrite(&mut place).await?;
        // The first flush ends the round of series that the log's rows are of; the second has all rows of the old segments
        // in tables.
        self.engine.flush().await?;
        let last = self.begin_segment()?;
        self.engine.flush().await?;
        let deadline = self.deadline();
        while self.engine.log_extent().1 <= last {
            if clock::instant() >= deadline {
                let consumers = self.shared.tap.lag();
                let names: Vec<_> = consumers.into_iter().map(|(name, ..)| name).collect();
                let why = format!(
                    "consumers of the log have not passed it ({}): run the job again",
                    names.join(", ")
                );
                place.leave(format!("frames up to {last}"), why);
                break;
            }
            fail::fail_point!("erasure-waits-for-the-log");
            self.shared.tap.want_checkpoints(last);
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
            self.engine.flusher().trim().await?;
            if self.engine.log_extent().1 <= last && self.engine.flusher().published().await < last {
                self.engine.flush().await?;
            }
        }
        fail::fail_point!("erasure-before-overwriting");
        self.overwrite(&mut place).await?;
        Ok(place)
    }

    fn begin_segment(&self) -> Result<FrameNumber> {
        let begun = self.shared.log.lock().begin_segment();
        self.shared.noting_fault(begun)
    }

    /// Overwrites what is set aside, and takes it back.
    async fn overwrite(&self, place: &mut Place) -> Result<()> {
        let shared = self.shared.clone();
        let overwrite = move || {
            let folder = Layout(&shared.config.data_dir).log();
            log::overwrite_aside(&*shared.config.disk, &folder)
        };
        let overwritten = tokio::task::spawn_blocking(overwrite).await;
        let overwritten =
            overwritten.map_err(|error| Error::Internal(format!("overwriting ended badly: {error}")))??;
        place.overwritten =
            Amount::of(overwritten.iter().map(|segment| segment.bytes)).plus(place.overwritten);
        self.shared.log.lock().add_spares(&overwritten)
    }

    /// Forgets series that nothing refers to, and writes the definitions anew.
    pub(super) async fn definitions(&self) -> Result<Place> {
        let mut place = Place::new("definitions");
        let path = Layout(&self.shared.config.data_dir).definitions();
        let size = |path: &Path| self.shared.config.disk.metadata(path).map_or(0, |found| found.bytes);
        let before = size(&path);
        place.looked_at = Amount { files: 1, bytes: before };
        let first = self.engine.log_extent().1;
        let shared = self.shared.clone();
        let renew = move || {
            let forgotten = shared.series.forget_all(first);
            shared.renew_definitions().map(|is_new| (forgotten, is_new))
        };
        let renewed = tokio::task::spawn_blocking(renew).await;
        let (forgotten, is_new) = renewed
            .map_err(|error| Error::Internal(format!("renewing definitions ended badly: {error}")))??;
        place.note(format!("{forgotten} series were forgotten; those that write again get new ids"));
        if is_new {
            place.rewritten = Amount { files: 1, bytes: before };
            let stay = self.shared.series.len();
            let kept = self.shared.series.kept();
            if stay > 0 {
                let why = format!(
                    "their tags stay: rows of them are in memory or in the log, or a request holds them; {kept} are \
                     watched by rules"
                );
                place.keep(format!("{stay} series in {}", path.display()), why);
            }
        } else {
            let why = "some definitions were lost and it keeps their ids from being given again; it holds tags, and no \
                       values of fields";
            place.keep(path.display(), why);
        }
        Ok(place)
    }

    /// Removes copies of damaged segments; the reports of what was lost stay.
    pub(super) fn quarantined_segments(&self) -> Result<Place> {
        let mut place = Place::new("quarantined segments");
        let disk = &*self.shared.config.disk;
        let folder = log::quarantine(&Layout(&self.shared.config.data_dir).log());
        if disk.metadata(&folder).is_err() {
            return Ok(place);
        }
        for name in disk.list(&folder)? {
            let path = folder.join(&name);
            let bytes = disk.metadata(&path)?.bytes;
            place.looked_at = place.looked_at.and(bytes);
            if name.ends_with(".json") {
                place.keep(path.display(), "it says which frames were lost, and nothing of what was in them");
            } else {
                disk.remove(&path)?;
                place.removed = place.removed.and(bytes);
            }
        }
        disk.sync_folder(&folder)?;
        Ok(place)
    }
}
