//! The stream of the quarantine and its index, changed together.
//!
//! Invariants: a change is in the stream, durably, before it is in the index. A line that is kept is in a record that
//! the stream has: records go only after the lines of them that are kept stand in later ones. A
//! damaged record takes its own lines along and no others.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use super::index::{Filter, Index, Place};
use super::line::{KeptLine, LineId};
use super::record::{Change, LEAST_LINE_BYTES};
use crate::error::{Error, Result};
use crate::model::Timestamp;
use crate::stream::{FrozenStream, Reader, RecordNumber, Stream, StreamOptions};

/// Bytes of a segment: what is read to find one line, and the least that is ever given back to the disk.
const SEGMENT_BYTES: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Store {
    stream: Stream,
    index: Index,
    next_id: u64,
    /// Damaged places that were met.
    damages: u64,
    /// Whether bytes of erased lines are left.
    owes_rewriting: bool,
}

impl Store {
    /// Opens the stream in `folder` and reads it through. What is damaged is left out, and so is its place: the rest is
    /// written again.
    pub(super) fn open(folder: &Path, now: Timestamp) -> Result<Self> {
        // What goes, and when, is decided here: the stream by itself keeps everything.
        let options =
            StreamOptions { segment_bytes: SEGMENT_BYTES, max_bytes: u64::MAX, max_age: Duration::MAX };
        let (stream, damages) = Stream::open_tolerant(folder, options)?;
        let reader = stream.read(RecordNumber::START);
        let mut this =
            Self { stream, index: Index::default(), next_id: 1, damages: 0, owes_rewriting: false };
        let met = this.visit(reader, |this, number, change| {
            this.note(&change, number);
            Ok(())
        })?;
        this.note_damages(if met.is_empty() { &damages } else { &met });
        if this.damages > 0 {
            // An id that only a lost record named is not given again (QUAR-1).
            this.next_id = this.next_id.saturating_add(this.stream.bytes() / LEAST_LINE_BYTES as u64);
            // A full disk is no reason not to start; the next start finds the damage again.
            if let Err(error) = this.rewrite(now) {
                tracing::warn!(%error, "the quarantine could not be written again without what is damaged");
            }
        }
        Ok(this)
    }

    /// How many damaged places were met.
    pub(super) fn damages(&self) -> u64 {
        self.damages
    }

    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    pub(super) fn stream_bytes(&self) -> u64 {
        self.stream.bytes()
    }

    #[cfg(test)]
    pub(super) fn last_record(&self) -> u64 {
        self.stream.last().get()
    }

    pub(super) fn freeze(&self) -> Result<FrozenStream> {
        self.stream.freeze()
    }

    /// Keeps lines, each with a new id. They are durable on return.
    pub(super) fn keep(&mut self, lines: Vec<KeptLine>, now: Timestamp) -> Result<Vec<LineId>> {
        let next_id = self.next_id + lines.len() as u64;
        let ids: Vec<LineId> = (self.next_id..next_id).map(LineId::new).collect();
        let kept = ids.iter().copied().zip(lines).collect();
        self.append(&Change { next_id, gone: Vec::new(), kept }, now)?;
        Ok(ids)
    }

    /// Removes lines and puts others in their places; what is not there any more is left out. Returns how many went.
    pub(super) fn change(
        &mut self,
        mut gone: Vec<LineId>,
        mut changed: Vec<(LineId, KeptLine)>,
        now: Timestamp,
    ) -> Result<usize> {
        gone.retain(|id| self.index.get(*id).is_some());
        changed.retain(|(id, _)| self.index.get(*id).is_some());
        changed.sort_by_key(|(id, _)| *id);
        let count = gone.len();
        if count > 0 || !changed.is_empty() {
            self.append(&Change { next_id: self.next_id, gone, kept: changed }, now)?;
        }
        Ok(count)
    }

    /// Removes lines whose bytes must go with the next [`rewrite`](Self::rewrite). Returns how many went.
    pub(super) fn erase(&mut self, ids: Vec<LineId>, now: Timestamp) -> Result<usize> {
        let count = self.change(ids, Vec::new(), now)?;
        self.owes_rewriting |= count > 0;
        Ok(count)
    }

    /// Whether bytes of erased lines are left.
    pub(super) fn owes_rewriting(&self) -> bool {
        self.owes_rewriting
    }

