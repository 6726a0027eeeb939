//! A tag column of a row group, as runs of the series that it comes from.
//!
//! `ArrowWriter` hashes the value of each row again, which is half of what a whole file costs (0.060 of 0.12 CPU s
//! per million rows with five tags). Here a value is looked at where it differs from that of the series before, and
//! hashed when the row group ends, one column after the other, so that one table finds those of all.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use parquet::bloom_filter::Sbbf;

use crate::error::Result;
use crate::series::spread;

/// Wrong answers of the bloom filter: 1 % costs about 10 bits per device.
const BLOOM_FALSE_POSITIVES: f64 = 0.01;

/// Bytes of a value's length in a dictionary page.
const LENGTH_BYTES: usize = size_of::<u32>();

/// The values of a tag in the rows of a row group.
#[derive(Debug, Default)]
pub(super) struct TagColumn {
    pub(super) dictionary: Dictionary,
    pub(super) runs: Vec<Run>,
    /// The value of the rows from the end of the runs on.
    code: Option<u32>,
    /// Rows of the runs.
    rows: usize,
}

/// Rows with one value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    /// The value in the dictionary; none where the series lack the tag.
    pub(super) code: Option<u32>,
    pub(super) rows: usize,
}

/// Values as a dictionary page holds them: length (`u32`) and bytes of each. Once the column has ended, each is there
/// once, in order of appearance.
#[derive(Debug, Default)]
pub(super) struct Dictionary {
    pub(super) plain: Vec<u8>,
    /// Where each value's bytes end.
    ends: Vec<usize>,
}

/// Finds values, and keeps its memory for the next column. Nobody outside can know which values share a hash.
#[derive(Debug, Default)]
pub(super) struct Finder {
    hasher: RandomState,
    table: HashTable<Slot>,
}

/// A value's code, and its hash, so that few values are looked at.
#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: u32,
    code: u32,
}

impl TagColumn {
    /// The rows from this one on have this value, until the next change.
    pub(super) fn change(&mut self, value: Option<&[u8]>, row: usize) {
        self.end_run(row);
        self.code = value.map(|value| self.dictionary.push(value));
    }

    /// Says that there are so many rows. Then the column can be read.
    pub(super) fn end(&mut self, rows: usize, finder: &mut Finder) {
        self.end_run(rows);
        let codes = self.dictionary.settle(finder);
        for run in &mut self.runs {
            run.code = run.code.and_then(|code| codes.get(code as usize).copied());
        }
    }

    /// Empties it, and keeps its memory for the next row group.
    pub(super) fn clear(&mut self) {
        let Self { dictionary: Dictionary { plain, ends }, runs, code, rows } = self;
        plain.clear();
        ends.clear();
        runs.clear();
        (*code, *rows) = (None, 0);
    }

    /// Bytes of its values.
    pub(super) fn bytes(&self) -> usize {
        self.dictionary.plain.len()
    }

    /// A filter of the values, each hashed once.
    pub(super) fn bloom_filter(&self) -> Result<Sbbf> {
        let distinct = self.dictionary.len().max(1) as u64;
        let mut filter = Sbbf::new_with_ndv_fpp(distinct, BLOOM_FALSE_POSITIVES)?;
        self.dictionary.values().for_each(|value| filter.insert(value));
        Ok(filter)
    }

    fn end_run(&mut self, row: usize) {
        if row > self.rows {
            self.runs.push(Run { code: self.code, rows: row - self.rows });
            self.rows = row;
        }
    }
}

impl Dictionary {
    /// Number of values.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The value with this code.
    pub(super) fn bytes(&self, code: u32) -> &[u8] {
        let code = code as usize;
        let end = self.ends.get(code).copied().unwrap_or_default();
        self.plain.get(self.end_before(code) + LENGTH_BYTES..end).unwrap_or_default()
    }

    /// The values in order of their codes.
    fn values(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let values = starts.zip(&self.ends);
        values.map(|(start, end)| self.plain.get(start + LENGTH_BYTES..*end).unwrap_or_default())
    }

    fn end_before(&self, code: usize) -> usize {
        code.checked_sub(1).and_then(|before| self.ends.get(before).copied()).unwrap_or_default()
    }

    /// Adds a value, whether it is there or not. Its code is one until the values settle.
    fn push(&mut self, value: &[u8]) -> u32 {
        // A row group has fewer rows than 2^32, a tag value fewer bytes.
        let code = u32::try_from(self.ends.len()).unwrap_or(u32::MAX);
        self.plain.extend(u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.plain.extend(value);
        self.ends.push(self.plain.len());
        code
    }

    /// Keeps each value once. Gives the code of each by the one that it had.
    #[expect(clippy::cast_possible_truncation, reason = "half of the hash is kept")]
    fn settle(&mut self, finder: &mut Finder) -> Vec<u32> {
        let Finder { hasher, table } = finder;
        table.clear();
        table.reserve(self.len(), |slot| spread(slot.hash));
        let mut codes = Vec::with_capacity(self.len());
        // By code which of the values it is.
        let mut kept: Vec<u32> = Vec::new();
        for (number, value) in (0..).zip(self.values()) {
            let hash = hasher.hash_one(value) as u32;
            let is = |slot: &Slot| {
                slot.hash == hash
                    && kept.get(slot.code as usize).is_some_and(|known| self.bytes(*known) == value)
            };
            let code = match table.entry(spread(hash), is, |slot| spread(slot.hash)) {
                Entry::Occupied(known) => known.get().code,
                Entry::Vacant(place) => {
                    let code = u32::try_from(kept.len()).unwrap_or(u32::MAX);
                    place.insert(Slot { hash, code });
                    kept.push(number);
                    code
                }
            };
            codes.push(code);
        }
        self.keep(&kept);
        codes
    }

    /// Only these values stay, which ascend, and close up.
    fn keep(&mut self, kept: &[u32]) {
        let mut bytes = 0;
        for (code, value) in kept.iter().enumerate() {
            // It moves to the beginning, if at all, so what is read was not written over.
            let value = *value as usize;
            let range = self.end_before(value)..self.ends.get(value).copied().unwrap_or_default();
            let length = range.len();
            if code < value {
                self.plain.copy_within(range, bytes);
            }
            bytes += length;
            if let Some(end) = self.ends.get_mut(code) {
                *end = bytes;
            }
        }
        self.ends.truncate(kept.len());
        self.plain.truncate(bytes);
    }
}
