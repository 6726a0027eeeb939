//! Looking series up, on a source's own task. Whoever has an id has a pin: there is no other way to get one.

use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::aliases::Cursor;
use super::{SeriesIndex, SeriesKey, SeriesPin, SeriesRef, Slot};
use crate::catalog::Definition;
use crate::error::{Error, Result};
use crate::model::{SeriesId, TableId};

/// Series that are made under one hold of the locks.
const BORN_TOGETHER: usize = 128;

/// Spellings that are looked up together without memory for them.
const LOOKED_UP_TOGETHER: usize = 64;

/// Spellings that are added under one hold of the lock.
const REMEMBERED_TOGETHER: usize = 1_024;

/// The series of one database, for as long as a batch is made of them. Its [pin](Self::into_pin) must go with the
/// batch.
#[derive(Debug)]
pub struct SeriesLookup<'a> {
    index: &'a SeriesIndex,
    pin: SeriesPin,
    database: &'a str,
    /// The database's number; none before a spelling of it is remembered.
    number: Option<u16>,
    /// The spelling that was found last.
    cursor: Option<Cursor>,
}

impl<'a> SeriesLookup<'a> {
    pub(super) fn new(index: &'a SeriesIndex, database: &'a str) -> Self {
        let number = index.databases.load().get(database).copied();
        Self { index, pin: index.pin(), database, number, cursor: None }
    }

    /// What keeps the series that were found.
    #[must_use]
    pub fn into_pin(self) -> SeriesPin {
        self.pin
    }

    /// The series that this raw spelling meant before.
    #[must_use]
    pub fn by_spelling(&self, raw: &[u8]) -> Option<SeriesRef> {
        let spelling = self.index.spelling(self.number?, raw);
        self.index.aliases.read().find(spelling, self.pin.round()).map(|(series, _)| series)
    }

    /// As [`by_spelling`](Self::by_spelling), of some spellings, of which an empty one means nothing: adds to `found` what
    /// each of them means. The index is larger than any fast cache, and together they wait for memory once.
    pub fn by_spellings<'r>(
        &mut self,
        spellings: impl Iterator<Item = &'r [u8]>,
        found: &mut Vec<Option<SeriesRef>>,
    ) {
        let Some(database) = self.number else {
            found.extend(spellings.map(|_| None));
            return;
        };
        let spelled: SmallVec<[_; LOOKED_UP_TOGETHER]> =
            spellings.map(|raw| self.index.spelling(database, raw)).collect();
        let (reader, round) = (self.index.aliases.read(), self.pin.round());
        reader.find_all(&spelled, round, |series| {
            self.cursor = series.map(|(_, cursor)| cursor).or(self.cursor);
            found.push(series.map(|(series, _)| series));
        });
    }

    /// The series of some lines and the lengths of their spellings, added to `found`, up to the first line whose series is
    /// not the one that came to be known behind that of the line before. Whoever writes mostly writes in one order.
    pub fn follow<'l>(&mut self, lines: impl Iterator<Item = &'l [u8]>, found: &mut Vec<(SeriesRef, usize)>) {
        let (Some(database), Some(mut cursor)) = (self.number, self.cursor) else { return };
        let (reader, round) = (self.index.aliases.read(), self.pin.round());
        found.extend(lines.map_while(|line| {
            let (series, length, next) = reader.follow(cursor, database, line, round)?;
            cursor = next;
            Some((series, length))
        }));
        self.cursor = Some(cursor);
    }

    /// Remembers what raw spellings mean: each is what stands before the first space of a line that no backslash escapes.
    /// They stay together in this order, to be [followed](Self::follow).
    pub fn remember(&mut self, spellings: &[(&[u8], SeriesRef)]) {
        debug_assert!(
            spellings.iter().all(|(raw, _)| is_cut(raw)),
            "a space or a backslash would hide its end"
        );
        // Only here, because a name that nothing was ever stored under shall take no memory.
        if spellings.is_empty() {
            return;
        }
        self.number = self.number.or_else(|| self.index.number_of(self.database));
        let Some(database) = self.number else { return };
        let aliases = &self.index.aliases;
        let (round, max_bytes) = (self.index.rounds.current(), self.index.max_bytes / 2);
        for some in spellings.chunks(REMEMBERED_TOGETHER) {
            let spelled = some.iter().map(|(raw, series)| (self.index.spelling(database, raw), *series));
            let spelled: Vec<_> = spelled.collect();
            let mut left = aliases.insert(&spelled, round, max_bytes);
            // A client that spells its series in ever new ways must not take the room of the series themselves.
            while !left.is_empty() {
                aliases.clear_above(max_bytes, |uses| self.index.touch_all(&uses));
                left = aliases.insert(left, round, max_bytes);
            }
        }
    }

    /// The series with this canonical key, made if it is new.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`] when the index is full.
    pub fn resolve(&self, table: TableId, key: &[u8]) -> Result<SeriesRef> {
        let mut found = Vec::with_capacity(1);
        self.resolve_all(&[(table, key)], &mut found)?;
        found.pop().ok_or_else(|| Error::Internal("a series was not resolved".into()))
    }

    /// The series with these canonical keys, in their order added to `found`, made if they are new.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`] when the index is full; `found` has those before.
    pub fn resolve_all(&self, keys: &[(TableId, &[u8])], found: &mut Vec<SeriesRef>) -> Result<()> {
        keys.chunks(BORN_TOGETHER).try_for_each(|some| self.index.resolve(some, found))
    }
}