    /// Reads lines; those that are not there, or cannot be read any more, are left out.
    pub(super) fn read(&mut self, ids: &[LineId]) -> Result<Vec<(LineId, KeptLine)>> {
        let mut cursor = Cursor::default();
        let mut lines = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(record) = self.index.get(*id).map(|place| place.record) else { continue };
            let change = match cursor.change(&self.stream, record) {
                Err(damage @ Error::Damaged(_)) => {
                    self.note_damages(&[damage]);
                    self.lose(|place| place.record == record);
                    continue;
                }
                change => change?,
            };
            let found = change.kept.binary_search_by_key(id, |(id, _)| *id);
            let line = found.ok().and_then(|at| change.kept.get(at));
            lines.push(line.cloned().ok_or_else(|| {
                Error::Internal(format!("record {record} of the quarantine lacks line {id}"))
            })?);
        }
        Ok(lines)
    }

    /// The ids of the lines that `covers` accepts, read from the disk, and whether anything is damaged. The lines of a
    /// damaged record have gone on return.
    pub(super) fn find(&mut self, covers: impl Fn(&KeptLine) -> bool) -> Result<(Vec<LineId>, bool)> {
        let (mut found, mut readable) = (Vec::new(), HashSet::new());
        let damages = self.visit(self.stream.read(RecordNumber::START), |this, number, change| {
            readable.insert(number);
            for (id, line) in change.kept {
                if this.index.get(id).is_some_and(|place| place.record == number) && covers(&line) {
                    found.push(id);
                }
            }
            Ok(())
        })?;
        self.note_damages(&damages);
        if !damages.is_empty() {
            self.lose(|place| !readable.contains(&place.record));
        }
        Ok((found, !damages.is_empty()))
    }

    /// Takes out what is too old, and returns whether anything was.
    pub(super) fn expire(&mut self, now: Timestamp, max_age: Duration) -> bool {
        self.index.expire(now, max_age)
    }

    /// Whether more than half of the stream is of lines that have gone.
    pub(super) fn is_worth_rewriting(&self) -> bool {
        self.stream.bytes() > 2 * self.index.bytes() + 2 * SEGMENT_BYTES
    }

    /// Writes what is kept again and removes what was written before: no bytes of other lines remain.
    pub(super) fn rewrite(&mut self, now: Timestamp) -> Result<()> {
        let (old, before) = (self.stream.read(RecordNumber::START), self.stream.last());
        self.stream.begin_segment()?;
        let mut moved: Vec<(LineId, Place)> = Vec::with_capacity(self.index.len());
        let damages = self.visit(old, |this, number, mut change| {
            change.kept.retain(|(id, _)| this.index.get(*id).is_some_and(|place| place.record == number));
            if change.kept.is_empty() {
                return Ok(());
            }
            change.gone.clear();
            change.next_id = this.next_id;
            let number = this.stream.append(&change.encode()?, now)?;
            moved.extend(change.kept.iter().map(|(id, line)| (*id, Place::new(number, line))));
            Ok(())
        })?;
        if moved.is_empty() {
            // Ids go on where they were.
            let change = Change { next_id: self.next_id, ..Change::default() };
            self.stream.append(&change.encode()?, now)?;
        }
        for (id, place) in moved {
            self.index.put(id, place);
        }
        if self.lose(|place| place.record <= before) > 0 {
            self.note_damages(&damages);
        }
        fail::fail_point!("quarantine-before-remove");
        self.stream.remove_before(before.next())?;
        self.owes_rewriting = false;
        Ok(())
    }

    /// Visits records in their order. Returns what is damaged between them.
    fn visit(
        &mut self,
        records: Reader,
        mut visit: impl FnMut(&mut Self, RecordNumber, Change) -> Result<()>,
    ) -> Result<Vec<Error>> {
        let mut damages = Vec::new();
        for record in records {
            match record.and_then(|record| Ok((record.number, Change::decode(record.payload)?))) {
                Ok((number, change)) => visit(self, number, change)?,
                Err(damage @ Error::Damaged(_)) => damages.push(damage),
                Err(error) => return Err(error),
            }
        }
        Ok(damages)
    }

    fn note_damages(&mut self, damages: &[Error]) {
        self.damages += damages.len() as u64;
        for damage in damages {
            tracing::error!(error = %damage, "a part of the quarantine cannot be read: its lines are lost, the others are not");
        }
    }

    /// Takes lines out that cannot be read any more. Returns how many.
    fn lose(&mut self, is_lost: impl Fn(&Place) -> bool) -> usize {
        let lost = self.index.take(is_lost);
        if lost > 0 {
            tracing::error!(lines = lost, "lines of the quarantine are lost");
        }
        lost
    }

    fn append(&mut self, change: &Change, now: Timestamp) -> Result<()> {
        let number = self.stream.append(&change.encode()?, now)?;
        self.note(change, number);
        Ok(())
    }

    fn note(&mut self, change: &Change, number: RecordNumber) {
        self.next_id = self.next_id.max(change.next_id);
        for id in &change.gone {
            self.index.remove(*id);
        }
        for (id, line) in &change.kept {
            self.index.put(*id, Place::new(number, line));
        }
    }

    /// The ids of the lines that are meant, from the one after `after` on: at most `limit`, and at most `bytes` but
    /// for the first.
    pub(super) fn ids(
        &self,
        filter: &Filter,
        after: Option<LineId>,
        (limit, bytes): (usize, u64),
    ) -> Vec<LineId> {
        let mut sum = 0;
        let meant = self.index.meant(filter, after).take(limit).take_while(|(_, place)| {
            let is_first = sum == 0;
            sum += place.charge;
            is_first || sum <= bytes
        });
        meant.map(|(id, _)| id).collect()
    }
}

/// Reads records, mostly in their order.
#[derive(Default)]
struct Cursor {
    reader: Option<Reader>,
    at: Option<(RecordNumber, Change)>,
}

impl Cursor {
    fn change(&mut self, stream: &Stream, wanted: RecordNumber) -> Result<&Change> {
        let at = self.at.as_ref().map(|(number, _)| *number);
        if at != Some(wanted) {
            if at.is_none_or(|at| at > wanted) {
                self.reader = None;
            }
            self.at = None;
            let position = RecordNumber::new(wanted.get().saturating_sub(1));
            let reader = self.reader.get_or_insert_with(|| stream.read(position));
            // Damage before it is that of others.
            let found = reader.find(|record| match record {
                Ok(record) => record.number >= wanted,
                Err(error) => !matches!(error, Error::Damaged(_)),
            });
            let damaged = || Error::Damaged(format!("record {wanted} of the quarantine is damaged"));
            let found = found.unwrap_or_else(|| Err(damaged()));
            let found =
                found.and_then(|record| if record.number == wanted { Ok(record) } else { Err(damaged()) });
            let change = found.and_then(|record| Change::decode(record.payload));
            self.at = Some((wanted, change.inspect_err(|_| self.reader = None)?));
        }
        self.at.as_ref().map(|(_, change)| change).ok_or_else(|| Error::Internal("no record was read".into()))
    }
}
