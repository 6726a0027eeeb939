//! What is kept, in memory: where each line is, and what it is found by.
//!
//! Invariant: it says what the records of the stream say, in their order.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use super::line::{KeptLine, LineId};
use crate::model::Timestamp;
use crate::stream::RecordNumber;

/// Which lines are meant. Every part that is there must hold.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// The database they were for.
    pub database: Option<String>,
    /// The word for why they were refused.
    pub reason: Option<String>,
    /// They came then or later.
    pub since: Option<Timestamp>,
}

/// A line in the index.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) record: RecordNumber,
    pub(super) charge: u64,
    received_at: Timestamp,
    database: Box<str>,
    reason: Box<str>,
}

impl Place {
    pub(super) fn new(record: RecordNumber, line: &KeptLine) -> Self {
        Self {
            record,
            charge: line.charge(),
            received_at: line.received_at,
            database: line.database.clone(),
            reason: line.reason.clone(),
        }
    }

    fn is_meant(&self, filter: &Filter) -> bool {
        filter.database.as_deref().is_none_or(|database| database == &*self.database)
            && filter.reason.as_deref().is_none_or(|reason| reason == &*self.reason)
            && filter.since.is_none_or(|since| self.received_at >= since)
    }
}

#[derive(Debug, Default)]
pub(super) struct Index {
    places: BTreeMap<LineId, Place>,
    bytes: u64,
}

impl Index {
    /// Puts a line in; one with its id goes.
    pub(super) fn put(&mut self, id: LineId, place: Place) {
        self.remove(id);
        self.bytes += place.charge;
        self.places.insert(id, place);
    }

    pub(super) fn remove(&mut self, id: LineId) -> bool {
        let gone = self.places.remove(&id);
        self.bytes -= gone.as_ref().map_or(0, |place| place.charge);
        gone.is_some()
    }

    /// Takes out the lines of such places; returns how many.
    pub(super) fn take(&mut self, is_meant: impl Fn(&Place) -> bool) -> usize {
        let before = self.places.len();
        let bytes = &mut self.bytes;
        self.places.retain(|_, place| {
            let stays = !is_meant(place);
            *bytes -= if stays { 0 } else { place.charge };
            stays
        });
        before - self.places.len()
    }

    /// Whether any line is of this database.
    pub(super) fn has_any_of(&self, database: &str) -> bool {
        self.places.values().any(|place| *place.database == *database)
    }

    pub(super) fn get(&self, id: LineId) -> Option<&Place> {
        self.places.get(&id)
    }

    /// Lines that are meant, in the order of their ids, with an id above `after`.
    pub(super) fn meant<'a>(
        &'a self,
        filter: &'a Filter,
        after: Option<LineId>,
    ) -> impl Iterator<Item = (LineId, &'a Place)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.places.range((from, Bound::Unbounded));
        rest.filter(|(_, place)| place.is_meant(filter)).map(|(id, place)| (*id, place))
    }

    /// Takes out the lines that came before `oldest`, from the first on; returns whether any went.
    pub(super) fn expire(&mut self, now: Timestamp, max_age: Duration) -> bool {
        let age = i64::try_from(max_age.as_nanos()).unwrap_or(i64::MAX);
        let oldest = now.nanos().saturating_sub(age);
        let before = self.places.len();
        while let Some(first) = self.places.first_entry().filter(|e| e.get().received_at.nanos() < oldest) {
            self.bytes -= first.get().charge;
            first.remove();
        }
        self.places.len() < before
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}
