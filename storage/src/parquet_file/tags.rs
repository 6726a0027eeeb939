//! A tag column of a row group, as runs of the series that it comes from.
//!
//! `ArrowWriter` hashes the value of each row again, which is half of what a whole file costs (0.060 of 0.12 CPU s
//! per million rows with five tags). Here a value is hashed when it differs from that of the series before, and
//! nothing is done per row.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use parquet::bloom_filter::Sbbf;

use crate::error::Result;
use crate::series::spread;

/// Wrong answers of the bloom filter: 1 % costs about 10 bits per device.
const BLOOM_FALSE_POSITIVES: f64 = 0.01;

/// The values of a tag in the rows of a row group.
#[derive(Debug, Default)]
pub(super) struct TagColumn {
    pub(super) dictionary: Dictionary,
    pub(super) runs: Vec<Run>,
}

/// Rows with one value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    /// The value in the dictionary; none where the series lack the tag.
    pub(super) code: Option<u32>,
    pub(super) rows: usize,
}

/// Distinct values in order of appearance, as a dictionary page holds them: length (`u32`) and bytes of each.
#[derive(Debug, Default)]
pub(super) struct Dictionary {
    pub(super) plain: Vec<u8>,
    /// Where each value's bytes begin and end.
    ranges: Vec<(usize, usize)>,
    codes: HashTable<Entry>,
    hasher: FixedState,
}

/// A value's code, and its hash, so that no value is looked at when the table grows.
#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u32,
    code: u32,
}

impl TagColumn {
    /// Adds rows of a series with this value.
    pub(super) fn push(&mut self, value: Option<&[u8]>, rows: usize) {
        if let Some(last) = self.runs.last_mut()
            && last.code.map(|code| self.dictionary.bytes(code)) == value
        {
            last.rows += rows;
            return;
        }
        let code = value.map(|value| self.dictionary.code(value));
        self.runs.push(Run { code, rows });
    }

    /// Empties it, and keeps its memory for the next row group.
    pub(super) fn clear(&mut self) {
        let Self { dictionary: Dictionary { plain, ranges, codes, hasher: _ }, runs } = self;
        plain.clear();
        ranges.clear();
        codes.clear();
        runs.clear();
    }

    /// The least and the greatest value.
    pub(super) fn bounds(&self) -> Option<(&[u8], &[u8])> {
        let mut values = self.dictionary.values();
        let first = values.next()?;
        Some(values.fold(
            (first, first),
            |(low, high), value| {
                if value > high { (low, value) } else { (low.min(value), high) }
            },
        ))
    }

    /// The rows without a value.
    pub(super) fn nulls(&self) -> usize {
        self.runs.iter().filter(|run| run.code.is_none()).map(|run| run.rows).sum()
    }

    /// The runs of each page of at most `rows` rows.
    pub(super) fn pages(&self, rows: usize) -> Vec<Vec<Run>> {
        let (mut pages, mut page, mut room) = (Vec::new(), Vec::new(), rows);
        for run in &self.runs {
            let mut left = run.rows;
            while left > 0 {
                let taken = left.min(room);
                page.push(Run { code: run.code, rows: taken });
                (left, room) = (left - taken, room - taken);
                if room == 0 {
                    pages.push(std::mem::take(&mut page));
                    room = rows;
                }
            }
        }
        if !page.is_empty() {
            pages.push(page);
        }
        pages
    }

    /// A filter of the values, each hashed once.
    pub(super) fn bloom_filter(&self) -> Result<Sbbf> {
        let distinct = self.dictionary.len().max(1) as u64;
        let mut filter = Sbbf::new_with_ndv_fpp(distinct, BLOOM_FALSE_POSITIVES)?;
        self.dictionary.values().for_each(|value| filter.insert(value));
        Ok(filter)
    }
}

impl Dictionary {
    /// Number of values.
    pub(super) fn len(&self) -> usize {
        self.ranges.len()
    }

    /// The values in order of their codes.
    pub(super) fn values(&self) -> impl Iterator<Item = &[u8]> {
        self.ranges.iter().map(|(from, to)| self.plain.get(*from..*to).unwrap_or_default())
    }

    /// The value with this code.
    pub(super) fn bytes(&self, code: u32) -> &[u8] {
        let range = self.ranges.get(code as usize);
        range.and_then(|(from, to)| self.plain.get(*from..*to)).unwrap_or_default()
    }

    /// The code of a value, which gets the next one if it is new.
    #[expect(clippy::cast_possible_truncation, reason = "half of the hash is kept")]
    fn code(&mut self, value: &[u8]) -> u32 {
        let hash = self.hasher.hash_one(value) as u32;
        let is = |entry: &Entry| entry.hash == hash && self.bytes(entry.code) == value;
        if let Some(entry) = self.codes.find(spread(hash), is) {
            return entry.code;
        }
        // A row group has fewer rows than 2^32, a tag value fewer bytes.
        let code = u32::try_from(self.ranges.len()).unwrap_or(u32::MAX);
        self.plain.extend(u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.ranges.push((self.plain.len(), self.plain.len() + value.len()));
        self.plain.extend(value);
        self.codes.insert_unique(spread(hash), Entry { hash, code }, |entry| spread(entry.hash));
        code
    }
}
