//! Forgetting: series that nothing refers to make room when the index takes half of what it may.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::by_key::ByKey;
use super::{KEPT, SeriesIndex, SeriesKey};
use crate::model::{FrameNumber, SeriesId, TableId};

/// A series that the index still holds: what a checkpoint of the definitions needs.
pub(crate) type Held = (SeriesId, TableId, SeriesKey);

impl SeriesIndex {
    /// Keeps a series until it is [released](Self::release), however long it is silent.
    pub fn keep(&self, id: SeriesId) {
        if let Some(slot) = self.slots.read().get(id.get()) {
            slot.used.store(KEPT, Ordering::Relaxed);
        }
    }

    /// Lets a kept series go when it is not used any more.
    pub fn release(&self, id: SeriesId) {
        if let Some(slot) = self.slots.read().get(id.get()) {
            slot.used.store(self.rounds.current(), Ordering::Relaxed);
        }
    }

    /// Whether a flush should come soon, so that series can be forgotten: much of the room that is left once half
    /// of it is taken belongs to series that came since the last one, or new ones were refused.
    #[must_use]
    pub(crate) fn wants_round(&self) -> bool {
        let born = self.born.load(Ordering::Relaxed);
        let refuses = self.refuses.load(Ordering::Relaxed) && born > 0;
        self.is_over_room() && (refuses || born * self.bytes_per_series() >= self.max_bytes / 8)
    }

    /// Whether it takes so much that series are to be forgotten.
    #[must_use]
    pub(crate) fn is_over_room(&self) -> bool {
        self.measure() >= self.room
    }

    #[cfg(test)]
    pub(super) fn with_room(self, room: usize) -> Self {
        Self { room, ..self }
    }

    pub(super) fn is_full(&self) -> bool {
        self.memory_bytes() >= self.max_bytes
    }

    /// Forgets series that were not used for the longest time, as far as nothing can refer to them and until the
    /// index takes less than half of what it may. `first_frame` is the first that the log holds. Returns how many
    /// were forgotten.
    pub(crate) fn forget(&self, first_frame: FrameNumber) -> usize {
        let needed = self.rounds.first_needed(first_frame);
        let excess = self.measure().saturating_sub(self.room);
        if excess == 0 {
            return 0;
        }
        match self.round_to_forget_before(needed, excess / self.bytes_per_series() + 1) {
            Some(round) => self.forget_before(round),
            None => 0,
        }
    }

    /// Forgets every series that nothing can refer to, however much room there is. Returns how many were forgotten.
    pub(crate) fn forget_all(&self, first_frame: FrameNumber) -> usize {
        self.forget_before(self.rounds.first_needed(first_frame))
    }

    /// Number of series that somebody keeps.
    pub(crate) fn kept(&self) -> usize {
        let slots = self.slots.read();
        let kept = |slot: &super::Slot| slot.used.load(Ordering::Relaxed) == KEPT;
        slots.pages.iter().filter(|(_, slot)| slot.as_ref().is_some_and(kept)).count()
    }

    fn forget_before(&self, round: u32) -> usize {
        self.forgettings.fetch_add(1, Ordering::Relaxed);
        self.orders.clear();
        // Aliases first: one that stays has told its series when it was used before the series is looked at.
        let room = self.max_bytes.saturating_sub(self.measure());
        self.aliases.forget_before(round, room, |uses| self.touch_all(&uses));
        let mut forgotten = 0;
        for shard in ByKey::shards() {
            let (mut by_key, mut slots) = (self.by_key.write(), self.slots.write());
            forgotten += by_key.retain(shard, |id| !slots.remove_if_older(id, round));
        }
        self.slots.write().pages.retain(|_, slot| slot.is_some());
        self.measure();
        forgotten
    }

    /// How often series were forgotten: since the last time, an id that is not pinned may have come to mean another.
    #[must_use]
    pub fn forgettings(&self) -> u32 {
        self.forgettings.load(Ordering::Relaxed)
    }

    /// Everything that is held now.
    pub(crate) fn held(&self) -> Vec<Held> {
        let slots = self.slots.read();
        let all = slots.pages.iter();
        all.filter_map(|(id, slot)| slot.as_ref().map(|s| (SeriesId::new(id), s.table, s.key.clone())))
            .collect()
    }

    /// Forgets one series; the caller holds `births`.
    pub(super) fn forget_one(&self, hash: u32, id: SeriesId) {
        self.forgettings.fetch_add(1, Ordering::Relaxed);
        self.by_key.write().remove(hash, id.get());
        self.slots.write().remove(id.get());
    }

    /// The first round that is not to be forgotten, so that at least `count` series are if `needed` allows it; `None`
    /// when it allows none.
    fn round_to_forget_before(&self, needed: u32, count: usize) -> Option<u32> {
        let mut last_used = BTreeMap::<u32, usize>::new();
        for (_, slot) in self.slots.read().pages.iter() {
            let Some(used) = slot.as_ref().map(|slot| slot.used.load(Ordering::Relaxed)) else { continue };
            if used < needed {
                *last_used.entry(used).or_default() += 1;
            }
        }
        let mut found = 0;
        for (round, series) in last_used {
            found += series;
            if found >= count {
                return Some(round + 1);
            }
        }
        (found > 0).then_some(needed)
    }

    fn bytes_per_series(&self) -> usize {
        self.memory_bytes() / self.len().max(1) + 1
    }
}

impl super::Slots {
    fn remove_if_older(&mut self, id: u32, round: u32) -> bool {
        let is_older = self.get(id).is_some_and(|slot| slot.used.load(Ordering::Relaxed) < round);
        if is_older {
            self.remove(id);
        }
        is_older
    }

    fn remove(&mut self, id: u32) {
        if let Some(slot) = self.pages.get_mut(id).take() {
            self.count -= 1;
            self.key_bytes -= slot.key.as_bytes().len();
        }
    }
}
