//! The stream of the quarantine and its index, changed together.
//!
//! Invariants: a change is in the stream, durably, before it is in the index. A line that is kept is in a record that
//! the stream has: records go only after the lines of them that are kept stand in later ones.

use std::path::Path;
use std::time::Duration;

use super::index::{Filter, Index, Place};
use super::line::{KeptLine, LineId};
use super::record::Change;
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
}

impl Store {
    /// Opens the stream in `folder` and reads it through.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        // What goes, and when, is decided here: the stream by itself keeps everything.
        let options =
            StreamOptions { segment_bytes: SEGMENT_BYTES, max_bytes: u64::MAX, max_age: Duration::MAX };
        let mut this = Self { stream: Stream::open(folder, options)?, index: Index::default(), next_id: 1 };
        for record in this.stream.read(RecordNumber::START) {
            let record = record?;
            this.note(&Change::decode(record.payload)?, record.number);
        }
        Ok(this)
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

    /// Reads lines; those that are not there are left out.
    pub(super) fn read(&self, ids: &[LineId]) -> Result<Vec<(LineId, KeptLine)>> {
        let mut cursor = Cursor { stream: &self.stream, reader: None, at: None };
        let mut lines = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(place) = self.index.get(*id) else { continue };
            let change = cursor.change(place.record)?;
            let found = change.kept.binary_search_by_key(id, |(id, _)| *id);
            let line = found.ok().and_then(|at| change.kept.get(at));
            lines.push(line.cloned().ok_or_else(|| {
                Error::Internal(format!("record {} of the quarantine lacks line {id}", place.record))
            })?);
        }
        Ok(lines)
    }

    /// The ids of the lines that `covers` accepts, read from the disk.
    pub(super) fn find(&self, covers: impl Fn(&KeptLine) -> bool) -> Result<Vec<LineId>> {
        let mut found = Vec::new();
        for record in self.stream.read(RecordNumber::START) {
            let record = record?;
            for (id, line) in Change::decode(record.payload)?.kept {
                if self.index.get(id).is_some_and(|place| place.record == record.number) && covers(&line) {
                    found.push(id);
                }
            }
        }
        Ok(found)
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
        for record in old {
            let record = record?;
            let is_kept = |id: LineId| self.index.get(id).is_some_and(|place| place.record == record.number);
            let mut change = Change::decode(record.payload)?;
            change.kept.retain(|(id, _)| is_kept(*id));
            if change.kept.is_empty() {
                continue;
            }
            change.gone.clear();
            change.next_id = self.next_id;
            let number = self.stream.append(&change.encode()?, now)?;
            moved.extend(change.kept.iter().map(|(id, line)| (*id, Place::new(number, line))));
        }
        if moved.is_empty() {
            // Ids go on where they were.
            let change = Change { next_id: self.next_id, ..Change::default() };
            self.stream.append(&change.encode()?, now)?;
        }
        for (id, place) in moved {
            self.index.put(id, place);
        }
        fail::fail_point!("quarantine-before-remove");
        self.stream.remove_before(before.next())
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
struct Cursor<'a> {
    stream: &'a Stream,
    reader: Option<Reader>,
    at: Option<(RecordNumber, Change)>,
}

impl Cursor<'_> {
    fn change(&mut self, wanted: RecordNumber) -> Result<&Change> {
        let at = self.at.as_ref().map(|(number, _)| *number);
        if at != Some(wanted) {
            if at.is_none_or(|at| at > wanted) {
                self.reader = None;
            }
            let position = RecordNumber::new(wanted.get().saturating_sub(1));
            let reader = self.reader.get_or_insert_with(|| self.stream.read(position));
            let found = reader.find(|record| record.as_ref().map_or(true, |record| record.number == wanted));
            let missing = || Error::Internal(format!("the quarantine lacks its record {wanted}"));
            self.at = Some((wanted, Change::decode(found.ok_or_else(missing)??.payload)?));
        }
        self.at.as_ref().map(|(_, change)| change).ok_or_else(|| Error::Internal("no record was read".into()))
    }
}
