//! The series of a batch that the index did not know by the spellings of their lines.

use std::hash::BuildHasher;
use std::ops::Range;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// One behind the other, found by key and by spelling. They are resolved when the batch is finished, since their tables
/// or tags may be new.
#[derive(Debug, Default)]
pub(super) struct NewSeries {
    series: Vec<Entry>,
    /// Their keys and spellings.
    bytes: Vec<u8>,
    by_key: HashTable<u32>,
    by_spelling: HashTable<u32>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Entry {
    table: usize,
    key: Range<usize>,
    /// Empty if it has none.
    spelling: Range<usize>,
}

impl NewSeries {
    /// The table and the number of the series that was added with this spelling.
    pub(super) fn by_spelling(&self, raw: &[u8]) -> Option<(usize, u32)> {
        // Most batches have none: then nothing is hashed.
        if self.series.is_empty() {
            return None;
        }
        let is = |number: &u32| self.get(*number).is_some_and(|entry| self.bytes_at(&entry.spelling) == raw);
        let number = *self.by_spelling.find(self.hasher.hash_one(raw), is)?;
        Some((self.get(number)?.table, number))
    }

    /// The number of the series of a table that has this key.
    pub(super) fn by_key(&self, table: usize, key: &[u8]) -> Option<u32> {
        if self.series.is_empty() {
            return None;
        }
        let is = |number: &u32| {
            self.get(*number).is_some_and(|entry| entry.table == table && self.bytes_at(&entry.key) == key)
        };
        self.by_key.find(self.hasher.hash_one((table, key)), is).copied()
    }

    /// Adds a series that is not there yet, and gives its number.
    pub(super) fn add(&mut self, table: usize, key: &[u8], spelling: Option<&[u8]>) -> u32 {
        let number = u32::try_from(self.series.len()).unwrap_or(u32::MAX);
        let raw = spelling.unwrap_or_default();
        let begins = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let between = self.bytes.len();
        self.bytes.extend_from_slice(raw);
        self.series.push(Entry { table, key: begins..between, spelling: between..self.bytes.len() });
        let Self { series, bytes, hasher, by_key, by_spelling } = self;
        let entry = |number: &u32| series.get(*number as usize);
        let bytes_at = |range: &Range<usize>| bytes.get(range.clone()).unwrap_or_default();
        by_key.insert_unique(hasher.hash_one((table, key)), number, |number| {
            entry(number).map_or(0, |entry| hasher.hash_one((entry.table, bytes_at(&entry.key))))
        });
        if !raw.is_empty() {
            by_spelling.insert_unique(hasher.hash_one(raw), number, |number| {
                entry(number).map_or(0, |entry| hasher.hash_one(bytes_at(&entry.spelling)))
            });
        }
        number
    }

    /// Tables, keys and spellings, in the order of their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &[u8], Option<&[u8]>)> {
        self.series.iter().map(|entry| {
            let spelling = Some(self.bytes_at(&entry.spelling)).filter(|raw| !raw.is_empty());
            (entry.table, self.bytes_at(&entry.key), spelling)
        })
    }

    fn get(&self, number: u32) -> Option<&Entry> {
        self.series.get(number as usize)
    }

    fn bytes_at(&self, range: &Range<usize>) -> &[u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }
}