impl SeriesIndex {
    fn resolve(&self, keys: &[(TableId, &[u8])], found: &mut Vec<SeriesRef>) -> Result<()> {
        let hashes: SmallVec<[u32; BORN_TOGETHER]> =
            keys.iter().map(|(table, key)| self.hash_key(*table, key)).collect();
        if self.find_all(keys, &hashes, found) {
            return Ok(());
        }
        let mut definitions = Vec::new();
        let mut births = self.births.lock();
        let (mut by_key, mut slots) = (self.by_key.write(), self.slots.write());
        let round = self.rounds.current();
        let is_full = self.is_full();
        let result = keys.iter().zip(hashes).try_for_each(|((table, key), hash)| {
            let table = *table;
            if let Some(id) = slots.find(&by_key, hash, table, key) {
                slots.touch(id, round);
                found.push(SeriesRef { id: SeriesId::new(id), table });
                return Ok(());
            }
            if is_full {
                return Err(self.refuse(slots.count));
            }
            let id = slots.free_id(births.next);
            births.next = id.wrapping_add(1);
            let key = SeriesKey::from_bytes(key);
            definitions.push(Definition::Series { id: SeriesId::new(id), table, key: key.clone() });
            by_key.insert(hash, id);
            slots.insert(id, Slot { key, table, used: round.into() });
            found.push(SeriesRef { id: SeriesId::new(id), table });
            Ok(())
        });
        let born = definitions.len();
        // Before others can see them.
        self.definitions.extend(definitions);
        drop((births, by_key, slots));
        self.count_births(born);
        result
    }

    /// Adds the series with these keys to `found`, if all are known.
    fn find_all(&self, keys: &[(TableId, &[u8])], hashes: &[u32], found: &mut Vec<SeriesRef>) -> bool {
        let (by_key, slots) = (self.by_key.read(), self.slots.read());
        let round = self.rounds.current();
        let before = found.len();
        // Each is looked for, also when one is new: then they are at hand when it is made.
        for ((table, key), hash) in keys.iter().zip(hashes) {
            if let Some(id) = slots.find(&by_key, *hash, *table, key) {
                slots.touch(id, round);
                found.push(SeriesRef { id: SeriesId::new(id), table: *table });
            }
        }
        let are_known = found.len() - before == keys.len();
        if !are_known {
            found.truncate(before);
        }
        are_known
    }

    fn refuse(&self, series: usize) -> Error {
        self.refuses.store(true, Ordering::Relaxed);
        Error::LimitExceeded(format!(
            "this node has {series} series in use and no memory for more; use fewer tag values, or raise write.series_bytes"
        ))
    }
}

/// Whether this is a whole spelling: nothing in it ends it, and what follows it is not escaped.
fn is_cut(raw: &[u8]) -> bool {
    let mut is_escaped = false;
    for byte in raw {
        if *byte == b' ' && !is_escaped {
            return false;
        }
        is_escaped = *byte == b'\\' && !is_escaped;
    }
    !is_escaped
}
