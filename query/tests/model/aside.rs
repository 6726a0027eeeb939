//! Lines in the quarantine: kept, stored later where they are missing, dropped, and erased with the rows of their points.
//!
//! The quarantine lies on a real disk, which does not fail: here it is what the engine makes of its lines that counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use storage::clock;
use storage::disk::LocalDisk;
use storage::log::{EncodedBatch, encode_batch};
use storage::model::{TimeRange, Timestamp, WriteBatch};
use storage::quarantine::{Erasure, Filter, KeptLine, LineId, Quarantine, QuarantineConfig};

use super::check;
use super::lines::{self, Line};
use super::operation::Deletion;
use super::sent::Sent;
use super::traces::{self, Traces};
use super::world::{DATABASE, World};

/// The quarantine, and what must be in it.
#[derive(Default)]
pub(crate) struct Aside {
    /// Opened when it is first needed.
    quarantine: Option<Arc<Quarantine>>,
    lines: BTreeMap<LineId, Line>,
    /// Texts of lines that deletes have erased.
    erased: Traces,
}

impl Aside {
    /// The process ends.
    pub(crate) fn close(&mut self) {
        self.quarantine = None;
    }
}

fn kept(line: &Line) -> KeptLine {
    KeptLine {
        received_at: clock::now(),
        database: DATABASE.into(),
        table: Some(line.table.as_str().into()),
        tags: line.tags.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect(),
        time: Some(Timestamp::from_nanos(line.time)),
        reason: "type_conflict".into(),
        detail: Box::default(),
        protocol: "v1".into(),
        precision: "ns".into(),
        form: "line".into(),
        content: format!("{line:?}").into(),
    }
}

impl World {
    /// The quarantine, if it was ever used, or if it is now.
    fn quarantine(&mut self, is_used: bool) -> Option<Arc<Quarantine>> {
        if self.aside.quarantine.is_none() && (is_used || !self.aside.lines.is_empty()) {
            let opened = Quarantine::open(&self.aside_folder(), QuarantineConfig::default());
            self.aside.quarantine = Some(opened.unwrap());
        }
        self.aside.quarantine.clone()
    }

    /// Lines are kept.
    pub(super) async fn set_aside(&mut self, lines: &[Line]) -> Result<(), String> {
        let Some(quarantine) = self.quarantine(true) else { return Ok(()) };
        let ids = quarantine.keep(lines.iter().map(kept).collect()).await;
        self.count("lines kept");
        self.aside.lines.extend(ids.into_iter().map(Result::unwrap).zip(lines.iter().cloned()));
        self.aside_agrees().await
    }

    /// The oldest lines are dropped.
    pub(super) async fn drop_aside(&mut self, count: usize) -> Result<(), String> {
        let Some(quarantine) = self.quarantine(false) else { return Ok(()) };
        let ids: Vec<LineId> = self.aside.lines.keys().take(count).copied().collect();
        quarantine.change(ids.clone(), Vec::new()).await.unwrap();
        self.aside.lines.retain(|id, _| !ids.contains(id));
        self.aside_agrees().await
    }

    /// The oldest lines are stored where their points lack them.
    pub(super) async fn replay(&mut self, count: usize) -> Result<(), String> {
        let Some(quarantine) = self.quarantine(false) else { return Ok(()) };
        let turn = quarantine.replay_turn().await.unwrap();
        let (ids, lines): (Vec<LineId>, Vec<Line>) =
            self.aside.lines.iter().take(count).map(|(id, line)| (*id, line.clone())).unzip();
        if lines.is_empty() {
            return Ok(());
        }
        let lines = self.fitting(&lines);
        let batch = lines::batch(DATABASE, &lines, self.engine().catalog(), self.engine().series());
        let missing = self.engine().missing(WriteBatch::clone(&batch.batch)).await;
        let (left, as_of) = match missing {
            Ok(missing) => missing.into_parts(),
            Err(error) => {
                check::settle(self.engine()).await;
                return self.excuse("replay", Err(error));
            }
        };
        assert!(self.committer().still_misses(&left, &as_of), "nobody else writes");
        drop(as_of);
        check::settle(self.engine()).await;
        let batch = EncodedBatch { pin: batch.pin, ..encode_batch(left).unwrap() };
        self.count("lines replayed");
        if self.write_batch(batch, Sent::Lines(self.reference.missing(&lines)))? {
            quarantine.change(ids.clone(), Vec::new()).await.unwrap();
            self.aside.lines.retain(|id, _| !ids.contains(id));
        }
        drop(turn);
        self.aside_agrees().await
    }

    /// Rows are deleted, and then lines of such rows erased.
    pub(super) async fn delete(&mut self, deletion: &Deletion) -> Result<(), String> {
        self.count("delete");
        let Some(quarantine) = self.quarantine(false) else {
            return self.write(Sent::Deletion(deletion.clone())).map(|_| ());
        };
        let turn = quarantine.between_replays().await;
        if !self.write(Sent::Deletion(deletion.clone()))? {
            return Ok(());
        }
        let (from, to) = deletion.times;
        let erasure = Erasure {
            database: DATABASE.into(),
            table: deletion.table.as_deref().map(Into::into),
            tags: deletion.tags.clone(),
            times: TimeRange::new(Timestamp::from_nanos(from), Timestamp::from_nanos(to)),
        };
        let count = quarantine.erase(&turn, erasure).await.unwrap();
        drop(turn);
        let Aside { lines, erased, .. } = &mut self.aside;
        let before = lines.len();
        lines.retain(|_, line| {
            let tags = line.tags.iter().cloned().collect();
            let stays = !deletion.covers(&line.table, line.time, &tags);
            if !stays {
                erased.write(line);
            }
            stays
        });
        erased.delete(deletion);
        erased.erase();
        if before - lines.len() != count {
            return Err(format!("a delete erased {count} kept lines and not {}", before - lines.len()));
        }
        self.aside_agrees().await
    }

    /// No bytes but those of kept lines are left.
    pub(super) async fn aside_is_rewritten(&mut self) -> Result<(), String> {
        let Some(quarantine) = self.quarantine(false) else { return Ok(()) };
        quarantine.rewrite().await.unwrap();
        let expected: BTreeSet<String> = self.aside.lines.values().flat_map(traces::texts).collect();
        let found = traces::all_in(&LocalDisk, &self.aside_folder());
        if found == expected { Ok(()) } else { Err(format!("kept texts are {found:?} and not {expected:?}")) }
    }

    /// What is kept is what must be, and nothing of what was erased.
    async fn aside_agrees(&mut self) -> Result<(), String> {
        let Some(quarantine) = self.quarantine(false) else { return Ok(()) };
        let page = quarantine.page(Filter::default(), None, (usize::MAX, u64::MAX)).await.unwrap();
        let found: Vec<_> = page.into_iter().map(|(id, line)| (id, line.content)).collect();
        let expected: Vec<(LineId, Bytes)> =
            self.aside.lines.iter().map(|(id, line)| (*id, format!("{line:?}").into())).collect();
        if found != expected {
            return Err(format!("kept lines are {found:?} and not {expected:?}"));
        }
        self.aside.erased.check(&LocalDisk, &self.aside_folder())
    }
}
