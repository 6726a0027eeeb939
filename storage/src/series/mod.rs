//! The series index: a cache of the series that are in use, found by canonical key, by raw spelling, or by id.
//!
//! The *canonical key* of a series ([`SeriesKey`]) alone decides identity (KEY-1). A *raw spelling* is an alias of
//! it ([`aliases`]). Files hold the tags themselves, so a series that nothing refers to any more may be forgotten,
//! and gets another id when it comes again.
//!
//! Invariants:
//! - a series is queued as a definition before its id is visible (KEY-3);
//! - ids rise, and after 2^32 begin again at 0; one that the index still has is passed over (KEY-2);
//! - a series is forgotten only when no pin and no frame of the log can refer to it ([`rounds`]), and when nobody
//!   [keeps](SeriesIndex::keep) it. So the index holds every series that a row of the log needs.
//!
//! A series that is known by its spelling is found without a lock. Locks are taken in the order births, keys, slots,
//! definitions; or, where spellings are added or dropped, in that of [`aliases`], slots. Nothing else is locked while
//! orders are.

mod aliases;
mod by_id;
mod by_key;
mod forget;
mod key;
mod key_buffer;
mod keys;
mod lookup;
mod order;
mod paged;
mod rounds;
#[cfg(test)]
mod tests;

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use foldhash::quality::RandomState;
use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};

pub(crate) use by_id::ById;
pub(crate) use key::visit_changed_tags;
pub use key::{KeyRef, SeriesKey, canonical_key, put_key};
pub use keys::Keys;
pub use lookup::SeriesLookup;
pub use paged::Paged;
pub use rounds::SeriesPin;

pub(crate) use key_buffer::{KeyBuffer, Pushed};
pub(crate) use order::OrderedSeries;

use self::aliases::{Aliases, LastUse, Spelling};
use self::by_key::ByKey;
use self::order::Orders;
use self::rounds::Rounds;
use crate::catalog::DefinitionQueue;
use crate::model::{FrameNumber, SeriesId, TableId};

/// The round of a series that somebody keeps.
const KEPT: u32 = u32::MAX;

/// Bytes of an allocation beside its content, and of the counts of an `Arc`.
const ALLOCATION_BYTES: usize = 32;

/// Bytes of a series' definition beside its key.
const DEFINITION_BYTES: usize = 13;

/// Uses that are noted under one hold of the lock.
const TOLD_TOGETHER: usize = 4_096;

/// After so many births the index is measured.
const MEASURED_EVERY: usize = 1_024;

/// A series by its ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesRef {
    /// Its id.
    pub id: SeriesId,
    /// The table that it belongs to.
    pub table: TableId,
}

/// One series.
#[derive(Debug, Clone, PartialEq, Eq)]
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
        self.key.borrowed().tags()
    }

    /// The value of the tag at this position, if the series has it.
    #[must_use]
    pub fn tag(&self, position: usize) -> Option<&str> {
        self.key.borrowed().tag(position)
    }

    /// The canonical key.
    #[must_use]
    pub fn key(&self) -> &SeriesKey {
        &self.key
    }
}

/// See the module's header.
#[derive(Debug)]
pub struct SeriesIndex {
    /// Of its own for each index, so that nobody can choose names that fall together.
    hasher: RandomState,
    slots: RwLock<Slots>,
    by_key: RwLock<ByKey>,
    aliases: Aliases,
    /// The numbers of databases.
    databases: ArcSwap<HashMap<Box<str>, u16>>,
    /// Held by whoever gives a database a number.
    numbering: Mutex<()>,
    births: Mutex<Births>,
    rounds: Rounds,
    orders: Orders,
    /// Series that were born or restored since the round began.
    born: AtomicUsize,
    /// Whether a series was refused since the round began.
    refuses: AtomicBool,
    bytes: AtomicUsize,
    /// How often it has forgotten series.
    forgettings: AtomicU32,
    /// Bytes that the index may take, and at how many it begins to forget.
    max_bytes: usize,
    room: usize,
    definitions: Arc<DefinitionQueue>,
}

