//! A tag column of a row group, as runs of the series that it comes from.
//!
//! `ArrowWriter` hashes the value of each row again, which is half of what a whole file costs (0.060 of 0.12 CPU s
//! per million rows with five tags). Here a value is looked at where it differs from that of the series before, and
//! hashed when the row group ends: many at a time, because the table that finds them is larger than a fast cache.

use std::hash::BuildHasher;
use std::hint::black_box;

use foldhash::fast::FixedState;
use parquet::bloom_filter::Sbbf;

use crate::error::Result;

/// Wrong answers of the bloom filter: 1 % costs about 10 bits per device.
const BLOOM_FALSE_POSITIVES: f64 = 0.01;

/// Values that are looked for together.
const BLOCK: usize = 32;

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

/// Finds values, and keeps its memory for the next column.
#[derive(Debug, Default)]
pub(super) struct Finder {
    hasher: FixedState,
    /// A value is at or after the place that its hash names.
    slots: Vec<Slot>,
}

/// A value's hash, and its code counted from 1; 0 where there is none.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    hash: u32,
    number: u32,
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
        finder.clear(self.len());
        let hashes: Vec<u32> = self.values().map(|value| finder.hasher.hash_one(value) as u32).collect();
        let mut codes = Vec::with_capacity(hashes.len());
        // By code which of the values it is.
        let mut kept: Vec<u32> = Vec::new();
        for hashes in hashes.chunks(BLOCK) {
            finder.fetch(hashes);
            for hash in hashes {
                let number = u32::try_from(codes.len()).unwrap_or(u32::MAX);
                let is_known = |code: u32| {
                    kept.get(code as usize).is_some_and(|known| self.bytes(*known) == self.bytes(number))
                };
                let code = finder.code(*hash, kept.len(), is_known);
                if code as usize == kept.len() {
                    kept.push(number);
                }
                codes.push(code);
            }
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

impl Finder {
    /// Forgets all values, and makes room for so many.
    fn clear(&mut self, values: usize) {
        self.slots.clear();
        self.slots.resize((2 * values).next_power_of_two(), Slot::default());
    }

    /// Has the slots of these hashes in the cache: they are waited for together.
    fn fetch(&self, hashes: &[u32]) {
        let slots = hashes.iter().filter_map(|hash| self.slots.get(self.place(*hash)));
        black_box(slots.fold(0, |all, slot| all ^ slot.number));
    }

    /// The code of a value with this hash: the one for which `is_known` holds, or `next`.
    fn code(&mut self, hash: u32, next: usize, is_known: impl Fn(u32) -> bool) -> u32 {
        let mask = self.slots.len() - 1;
        let mut at = self.place(hash);
        loop {
            let Some(slot) = self.slots.get_mut(at) else { return 0 };
            let Some(code) = slot.number.checked_sub(1) else {
                let code = u32::try_from(next).unwrap_or(u32::MAX);
                *slot = Slot { hash, number: code + 1 };
                return code;
            };
            if slot.hash == hash && is_known(code) {
                return code;
            }
            at = (at + 1) & mask;
        }
    }

    fn place(&self, hash: u32) -> usize {
        hash as usize & (self.slots.len() - 1)
    }
}
