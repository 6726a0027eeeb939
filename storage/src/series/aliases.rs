//! Raw spellings of series, as they stood before the first field of a line (`cpu,host=a`): an alias saves the next
//! line with the same bytes from being parsed. Aliases are a cache, but an alias knows when its series was used last:
//! whoever drops it must tell the series.

use std::sync::atomic::{AtomicU32, Ordering};

use hashbrown::HashTable;

use super::{SeriesRef, spread};
use crate::model::{SeriesId, TableId};

/// The spellings of one shard.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    table: HashTable<Alias>,
    texts: Texts,
}

#[derive(Debug)]
struct Alias {
    hash: u32,
    id: u32,
    table: u32,
    /// The last round in which it was used.
    used: AtomicU32,
    text: Text,
    database: u16,
}

impl Aliases {
    /// The series that `raw` means in a database; it is used in `round`.
    pub(super) fn find(&self, hash: u32, database: u16, raw: &[u8], round: u32) -> Option<SeriesRef> {
        let alias = self.table.find(spread(hash), |alias| self.is(alias, hash, database, raw))?;
        if alias.used.load(Ordering::Relaxed) < round {
            alias.used.fetch_max(round, Ordering::Relaxed);
        }
        Some(SeriesRef { id: SeriesId::new(alias.id), table: TableId::new(alias.table) })
    }

    /// Adds a spelling. One that means another series, which was forgotten, is replaced.
    pub(super) fn insert(&mut self, hash: u32, database: u16, raw: &[u8], series: SeriesRef, round: u32) {
        let (id, table) = (series.id.get(), series.table.get());
        let texts = &self.texts;
        let same = |a: &Alias| a.hash == hash && a.database == database && texts.get(a.text) == raw;
        if let Some(known) = self.table.find_mut(spread(hash), same) {
            (known.id, known.table) = (id, table);
            known.used.fetch_max(round, Ordering::Relaxed);
            return;
        }
        let Some(text) = self.texts.add(raw) else { return };
        let alias = Alias { hash, id, table, used: AtomicU32::new(round), text, database };
        self.table.insert_unique(spread(hash), alias, |alias| spread(alias.hash));
    }

    /// Drops all spellings, and shows their series with the rounds in which they were used last.
    pub(super) fn clear(&mut self, mut dropped: impl FnMut(u32, u32)) {
        for alias in std::mem::take(self).table {
            dropped(alias.id, alias.used.load(Ordering::Relaxed));
        }
    }

    /// Drops the spellings that were not used since `round`, and shows the series of the others with their rounds.
    pub(super) fn forget_before(&mut self, round: u32, mut kept: impl FnMut(u32, u32)) {
        let old = std::mem::take(self);
        for alias in old.table {
            let used = alias.used.load(Ordering::Relaxed);
            if used < round {
                continue;
            }
            kept(alias.id, used);
            let series = SeriesRef { id: SeriesId::new(alias.id), table: TableId::new(alias.table) };
            self.insert(alias.hash, alias.database, old.texts.get(alias.text), series, used);
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.table.allocation_size() + self.texts.memory_bytes()
    }

    fn is(&self, alias: &Alias, hash: u32, database: u16, raw: &[u8]) -> bool {
        alias.hash == hash && alias.database == database && self.texts.get(alias.text) == raw
    }
}

/// Bytes of one block of texts. An alias is shorter than a line's series, [`crate::limits::SERIES_KEY_BYTES`].
const BLOCK: usize = 1 << 16;

/// Texts one behind the other: an allocation of its own would be as large as most of them.
#[derive(Debug, Default)]
struct Texts {
    blocks: Vec<Vec<u8>>,
}

/// Where a text stands.
#[derive(Debug, Clone, Copy)]
struct Text {
    block: u32,
    offset: u16,
    length: u16,
}

impl Texts {
    fn add(&mut self, text: &[u8]) -> Option<Text> {
        if self.blocks.last().is_none_or(|block| block.len() + text.len() > BLOCK) {
            self.blocks.push(Vec::with_capacity(BLOCK));
        }
        let block = u32::try_from(self.blocks.len() - 1).ok()?;
        let bytes = self.blocks.last_mut()?;
        // An empty text may stand at the very end, where no offset reaches.
        let place = Text { block, offset: bytes.len().try_into().ok()?, length: text.len().try_into().ok()? };
        bytes.extend_from_slice(text);
        Some(place)
    }

    fn get(&self, text: Text) -> &[u8] {
        let block = self.blocks.get(text.block as usize);
        let bytes = block.and_then(|block| block.get(usize::from(text.offset)..));
        bytes.and_then(|bytes| bytes.get(..usize::from(text.length))).unwrap_or_default()
    }

    fn memory_bytes(&self) -> usize {
        self.blocks.len() * (BLOCK + size_of::<Vec<u8>>())
    }
}