#[derive(Debug)]
struct Births {
    /// The id of the next series.
    next: u32,
}

/// What there is by id.
#[derive(Debug, Default)]
struct Slots {
    pages: Paged<Option<Slot>>,
    count: usize,
    key_bytes: usize,
}

#[derive(Debug)]
struct Slot {
    key: SeriesKey,
    table: TableId,
    /// The last round in which it was used, but for what its aliases say; [`KEPT`] while somebody keeps it.
    used: AtomicU32,
}

impl Clone for Slot {
    fn clone(&self) -> Self {
        let used = AtomicU32::new(self.used.load(Ordering::Relaxed));
        Self { key: self.key.clone(), table: self.table, used }
    }
}

impl SeriesIndex {
    /// An empty index that queues its definitions for the log in `definitions` and may take so many bytes.
    #[must_use]
    pub fn new(definitions: Arc<DefinitionQueue>, max_bytes: usize) -> Self {
        Self {
            hasher: RandomState::default(),
            slots: RwLock::default(),
            by_key: RwLock::default(),
            aliases: Aliases::default(),
            databases: ArcSwap::default(),
            numbering: Mutex::default(),
            births: Mutex::new(Births { next: 0 }),
            rounds: Rounds::default(),
            orders: Orders::default(),
            born: AtomicUsize::new(0),
            refuses: AtomicBool::new(false),
            bytes: AtomicUsize::new(0),
            forgettings: AtomicU32::new(0),
            max_bytes,
            room: max_bytes / 2,
            definitions,
        }
    }

    /// A way to look series of one database up, and to make those that are new.
    #[must_use]
    pub fn lookup<'a>(&'a self, database: &'a str) -> SeriesLookup<'a> {
        SeriesLookup::new(self, database)
    }

    /// The number of a database, which gets one if it has none; `None` when there are no more.
    fn number_of(&self, database: &str) -> Option<u16> {
        let _one_at_a_time = self.numbering.lock();
        let databases = self.databases.load();
        if let Some(known) = databases.get(database) {
            return Some(*known);
        }
        let next = u16::try_from(databases.len()).ok()?;
        let mut more = HashMap::clone(&databases);
        more.insert(database.into(), next);
        self.databases.store(Arc::new(more));
        Some(next)
    }

    /// Keeps the index from forgetting what is used from now on: see [`SeriesPin`].
    #[must_use]
    pub fn pin(&self) -> SeriesPin {
        self.rounds.pin()
    }

    /// Takes over a series that was read from the log or a checkpoint, in the order of their definitions. Meeting
    /// it twice changes nothing and gives `false`. Of two series with one id, and of two ids of one series, the
    /// earlier was forgotten before the later came: no row that is left means it.
    pub fn restore(&self, id: SeriesId, table: TableId, key: &[u8]) -> bool {
        let mut births = self.births.lock();
        if let Some(known) = self.get(id) {
            if known.table == table && known.key().as_bytes() == key {
                return false;
            }
            self.forget_one(self.hash_key(known.table, known.key().as_bytes()), id);
        }
        let hash = self.hash_key(table, key);
        let earlier = {
            let by_key = self.by_key.read();
            self.slots.read().find(&by_key, hash, table, key)
        };
        if let Some(earlier) = earlier {
            self.forget_one(hash, SeriesId::new(earlier));
        }
        let slot = Slot { key: SeriesKey::from_bytes(key), table, used: self.rounds.current().into() };
        self.by_key.write().insert(hash, id.get());
        self.slots.write().insert(id.get(), slot);
        births.next = births.next.max(id.get().wrapping_add(1));
        drop(births);
        self.count_births(1);
        true
    }

