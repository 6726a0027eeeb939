//! The series of a batch that the index did not know by the spellings of their lines.

use std::hash::BuildHasher;
use std::ops::Range;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// One behind the other, found by key and by spelling. They are resolved when the batch is finished, since their tables
/// or tags may be new.
#[derive(Debug, Default)]
pub(super) struct NewSeries<'l> {
    series: Vec<Entry<'l>>,
    /// Their keys.
    keys: Vec<u8>,
    by_key: HashTable<u32>,
    by_spelling: HashTable<u32>,
    hasher: RandomState,
}

/// With the hashes, so that no byte is looked at when the tables grow.
#[derive(Debug)]
struct Entry<'l> {
    table: usize,
    key: Range<usize>,
    key_hash: u64,
    /// Empty if it has none.
    spelling: &'l [u8],
    spelling_hash: u64,
}

impl<'l> NewSeries<'l> {
    /// The table and the number of the series that was added with this spelling.
    pub(super) fn by_spelling(&self, raw: &[u8]) -> Option<(usize, u32)> {
        // Most batches have none: then nothing is hashed.
        if self.series.is_empty() {
            return None;
        }
        let is = |number: &u32| self.get(*number).is_some_and(|entry| entry.spelling == raw);
        let number = *self.by_spelling.find(self.hasher.hash_one(raw), is)?;
        Some((self.get(number)?.table, number))
    }

    /// The number of the series of a table that has this key.
    pub(super) fn by_key(&self, table: usize, key: &[u8]) -> Option<u32> {
        if self.series.is_empty() {
            return None;
        }
        let is = |number: &u32| {
            self.get(*number).is_some_and(|entry| entry.table == table && self.key(entry) == key)
        };
        self.by_key.find(self.hasher.hash_one((table, key)), is).copied()
    }

    /// Adds a series that is not there yet, and gives its number.
    pub(super) fn add(&mut self, table: usize, key: &[u8], spelling: Option<&'l [u8]>) -> u32 {
        let number = u32::try_from(self.series.len()).unwrap_or(u32::MAX);
        let spelling = spelling.unwrap_or_default();
        let (key_hash, spelling_hash) = (self.hasher.hash_one((table, key)), self.hasher.hash_one(spelling));
        let begins = self.keys.len();
        self.keys.extend_from_slice(key);
        self.series.push(Entry { table, key: begins..self.keys.len(), key_hash, spelling, spelling_hash });
        let Self { series, by_key, by_spelling, .. } = self;
        let entry = |number: &u32| series.get(*number as usize);
        by_key.insert_unique(key_hash, number, |number| entry(number).map_or(0, |entry| entry.key_hash));
        if !spelling.is_empty() {
            let hash = |number: &u32| entry(number).map_or(0, |entry| entry.spelling_hash);
            by_spelling.insert_unique(spelling_hash, number, hash);
        }
        number
    }

    /// Tables, keys and spellings, in the order of their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &[u8], Option<&'l [u8]>)> {
        self.series.iter().map(|entry| {
            let spelling = Some(entry.spelling).filter(|raw| !raw.is_empty());
            (entry.table, self.key(entry), spelling)
        })
    }

    fn get(&self, number: u32) -> Option<&Entry<'l>> {
        self.series.get(number as usize)
    }

    fn key(&self, entry: &Entry<'_>) -> &[u8] {
        self.keys.get(entry.key.clone()).unwrap_or_default()
    }
}
