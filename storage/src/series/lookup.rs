//! Looking series up, on a source's own task. Whoever has an id has a pin: there is no other way to get one.

use std::sync::atomic::Ordering;

use parking_lot::RwLock;

use super::{SHARDS, SeriesIndex, SeriesPin, SeriesRef, shard_of};
use crate::catalog::Definition;
use crate::error::{Error, Result};
use crate::model::{SeriesId, TableId};

/// So many spellings are worth the locks of all shards.
const WORTH_ALL_SHARDS: usize = SHARDS / 2;

/// The series of one database, for as long as a batch is made of them. Its [pin](Self::into_pin) must go with the
/// batch.
#[derive(Debug)]
pub struct SeriesLookup<'a> {
    index: &'a SeriesIndex,
    pin: SeriesPin,
    database: &'a str,
    /// The database's number; none before a spelling of it is remembered.
    number: Option<u16>,
}

impl<'a> SeriesLookup<'a> {
    pub(super) fn new(index: &'a SeriesIndex, database: &'a str) -> Self {
        let number = index.databases.read().get(database).copied();
        Self { index, pin: index.pin(), database, number }
    }

    /// What keeps the series that were found.
    #[must_use]
    pub fn into_pin(self) -> SeriesPin {
        self.pin
    }

    /// The series that this raw spelling meant before.
    #[must_use]
    pub fn by_spelling(&self, raw: &[u8]) -> Option<SeriesRef> {
        let database = self.number?;
        let hash = self.index.hash_spelling(database, raw);
        let shard = self.index.aliases.get(shard_of(hash))?.read();
        shard.find(hash, database, raw, self.index.rounds.current())
    }

    /// As [`by_spelling`](Self::by_spelling), of some spellings that are looked up together: fills `found` with what each
    /// of them means. The index is larger than any fast cache, and one look-up after the other would wait for memory.
    pub fn by_spellings<'r>(
        &self,
        spellings: impl Iterator<Item = Option<&'r [u8]>>,
        found: &mut Vec<Option<SeriesRef>>,
    ) {
        found.clear();
        let are_few = spellings.size_hint().1.is_some_and(|most| most < WORTH_ALL_SHARDS);
        // Locks stand before all look-ups, because the processor waits for all memory before it takes one. None is waited
        // for while others are held.
        let shards = (!are_few).then(|| self.index.aliases.each_ref().map(RwLock::try_read));
        let (Some(database), Some(shards)) = (self.number, shards.filter(|s| s.iter().all(Option::is_some)))
        else {
            found.extend(spellings.map(|raw| self.by_spelling(raw?)));
            return;
        };
        let round = self.index.rounds.current();
        found.extend(spellings.map(|raw| {
            let hash = self.index.hash_spelling(database, raw?);
            shards.get(shard_of(hash))?.as_ref()?.find(hash, database, raw?, round)
        }));
    }

    /// Remembers that a raw spelling means a series.
    pub fn remember(&self, raw: &[u8], series: SeriesRef) {
        // Only here, because a name that nothing was ever stored under shall take no memory.
        let Some(database) = self.number.or_else(|| self.index.number_of(self.database)) else { return };
        let hash = self.index.hash_spelling(database, raw);
        let Some(shard) = self.index.aliases.get(shard_of(hash)) else { return };
        let mut shard = shard.write();
        // A client that spells its series in ever new ways must not take the room of the series themselves.
        if shard.memory_bytes() > self.index.max_bytes / (2 * SHARDS) {
            let slots = self.index.slots.read();
            shard.clear(|id, used| slots.touch(id, used));
        }
        shard.insert(hash, database, raw, series, self.index.rounds.current());
    }

    /// The series with this canonical key, made if it is new.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`] when the index is full.
    pub fn resolve(&self, table: TableId, key: &[u8]) -> Result<SeriesRef> {
        let index = self.index;
        let hash = index.hash_key(table, key);
        if let Some(series) = index.find(hash, table, key) {
            return Ok(series);
        }
        let mut births = index.births.lock();
        if let Some(series) = index.find(hash, table, key) {
            return Ok(series);
        }
        if index.is_full() {
            index.refuses.store(true, Ordering::Relaxed);
            return Err(Error::LimitExceeded(format!(
                "this node has {} series in use and no memory for more; use fewer tag values, or raise write.series_bytes",
                index.len()
            )));
        }
        let id = index.free_id(births.next);
        births.next = id.wrapping_add(1);
        let id = SeriesId::new(id);
        index.definitions.push(Definition::Series { id, table, key: key.into() });
        index.insert(hash, id, table, key);
        Ok(SeriesRef { id, table })
    }
}