    /// Ids below this one are not given any more, although some of them are not defined (KEY-2).
    pub(crate) fn keep_below(&self, next: SeriesId) {
        let mut births = self.births.lock();
        births.next = births.next.max(next.get());
    }

    /// The series with this id.
    #[must_use]
    pub fn get(&self, id: SeriesId) -> Option<Series> {
        self.slots.read().series(id.get())
    }

    /// Number of series.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.read().count
    }

    /// Whether there is no series.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that the index takes in memory, as of the last thousand births or the last look of the flush.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes that the definitions of all series take.
    pub(crate) fn definition_bytes(&self) -> usize {
        let slots = self.slots.read();
        slots.key_bytes + slots.count * DEFINITION_BYTES
    }

    fn measure(&self) -> usize {
        let slots = {
            let slots = self.slots.read();
            slots.pages.memory_bytes() + slots.key_bytes + slots.count * ALLOCATION_BYTES
        };
        let by_key = self.by_key.read().memory_bytes();
        let bytes = slots + by_key + self.aliases.memory_bytes() + self.orders.bytes();
        self.bytes.store(bytes, Ordering::Relaxed);
        bytes
    }

    /// Begins a round: rows that were visible up to `frame` are on their way to files.
    pub(crate) fn next_round(&self, frame: FrameNumber) {
        self.born.store(0, Ordering::Relaxed);
        self.refuses.store(false, Ordering::Relaxed);
        self.rounds.next(frame);
    }

    /// Counts births; measures the index now and then. No lock may be held.
    fn count_births(&self, births: usize) {
        let before = self.born.fetch_add(births, Ordering::Relaxed);
        if (before + births) / MEASURED_EVERY > before / MEASURED_EVERY {
            self.measure();
        }
    }

    /// Says how series were used last.
    fn touch_all(&self, uses: &[LastUse]) {
        for some in uses.chunks(TOLD_TOGETHER) {
            let slots = self.slots.read();
            some.iter().for_each(|(id, round)| slots.touch(*id, *round));
        }
    }

    fn hash_key(&self, table: TableId, key: &[u8]) -> u32 {
        short(self.hasher.hash_one((table.get(), key)))
    }

    fn spelling<'r>(&self, database: u16, raw: &'r [u8]) -> Spelling<'r> {
        Spelling { hash: short(self.hasher.hash_one((database, raw))), database, raw }
    }
}

impl Slots {
    fn get(&self, id: u32) -> Option<&Slot> {
        self.pages.get(id).as_ref()
    }

    /// The id of the series with this key.
    fn find(&self, by_key: &ByKey, hash: u32, table: TableId, key: &[u8]) -> Option<u32> {
        by_key.find(hash, |id| self.get(id).is_some_and(|s| s.table == table && s.key.as_bytes() == key))
    }

    /// The first id from `next` on that no series has.
    fn free_id(&self, next: u32) -> u32 {
        let mut id = next;
        while self.get(id).is_some() {
            id = id.wrapping_add(1);
        }
        id
    }

    /// Says that a series was used in `round`.
    fn touch(&self, id: u32, round: u32) {
        if let Some(slot) = self.get(id) {
            slot.touch(round);
        }
    }

    fn series(&self, id: u32) -> Option<Series> {
        let slot = self.get(id)?;
        Some(Series { id: SeriesId::new(id), table: slot.table, key: slot.key.clone() })
    }

    fn insert(&mut self, id: u32, slot: Slot) {
        self.count += 1;
        self.key_bytes += slot.key.as_bytes().len();
        *self.pages.get_mut(id) = Some(slot);
    }
}

impl Slot {
    /// Says that it is used in `round`.
    fn touch(&self, round: u32) {
        if self.used.load(Ordering::Relaxed) < round {
            self.used.fetch_max(round, Ordering::Relaxed);
        }
    }
}

/// The part of a hash that is kept with an entry, so that growing a map reads nothing else.
fn short(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// A kept hash as a map wants it, whose lowest and highest bits must both differ.
pub(crate) fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
