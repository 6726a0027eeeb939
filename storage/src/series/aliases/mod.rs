//! Raw spellings of series, as they stood before the first field of a line (`cpu,host=a`): an alias saves the next
//! line with the same bytes from being parsed. Aliases are a cache, but an alias knows when its series was used last:
//! whoever drops it must tell the series.
//!
//! Readers take no lock and wait for nobody. They see a [`Table`] as it was published, and what is added to it meanwhile.
//! What is dropped goes with its table: a new one is published, the old one waited for until its last reader is gone,
//! and only then is it known when its aliases were used last.
//!
//! Records lie in the order in which their spellings came first. Who writes the same series again mostly does so in that
//! order, so the record behind the one that was found is [looked at first](Reader::follow), without a hash.

mod arena;
#[cfg(test)]
mod model;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use parking_lot::{Mutex, MutexGuard};

use self::arena::Offset;
use self::table::{Fill, Table};
use super::SeriesRef;
use crate::limits;

/// Who waits to add looks after so long whether others are dropped.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(1);

/// What a [`model`] of the others has in another form.
mod sync {
    pub(super) use std::sync::atomic::AtomicU64;

    /// A chunk has two to the power of so many words.
    pub(super) const CHUNK_BITS: u32 = 14;
}

const _: () =
    assert!(arena::words_of(limits::SERIES_KEY_BYTES) < 1 << sync::CHUNK_BITS, "each spelling has room");

/// All spellings.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    current: ArcSwap<Table>,
    /// Held by whoever adds or drops.
    fill: Mutex<Fill>,
    /// Held by whoever drops, and waits for readers, before `fill` is.
    dropping: Mutex<()>,
}

/// A spelling, and its hash.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spelling<'a> {
    pub(super) hash: u32,
    pub(super) database: u16,
    /// What stands before the first space of a line that no backslash escapes.
    pub(super) raw: &'a [u8],
}

/// Where a reader has come to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor {
    offset: Offset,
    generation: u64,
}

/// A series by its id, and the last round in which a spelling of it was used.
pub(super) type LastUse = (u32, u32);

impl Aliases {
    /// The spellings as they were a moment ago. Whoever drops some waits for readers: they are to be kept for moments, and
    /// who has one may not add or drop.
    pub(super) fn read(&self) -> Reader {
        Reader(self.current.load())
    }

    /// Adds spellings, and gives those that are left when all together take `max_bytes`. One that means another series,
    /// which was forgotten, is replaced. Nothing is kept of an empty one, of one that is longer than any series may be,
    /// and while others are dropped: who adds would wait.
    pub(super) fn insert<'s, 'a>(
        &self,
        mut spellings: &'s [(Spelling<'a>, SeriesRef)],
        round: u32,
        max_bytes: usize,
    ) -> &'s [(Spelling<'a>, SeriesRef)] {
        let Some(mut fill) = self.lock_unless_dropping() else { return &[] };
        let mut table = self.current.load_full();
        table.read_ahead(spellings.iter().map(|(spelling, _)| *spelling));
        while table.has_room(&fill, max_bytes)
            && let Some(((spelling, series), rest)) = spellings.split_first()
        {
            spellings = rest;
            let (spelling, series) = (*spelling, *series);
            if spelling.raw.is_empty() || spelling.raw.len() > limits::SERIES_KEY_BYTES {
                continue;
            }
            if let Some(offset) = table.find(spelling) {
                table.arena.set_series(offset, series);
                table.arena.touch(offset, round);
            } else if let Some(larger) = table.insert(&mut fill, spelling, series, round) {
                table = Arc::new(larger);
                self.current.store(Arc::clone(&table));
            }
        }
        spellings
    }

    /// Drops all spellings if so many bytes have no room for another one, and tells how their series were used last.
    pub(super) fn clear_above(&self, max_bytes: usize, tell: impl FnOnce(Vec<LastUse>)) {
        self.replace(|table, fill| (!table.has_room(fill, max_bytes)).then_some(|_| false), tell);
    }

    /// Drops the spellings that were not used since `round`, and tells how all their series were used last. Those that
    /// stay are copied; if there are not `room` bytes for that, they are dropped as well.
    pub(super) fn forget_before(&self, round: u32, room: usize, tell: impl FnOnce(Vec<LastUse>)) {
        let choose = |table: &Table, _: &Fill| {
            let has_room = table.memory_bytes() <= room;
            Some(move |used| has_room && used >= round)
        };
        self.replace(choose, tell);
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.current.load().memory_bytes()
    }

    fn lock_unless_dropping(&self) -> Option<MutexGuard<'_, Fill>> {
        while !self.dropping.is_locked() {
            if let Some(fill) = self.fill.try_lock_for(LOOK_AGAIN_AFTER) {
                return Some(fill);
            }
        }
        None
    }

    /// Publishes a table of the spellings that are to be kept, judged by the rounds in which they were used last, and tells
    /// how the series of all were used last; nothing, if `choose` does not say what to keep. Who drops next finds no trace
    /// of what was dropped, so it waits until that is told.
    fn replace<K: Fn(u32) -> bool>(
        &self,
        choose: impl FnOnce(&Table, &Fill) -> Option<K>,
        tell: impl FnOnce(Vec<LastUse>),
    ) {
        let _one_at_a_time = self.dropping.lock();
        let mut fill = self.fill.lock();
        let old = self.current.load_full();
        let Some(keep) = choose(&old, &fill) else { return };
        let (table, filled, moved) = old.retain(|offset| keep(old.arena.used(offset)));
        let table = Arc::new(table);
        self.current.store(Arc::clone(&table));
        *fill = filled;
        drop(fill);
        // Every table that a reader may have shares its records with this one.
        let mut records = old.arena.clone();
        drop(old);
        records.wait_for_readers();
        for (before, after) in moved {
            table.arena.touch(after, records.used(before));
        }
        let last_use = |offset| Some((records.series(offset)?.id.get(), records.used(offset)));
        tell(records.offsets().filter_map(last_use).collect());
    }
}

/// The spellings as they were a moment ago, and some that came since.
pub(super) struct Reader(Guard<Arc<Table>>);

impl Reader {
    /// The series that a spelling means, which is used in `round`, and where the next one is to be looked for.
    pub(super) fn find(&self, spelling: Spelling<'_>, round: u32) -> Option<(SeriesRef, Cursor)> {
        let offset = self.0.find(spelling)?;
        self.used(offset, round)
    }

    /// As [`find`](Self::find), of some spellings, in their order.
    pub(super) fn find_all(
        &self,
        spellings: &[Spelling<'_>],
        round: u32,
        mut found: impl FnMut(Option<(SeriesRef, Cursor)>),
    ) {
        self.0.find_all(spellings, |offset| found(offset.and_then(|offset| self.used(offset, round))));
    }

    /// As [`find`](Self::find), of the spelling that stands before a space at the start of `line`, and its length, if it is
    /// the one behind `cursor`.
    pub(super) fn follow(
        &self,
        cursor: Cursor,
        database: u16,
        line: &[u8],
        round: u32,
    ) -> Option<(SeriesRef, usize, Cursor)> {
        if cursor.generation != self.0.generation {
            return None;
        }
        let offset = self.0.arena.next(cursor.offset)?;
        let length = self.0.arena.length_before_space(offset, database, line)?;
        let (series, cursor) = self.used(offset, round)?;
        Some((series, length, cursor))
    }

    fn used(&self, offset: Offset, round: u32) -> Option<(SeriesRef, Cursor)> {
        self.0.arena.touch(offset, round);
        Some((self.0.arena.series(offset)?, Cursor { offset, generation: self.0.generation }))
    }
}
