//! Records of spellings, one behind the other, in words that are read while others are written behind them.
//!
//! | word | content |
//! |---|---|
//! | 0 | the series: id, table |
//! | 1 | the [`Header`]; written last, so whoever sees it sees all of the record; 0 where no record is |
//! | from 2 on | the text, filled up with zeros to whole words |

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::sync::{AtomicU64, CHUNK_BITS};
use super::{SeriesRef, Spelling};
use crate::limits;
use crate::model::{SeriesId, TableId};

const WORD: usize = size_of::<u64>();

/// Words before the text.
const HEAD: usize = 2;

/// Words of a chunk.
const CHUNK: usize = 1 << CHUNK_BITS;
const _: () = assert!(limits::SERIES_KEY_BYTES <= u16::MAX as usize, "each length has room");

/// So often a reader is looked for before its thread is taken for one that does not run.
const YIELDS: usize = 100;
const PAUSE: Duration = Duration::from_micros(50);

/// Where a record begins, in words from the first one of all. None begins at 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Offset(u32);

impl Offset {
    pub(super) fn new(offset: u32) -> Self {
        Self(offset)
    }

    pub(super) fn get(self) -> u32 {
        self.0
    }

    fn chunk(self) -> usize {
        (self.0 >> CHUNK_BITS) as usize
    }

    fn in_chunk(self) -> usize {
        self.0 as usize % CHUNK
    }

    /// `words` further on.
    fn plus(self, words: usize) -> Option<Self> {
        self.0.checked_add(u32::try_from(words).ok()?).map(Self)
    }

    fn of_chunk(chunk: usize) -> Option<Self> {
        u32::try_from(chunk << CHUNK_BITS).ok().map(|first| Self(first.max(1)))
    }
}

/// What is known of a record.
#[derive(Debug, Clone, Copy, Default)]
struct Header {
    /// The last round in which it was used.
    used: u32,
    database: u16,
    /// Bytes of the text: never none.
    length: u16,
}

impl Header {
    fn of(word: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
        Self {
            used: u32::from_le_bytes([e, f, g, h]),
            database: u16::from_le_bytes([c, d]),
            length: u16::from_le_bytes([a, b]),
        }
    }

    fn word(self) -> u64 {
        u64::from(self.used) << 32 | u64::from(self.database) << 16 | u64::from(self.length)
    }

    fn words(self) -> usize {
        words_of(usize::from(self.length))
    }
}

/// The records. Clones share them; one at a time may write.
#[derive(Debug, Clone, Default)]
pub(super) struct Arena {
    chunks: Vec<Arc<[AtomicU64]>>,
}

impl Arena {
    /// Waits until no other arena shares records with this one. Whatever readers did to them is seen then.
    pub(super) fn wait_for_readers(&mut self) {
        for chunk in &mut self.chunks {
            let mut tries = 0;
            while Arc::get_mut(chunk).is_none() {
                tries += 1;
                pause(tries);
            }
        }
    }

    /// Where a record of this text fits, `end` being where the last one ends; `None` when there is no offset left. A chunk
    /// may have to be [added](Self::make_room).
    pub(super) fn offset_for(&self, end: Offset, text: &[u8]) -> Option<Offset> {
        let begins = end.max(Offset(1));
        let words = words_of(text.len());
        let fits = begins.in_chunk() + words <= CHUNK;
        let offset = if fits { begins } else { Offset::of_chunk(begins.chunk() + 1)? };
        offset.plus(words).map(|_| offset)
    }

    pub(super) fn has_room(&self, offset: Offset) -> bool {
        offset.chunk() < self.chunks.len()
    }

    /// Adds a chunk.
    pub(super) fn make_room(&mut self) {
        self.chunks.push((0..CHUNK).map(|_| AtomicU64::new(0)).collect());
    }

    /// Writes a record and gives its end.
    pub(super) fn write(
        &self,
        offset: Offset,
        spelling: Spelling<'_>,
        series: SeriesRef,
        used: u32,
    ) -> Option<Offset> {
        let record = self.record(offset)?;
        let length = u16::try_from(spelling.raw.len()).ok()?;
        let header = Header { used, database: spelling.database, length };
        record.first()?.store(series_word(series), Ordering::Relaxed);
        for (word, text) in record.get(HEAD..)?.iter().zip(words(spelling.raw)) {
            word.store(text, Ordering::Relaxed);
        }
        record.get(1)?.store(header.word(), Ordering::Release);
        offset.plus(header.words())
    }

    /// Whether a record is of this spelling.
    #[inline]
    pub(super) fn is(&self, offset: Offset, spelling: Spelling<'_>) -> bool {
        let Some(record) = self.record(offset) else { return false };
        let header = header(record);
        header.database == spelling.database
            && usize::from(header.length) == spelling.raw.len()
            && has_text(record, spelling.raw)
    }

    /// The length of a record's text, if it is of this database and `line` begins with it and a space.
    #[inline]
    pub(super) fn length_before_space(&self, offset: Offset, database: u16, line: &[u8]) -> Option<usize> {
        let record = self.record(offset)?;
        let header = header(record);
        let length = usize::from(header.length);
        let is_cut = header.database == database && line.get(length) == Some(&b' ');
        (is_cut && has_text(record, line.get(..length)?)).then_some(length)
    }

