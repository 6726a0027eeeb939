//! The series index: which series there are, and which raw spellings mean them.
//!
//! The *canonical key* of a series ([`SeriesKey`]) alone decides identity (KEY-1).
//! A *raw spelling* is what stood before the first field of a line (`cpu,host=a`); it is an alias that saves
//! the next line with the same bytes from being parsed.
//!
//! Invariants:
//! - a series is queued as a definition before its id is visible (KEY-3);
//! - ids are given in order and not reused (KEY-2); at [`limits::SERIES`] new series are refused;
//! - aliases are a cache: when there are more than [`MAX_ALIASES_PER_SHARD`] in a shard they are dropped.

mod key;
#[cfg(test)]
mod tests;

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::quality::FixedState;
use hashbrown::HashTable;
use parking_lot::{Mutex, RwLock};

pub use key::{SeriesKey, canonical_key};

use crate::catalog::{Definition, DefinitionQueue};
use crate::error::{Error, Result};
use crate::limits;
use crate::model::{SeriesId, TableId};

/// Shards of each map: enough that sources on a few cores rarely meet.
const SHARDS: usize = 16;

/// Raw spellings kept per shard. Clients spell a series one way, or a few: twice the series limit is ample.
const MAX_ALIASES_PER_SHARD: usize = 2 * limits::SERIES / SHARDS;

/// One series.
#[derive(Debug, PartialEq, Eq)]
pub struct Series {
    /// Its id.
    pub id: SeriesId,
    /// The table that it belongs to.
    pub table: TableId,
    key: SeriesKey,
}

impl Series {
    /// The tags that the series has: position in the table's schema, and value, in order of position.
    pub fn tags(&self) -> impl Iterator<Item = (usize, &str)> {
        self.key.tags()
    }

    /// The value of the tag at this position, if the series has it.
    #[must_use]
    pub fn tag(&self, position: usize) -> Option<&str> {
        self.key.tag(position)
    }

    /// The canonical key.
    #[must_use]
    pub fn key(&self) -> &SeriesKey {
        &self.key
    }
}

/// All series of this node, found by canonical key, by raw spelling, or by id.
#[derive(Debug)]
pub struct SeriesIndex {
    hasher: FixedState,
    keys: [RwLock<HashTable<Arc<Series>>>; SHARDS],
    aliases: [RwLock<HashTable<Alias>>; SHARDS],
    by_id: RwLock<Vec<Option<Arc<Series>>>>,
    births: Mutex<()>,
    definitions: Arc<DefinitionQueue>,
}

#[derive(Debug)]
struct Alias {
    database: Arc<str>,
    raw: Box<[u8]>,
    series: Arc<Series>,
}

impl SeriesIndex {
    /// An empty index that queues its definitions for the log in `definitions`.
    #[must_use]
    pub fn new(definitions: Arc<DefinitionQueue>) -> Self {
        Self {
            hasher: FixedState::default(),
            keys: Default::default(),
            aliases: Default::default(),
            by_id: RwLock::default(),
            births: Mutex::new(()),
            definitions,
        }
    }

    /// The series that this raw spelling meant before, in this database.
    #[must_use]
    pub fn by_spelling(&self, database: &str, raw: &[u8]) -> Option<Arc<Series>> {
        let hash = self.hasher.hash_one((database, raw));
        let shard = self.aliases.get(shard_of(hash))?.read();
        shard.find(hash, |a| *a.raw == *raw && *a.database == *database).map(|a| Arc::clone(&a.series))
    }

    /// Remembers that a raw spelling means a series.
    pub fn remember_spelling(&self, database: &str, raw: &[u8], series: &Arc<Series>) {
        let hash = self.hasher.hash_one((database, raw));
        let Some(shard) = self.aliases.get(shard_of(hash)) else { return };
        let mut shard = shard.write();
        if shard.len() >= MAX_ALIASES_PER_SHARD {
            shard.clear();
        }
        if shard.find(hash, |a| *a.raw == *raw && *a.database == *database).is_none() {
            let alias = Alias { database: database.into(), raw: raw.into(), series: Arc::clone(series) };
            shard.insert_unique(hash, alias, |a| self.hasher.hash_one((&*a.database, &*a.raw)));
        }
    }

