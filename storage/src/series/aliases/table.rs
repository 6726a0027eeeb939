//! A hash table of spellings whose slots are read while one is added.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::arena::{Arena, Offset};
use super::sync::AtomicU64;
use super::{SeriesRef, Spelling};
use crate::series::spread;

/// So many spellings are looked up together without memory for them.
const TOGETHER: usize = 64;

/// Slots of the smallest table that is not empty; a power of two, as all are.
const FEWEST: usize = 64;

/// What readers see.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// The hash of a spelling, and the offset of its record in the lower half; 0 is free. A spelling lies in the first
    /// of its [`probes`](Self::probes) that was free.
    slots: Arc<[AtomicU64]>,
    pub(super) arena: Arena,
    /// Tables of one generation have the same records at the same places.
    pub(super) generation: u64,
}

/// How far a table is filled: for who may write.
#[derive(Debug, Default)]
pub(super) struct Fill {
    count: usize,
    end: Offset,
}

impl Table {
    #[inline]
    pub(super) fn find(&self, spelling: Spelling<'_>) -> Option<Offset> {
        for at in self.probes(spelling.hash) {
            let slot = self.slots.get(at)?.load(Ordering::Acquire);
            if slot == 0 {
                return None;
            }
            let (hash, offset) = halves(slot);
            if hash == spelling.hash && self.arena.is(offset, spelling) {
                return Some(offset);
            }
        }
        None
    }

    /// As [`find`](Self::find), of some spellings. Their waits for memory overlap: the first probes of all are read before
    /// any is looked at, and so are the records that these lead to.
    pub(super) fn find_all(&self, spellings: &[Spelling<'_>], mut found: impl FnMut(Option<Offset>)) {
        for (spelling, first) in spellings.iter().zip(self.read_ahead(spellings.iter().copied())) {
            found(if first == 0 { None } else { self.find(*spelling) });
        }
    }

    /// The first probes of some spellings; the records that they lead to are at hand then.
    pub(super) fn read_ahead<'s>(
        &self,
        spellings: impl Iterator<Item = Spelling<'s>>,
    ) -> SmallVec<[u64; TOGETHER]> {
        let first = |spelling: Spelling<'_>| {
            let slot = self.probes(spelling.hash).next().and_then(|at| self.slots.get(at));
            slot.map_or(0, |slot| slot.load(Ordering::Acquire))
        };
        let first: SmallVec<_> = spellings.map(first).collect();
        // Whatever it says, the record is on its way then.
        let read = first.iter().filter(|slot| **slot != 0).map(|slot| self.arena.used(halves(*slot).1));
        std::hint::black_box(read.fold(0, u32::wrapping_add));
        first
    }

    /// Adds a spelling that it does not have; gives the table that has it, if that is another one. Without an offset
    /// left nothing is added.
    pub(super) fn insert(
        &self,
        fill: &mut Fill,
        spelling: Spelling<'_>,
        series: SeriesRef,
        round: u32,
    ) -> Option<Self> {
        let offset = self.arena.offset_for(fill.end, spelling.raw)?;
        let larger = (self.is_full(fill.count) || !self.arena.has_room(offset)).then(|| {
            let slots = if self.is_full(fill.count) { self.grown() } else { Arc::clone(&self.slots) };
            let mut arena = self.arena.clone();
            if !arena.has_room(offset) {
                arena.make_room();
            }
            Self { slots, arena, generation: self.generation }
        });
        let table = larger.as_ref().unwrap_or(self);
        fill.end = table.arena.write(offset, spelling, series, round)?;
        fill.count += 1;
        table.publish(spelling.hash, offset);
        larger
    }

    /// A table of the records that are kept, how far it is filled, and where each was and is.
    pub(super) fn retain(&self, keep: impl Fn(Offset) -> bool) -> (Self, Fill, Vec<(Offset, Offset)>) {
        let slots = self.slots.iter().map(|slot| slot.load(Ordering::Acquire));
        let mut kept: Vec<_> =
            slots.filter(|slot| *slot != 0).map(halves).filter(|(_, offset)| keep(*offset)).collect();
        kept.sort_unstable_by_key(|(_, offset)| *offset);
        let mut table = Self { generation: self.generation + 1, ..Self::with_slots_for(kept.len()) };
        let (mut fill, mut moved, mut text) = (Fill::default(), Vec::with_capacity(kept.len()), Vec::new());
        for (hash, offset) in kept {
            let Some(database) = self.arena.spelling(offset, &mut text) else { continue };
            let Some(series) = self.arena.series(offset) else { continue };
            let Some(begins) = table.arena.offset_for(fill.end, &text) else { break };
            let spelling = Spelling { hash, database, raw: &text };
            if let Some(larger) = table.insert(&mut fill, spelling, series, self.arena.used(offset)) {
                table = larger;
            }
            moved.push((offset, begins));
        }
        (table, fill, moved)
    }

    /// Whether there is room for one more spelling within so many bytes. There always is for one.
    pub(super) fn has_room(&self, fill: &Fill, max_bytes: usize) -> bool {
        let growth = if self.is_full(fill.count) { size_of_val(&*self.slots) } else { 0 };
        fill.count == 0 || self.memory_bytes() + growth <= max_bytes
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.slots) + self.arena.memory_bytes()
    }

    fn is_full(&self, count: usize) -> bool {
        (count + 1) * 4 > self.slots.len() * 3
    }

    /// No records, and slots for so many.
    fn with_slots_for(count: usize) -> Self {
        let slots = if count == 0 { 0 } else { (count * 4 / 3 + 1).next_power_of_two().max(FEWEST) };
        Self { slots: (0..slots).map(|_| AtomicU64::new(0)).collect(), ..Self::default() }
    }

    /// Twice as many slots with the same content.
    fn grown(&self) -> Arc<[AtomicU64]> {
        let grown = Self::with_slots_for(self.slots.len().max(1));
        for slot in self.slots.iter().map(|slot| slot.load(Ordering::Relaxed)).filter(|slot| *slot != 0) {
            let (hash, offset) = halves(slot);
            grown.publish(hash, offset);
        }
        grown.slots
    }

    fn publish(&self, hash: u32, offset: Offset) {
        let mut probes = self.probes(hash).filter_map(|at| self.slots.get(at));
        if let Some(slot) = probes.find(|slot| slot.load(Ordering::Relaxed) == 0) {
            slot.store(u64::from(hash) << 32 | u64::from(offset.get()), Ordering::Release);
        }
    }

    /// The slots in which a spelling of this hash may lie, in order.
    #[inline]
    fn probes(&self, hash: u32) -> impl Iterator<Item = usize> + use<> {
        let count = self.slots.len();
        let origin = (spread(hash) >> 32) as usize;
        (0..count).map(move |step| (origin + step) & (count - 1))
    }
}

fn halves(slot: u64) -> (u32, Offset) {
    let [a, b, c, d, e, f, g, h] = slot.to_le_bytes();
    (u32::from_le_bytes([e, f, g, h]), Offset::new(u32::from_le_bytes([a, b, c, d])))
}