    /// The record behind this one.
    #[inline]
    pub(super) fn next(&self, offset: Offset) -> Option<Offset> {
        let next = offset.plus(header(self.record(offset)?).words())?;
        if next.chunk() == offset.chunk() && self.is_record(next) {
            return Some(next);
        }
        Offset::of_chunk(offset.chunk() + 1).filter(|first| self.is_record(*first))
    }

    /// All records, in order.
    pub(super) fn offsets(&self) -> impl Iterator<Item = Offset> {
        let first = Some(Offset(1)).filter(|first| self.is_record(*first));
        std::iter::successors(first, |offset| self.next(*offset))
    }

    /// What a record means.
    #[inline]
    pub(super) fn series(&self, offset: Offset) -> Option<SeriesRef> {
        let word = self.record(offset)?.first()?.load(Ordering::Acquire);
        let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
        Some(SeriesRef {
            id: SeriesId::new(u32::from_le_bytes([a, b, c, d])),
            table: TableId::new(u32::from_le_bytes([e, f, g, h])),
        })
    }

    /// Lets a record mean another series.
    pub(super) fn set_series(&self, offset: Offset, series: SeriesRef) {
        if let Some(word) = self.record(offset).and_then(<[_]>::first) {
            word.store(series_word(series), Ordering::Release);
        }
    }

    /// The last round in which a record was used.
    pub(super) fn used(&self, offset: Offset) -> u32 {
        self.record(offset).map(header).unwrap_or_default().used
    }

    /// Says that a record was used in `round`.
    #[inline]
    pub(super) fn touch(&self, offset: Offset, round: u32) {
        let Some(record) = self.record(offset) else { return };
        let known = header(record);
        if known.used < round
            && let Some(word) = record.get(1)
        {
            // The greater word is that of the later round: all else in it is the same.
            word.fetch_max(Header { used: round, ..known }.word(), Ordering::Relaxed);
        }
    }

    /// The database of a record, whose text is put into `text`.
    pub(super) fn spelling(&self, offset: Offset, text: &mut Vec<u8>) -> Option<u16> {
        text.clear();
        let record = self.record(offset)?;
        let header = header(record);
        let words = record.iter().take(header.words()).skip(HEAD);
        text.extend(words.flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()));
        text.truncate(usize::from(header.length));
        Some(header.database)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.chunks.len() * (CHUNK * WORD + size_of::<Arc<[AtomicU64]>>())
    }

    /// The words from a record's first one on.
    #[inline]
    fn record(&self, offset: Offset) -> Option<&[AtomicU64]> {
        self.chunks.get(offset.chunk())?.get(offset.in_chunk()..)
    }

    #[inline]
    fn is_record(&self, offset: Offset) -> bool {
        self.record(offset).is_some_and(|record| header(record).length > 0)
    }
}

/// Words of a record with a text of so many bytes.
pub(super) const fn words_of(text: usize) -> usize {
    HEAD + text.div_ceil(WORD)
}

#[expect(clippy::disallowed_methods, reason = "readers are done in moments, and tell nobody")]
fn pause(tries: usize) {
    if tries < YIELDS {
        thread::yield_now();
    } else {
        thread::sleep(PAUSE);
    }
}

#[inline]
fn header(record: &[AtomicU64]) -> Header {
    record.get(1).map(|word| Header::of(word.load(Ordering::Acquire))).unwrap_or_default()
}

fn series_word(series: SeriesRef) -> u64 {
    u64::from(series.table.get()) << 32 | u64::from(series.id.get())
}

/// A text in words.
fn words(text: &[u8]) -> impl Iterator<Item = u64> {
    let (whole, rest) = text.as_chunks::<WORD>();
    let whole = whole.iter().map(|word| u64::from_le_bytes(*word));
    whole.chain((!rest.is_empty()).then(|| last_word(text, rest)))
}

#[inline]
fn has_text(record: &[AtomicU64], text: &[u8]) -> bool {
    let Some(record) = record.get(HEAD..) else { return false };
    let (whole, rest) = text.as_chunks::<WORD>();
    let is = |known: &AtomicU64, word: u64| known.load(Ordering::Relaxed) == word;
    record.iter().zip(whole).all(|(known, word)| is(known, u64::from_le_bytes(*word)))
        && (rest.is_empty() || record.get(whole.len()).is_some_and(|known| is(known, last_word(text, rest))))
}

/// The word of what is left of a text behind its whole words.
#[inline]
fn last_word(text: &[u8], rest: &[u8]) -> u64 {
    match text.last_chunk::<WORD>() {
        // Some bytes of the word before it come first: out with them.
        Some(last) => u64::from_le_bytes(*last) >> (u8::BITS as usize * (WORD - rest.len())),
        None => rest.iter().rev().fold(0, |word, byte| word << u8::BITS | u64::from(*byte)),
    }
}