    /// The series with this canonical key, made if it is new.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`] at [`limits::SERIES`].
    pub fn resolve(&self, table: TableId, key: &[u8]) -> Result<Arc<Series>> {
        let hash = self.hash_key(table, key);
        if let Some(series) = self.find(hash, table, key) {
            return Ok(series);
        }
        let _birth = self.births.lock();
        if let Some(series) = self.find(hash, table, key) {
            return Ok(series);
        }
        let next = self.by_id.read().len();
        let id = u32::try_from(next).ok().filter(|_| next < limits::SERIES).map(SeriesId::new);
        let id = id.ok_or_else(|| {
            Error::LimitExceeded(format!("this node has its {} series; use fewer tag values", limits::SERIES))
        })?;
        self.definitions.push(Definition::Series { id, table, key: key.into() });
        Ok(self.insert(hash, Series { id, table, key: SeriesKey::from_bytes(key) }))
    }

    /// Takes over a series that was read from the log or a checkpoint. Meeting it twice changes nothing
    /// and gives `false`.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the id stands for another series already.
    pub fn restore(&self, id: SeriesId, table: TableId, key: &[u8]) -> Result<bool> {
        let _birth = self.births.lock();
        match self.get(id) {
            Some(known) if known.table == table && known.key().as_bytes() == key => Ok(false),
            Some(_) => Err(Error::Damaged(format!("series {id} is defined twice, differently"))),
            None => {
                self.insert(self.hash_key(table, key), Series { id, table, key: SeriesKey::from_bytes(key) });
                Ok(true)
            }
        }
    }

    /// Ids below this one are not given any more, although some of them are not defined (KEY-2).
    pub(crate) fn keep_below(&self, next: SeriesId) {
        let _birth = self.births.lock();
        let mut by_id = self.by_id.write();
        let given = by_id.len().max(next.get() as usize);
        by_id.resize(given, None);
    }

    /// The series with this id.
    #[must_use]
    pub fn get(&self, id: SeriesId) -> Option<Arc<Series>> {
        self.by_id.read().get(id.get() as usize).cloned().flatten()
    }

    /// The series with these ids, in their order, taken without holding the index for long.
    ///
    /// # Errors
    /// [`Error::Internal`] when an id is not defined, which KEY-3 forbids.
    pub fn get_all(&self, ids: &[u32]) -> Result<Vec<Arc<Series>>> {
        let mut found = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(4_096) {
            let by_id = self.by_id.read();
            for &id in chunk {
                let series = by_id.get(id as usize).cloned().flatten();
                found.push(
                    series.ok_or_else(|| Error::Internal(format!("series {id} is not defined (KEY-3)")))?,
                );
            }
        }
        Ok(found)
    }

    /// Number of series.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.read().len()
    }

    /// Whether there is no series.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn find(&self, hash: u64, table: TableId, key: &[u8]) -> Option<Arc<Series>> {
        let shard = self.keys.get(shard_of(hash))?.read();
        shard.find(hash, |s| s.table == table && s.key.as_bytes() == key).cloned()
    }

    /// Adds a series; the caller holds `births`.
    fn insert(&self, hash: u64, series: Series) -> Arc<Series> {
        let position = series.id.get() as usize;
        let series = Arc::new(series);
        let mut by_id = self.by_id.write();
        if by_id.len() <= position {
            by_id.resize(position + 1, None);
        }
        if let Some(slot) = by_id.get_mut(position) {
            *slot = Some(Arc::clone(&series));
        }
        drop(by_id);
        if let Some(shard) = self.keys.get(shard_of(hash)) {
            shard
                .write()
                .insert_unique(hash, Arc::clone(&series), |s| self.hash_key(s.table, s.key.as_bytes()));
        }
        series
    }

    fn hash_key(&self, table: TableId, key: &[u8]) -> u64 {
        self.hasher.hash_one((table.get(), key))
    }
}

/// The shard comes from the hash's middle bits: the table uses its low and its top ones.
fn shard_of(hash: u64) -> usize {
    (hash >> 40) as usize % SHARDS
}
