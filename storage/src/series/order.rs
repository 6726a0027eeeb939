//! The order of a table's series, kept from one sort to the next.
//!
//! A fleet reports the same series again and again, so what was sorted at one flush is sorted at the next: only series
//! that are new to it are compared. The keys lie in memory in their order, so that whoever writes a file of them does
//! not look for each.
//!
//! Invariants: an order is of use only while the index has forgotten nothing since it was made, because an id may mean
//! another series then; it has at most twice the series that some sort has met, counts in the index' memory, and goes
//! before any series must.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::key_buffer::KeyBuffer;
use super::keys::Keys;
use super::{KeyRef, Paged, SeriesIndex};
use crate::error::{Error, Result};
use crate::model::TableId;

/// Series that are read at a time: who makes new ones waits so long.
const SERIES_AT_ONCE: usize = 4_096;

/// A series on its way to its place: a part of its key, and its id.
type Ranked = ([u64; 3], u32);

/// Parts of keys by which series are ranked. Keys that are alike for longer are compared as wholes: a tag may have a
/// megabyte, and each part takes a call.
const PARTS: usize = 8;

/// The orders of all tables.
#[derive(Debug, Default)]
pub(super) struct Orders {
    tables: Mutex<HashMap<TableId, Arc<Order>>>,
}

/// Series of one table in the order of their keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OrderedSeries {
    pub(crate) ids: Vec<u32>,
    pub(crate) keys: Keys,
}

/// An order that is kept.
#[derive(Debug, Default)]
struct Order {
    /// How often the index had forgotten series.
    forgettings: u32,
    series: OrderedSeries,
    /// By id the place in `series`, counted from 1; 0 for a series that is not there.
    places: Paged<u32>,
    bytes: usize,
}

impl SeriesIndex {
    /// The series with these ids, each once, all of one table and pinned, in the order of their keys. With `keep` the
    /// order is kept for the next time.
    ///
    /// # Errors
    /// [`Error::Internal`] when a series is not defined.
    pub(crate) fn in_order(&self, table: TableId, ids: &[u32], keep: bool) -> Result<OrderedSeries> {
        let forgettings = self.forgettings();
        let known =
            self.orders.get(table).filter(|known| known.forgettings == forgettings).unwrap_or_default();
        let (mut is_wanted, mut fresh) = (vec![false; known.series.ids.len()], Vec::with_capacity(ids.len()));
        for id in ids {
            match (*known.places.get(*id) as usize).checked_sub(1).and_then(|place| is_wanted.get_mut(place))
            {
                Some(wanted) => *wanted = true,
                None => fresh.push(*id),
            }
        }
        if fresh.is_empty() {
            return Ok(known.series.only(&is_wanted));
        }
        let fresh = self.sorted(&fresh)?;
        let wanted = known.series.only(&is_wanted);
        let all = wanted.merged(&fresh);
        if keep && self.is_over_room() {
            // Series themselves come first.
            self.orders.clear();
        } else if keep {
            let is_narrow = known.series.ids.len() + fresh.ids.len() > 2 * all.ids.len();
            let kept = if is_narrow || wanted.ids.len() == known.series.ids.len() {
                all.clone()
            } else {
                known.series.merged(&fresh)
            };
            self.orders.tables.lock().insert(table, Arc::new(Order::new(forgettings, kept)));
        }
        Ok(all)
    }

    /// The series with these ids, each of which is there once.
    fn sorted(&self, ids: &[u32]) -> Result<OrderedSeries> {
        let mut ranked: Vec<Ranked> = ids.iter().map(|id| ([0; 3], *id)).collect();
        self.rank(&mut ranked, 0)?;
        let mut keys = KeyBuffer::with_capacity(ids.len());
        self.visit(&mut ranked, |_, key| keys.push(key))?;
        Ok(OrderedSeries { ids: ranked.iter().map(|(_, id)| *id).collect(), keys: keys.finish() })
    }

    /// Sorts series whose keys are the same in their first `skipped` bytes: by what follows, in place, and those that are
    /// the same there by what follows that, [`PARTS`] times. So comparisons do not look for keys in memory.
    fn rank(&self, ranked: &mut [Ranked], skipped: usize) -> Result<()> {
        if skipped >= PARTS * size_of::<[u64; 3]>() {
            return self.rank_by_whole_keys(ranked);
        }
        self.visit(ranked, |part, key| *part = key.order_part(skipped))?;
        ranked.sort_unstable();
        let mut alike = ranked.chunk_by_mut(|(a, _), (b, _)| a == b).filter(|alike| alike.len() > 1);
        alike.try_for_each(|alike| self.rank(alike, skipped + size_of::<[u64; 3]>()))
    }

    /// Sorts series by all of their keys, which may be of any length.
    fn rank_by_whole_keys(&self, ranked: &mut [Ranked]) -> Result<()> {
        let mut keys = KeyBuffer::with_capacity(ranked.len());
        self.visit(ranked, |_, key| keys.push(key))?;
        let keys = keys.finish();
        let mut sorted: Vec<(usize, Ranked)> = ranked.iter().copied().enumerate().collect();
        sorted.sort_unstable_by(|(a, _), (b, _)| keys.get(*a).cmp(&keys.get(*b)));
        for (place, (_, series)) in ranked.iter_mut().zip(sorted) {
            *place = series;
        }
        Ok(())
    }

    /// Visits the keys of series, which are pinned, some at a time.
    fn visit(&self, series: &mut [Ranked], mut visit: impl FnMut(&mut [u64; 3], KeyRef<'_>)) -> Result<()> {
        for some in series.chunks_mut(SERIES_AT_ONCE) {
            let slots = self.slots.read();
            for (part, id) in some {
                let slot = slots.get(*id);
                let slot =
                    slot.ok_or_else(|| Error::Internal(format!("series {id} is not defined (KEY-3)")))?;
                visit(part, slot.key.borrowed());
            }
        }
        Ok(())
    }
}

impl OrderedSeries {
    /// Those for whose place `is_wanted` says so.
    fn only(&self, is_wanted: &[bool]) -> Self {
        let series = is_wanted.iter().filter(|is_wanted| **is_wanted).count();
        let mut only = Self { ids: Vec::with_capacity(series), keys: Keys::with_capacity(series) };
        for (place, id) in
            self.ids.iter().enumerate().filter(|(place, _)| is_wanted.get(*place) == Some(&true))
        {
            only.ids.push(*id);
            only.keys.push_from(&self.keys, place);
        }
        only
    }

    /// Both as one, of which each series is in one only. The keys lie beside each other afterwards.
    fn merged(&self, others: &Self) -> Self {
        if self.ids.is_empty() {
            return others.clone();
        }
        let series = self.ids.len() + others.ids.len();
        let (mut ids, mut keys) = (Vec::with_capacity(series), KeyBuffer::with_capacity(series));
        let mut others = others.series().peekable();
        for (id, key) in self.series() {
            while let Some((id, key)) = others.next_if(|(_, other)| *other < key) {
                ids.push(id);
                keys.push(key);
            }
            ids.push(id);
            keys.push(key);
        }
        for (id, key) in others {
            ids.push(id);
            keys.push(key);
        }
        Self { ids, keys: keys.finish() }
    }

    fn series(&self) -> impl Iterator<Item = (u32, KeyRef<'_>)> {
        self.ids.iter().copied().zip(self.keys.iter())
    }
}

impl Orders {
    fn get(&self, table: TableId) -> Option<Arc<Order>> {
        self.tables.lock().get(&table).map(Arc::clone)
    }

    /// Drops all of them.
    pub(super) fn clear(&self) {
        self.tables.lock().clear();
    }

    /// Bytes that they take.
    pub(super) fn bytes(&self) -> usize {
        self.tables.lock().values().map(|order| order.bytes).sum()
    }
}

impl Order {
    fn new(forgettings: u32, series: OrderedSeries) -> Self {
        let mut places = Paged::default();
        for (place, id) in (1..).zip(&series.ids) {
            *places.get_mut(*id) = place;
        }
        let ids = series.ids.capacity() * size_of::<u32>();
        let bytes = ids + series.keys.bytes() + places.memory_bytes();
        Self { forgettings, series, places, bytes }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::SeriesIndex;
    use crate::model::{SeriesId, TableId};
    use crate::series::canonical_key;

    const TABLE: TableId = TableId::new(1);

    fn series(index: &SeriesIndex, numbers: std::ops::Range<u32>) -> Vec<u32> {
        let id = |number: u32| {
            // Each number below a thousand once, in no order; most keys begin alike for longer than is compared at once.
            let tag = (number * 7_919 % 1_000).to_string();
            let building = "a building with a very long name ".repeat(number as usize % 3);
            // There may be many tags that a series lacks.
            let device = if number.is_multiple_of(2) { 1 } else { 60 };
            let key = canonical_key([(0, building.as_str()), (device, tag.as_str())].into_iter()).unwrap();
            index.lookup("db").resolve(TABLE, &key).unwrap().id.get()
        };
        numbers.map(id).collect()
    }

    #[test]
    fn an_order_is_the_same_whatever_was_kept_before() {
        let index = SeriesIndex::new(Arc::default(), 1 << 30);
        let ids = series(&index, 0..200);
        let parts = [(0, 50), (20, 90), (40, 120), (190, 200), (0, 200), (60, 61), (0, 200)];
        for (number, (from, to)) in parts.into_iter().enumerate() {
            let wanted = &ids[from..to];
            let mut sorted: Vec<_> = wanted.iter().map(|id| index.get(SeriesId::new(*id)).unwrap()).collect();
            sorted.sort_by(|a, b| a.key().borrowed().cmp(&b.key().borrowed()));
            let ordered = index.in_order(TABLE, wanted, number != 1).unwrap();
            let ids: Vec<u32> = sorted.iter().map(|series| series.id.get()).collect();
            let keys: Vec<_> = sorted.iter().map(|series| series.key().borrowed()).collect();
            assert_eq!(ordered.ids, ids, "{from}..{to}");
            assert_eq!(ordered.keys.iter().collect::<Vec<_>>(), keys, "{from}..{to}");
        }
    }

    #[test]
    fn keys_that_are_alike_for_a_megabyte_are_told_apart_on_a_small_stack() {
        let index = SeriesIndex::new(Arc::default(), 1 << 30);
        let id = |end: char| {
            let tag = "x".repeat(1 << 20) + &end.to_string();
            let key = canonical_key(std::iter::once((0, tag.as_str()))).unwrap();
            index.lookup("db").resolve(TABLE, &key).unwrap().id.get()
        };
        let ids = [id('b'), id('c'), id('a')];
        std::thread::scope(|scope| {
            let ranking = std::thread::Builder::new().stack_size(128 << 10);
            let ranked =
                ranking.spawn_scoped(scope, || index.in_order(TABLE, &ids, true).unwrap().ids).unwrap();
            assert_eq!(ranked.join().unwrap(), [ids[2], ids[0], ids[1]]);
        });
    }

    #[test]
    fn an_order_counts_as_memory_and_goes_before_any_series_must() {
        let index = SeriesIndex::new(Arc::default(), 1 << 30);
        let ids = series(&index, 0..200);
        let before = index.measure();
        index.in_order(TABLE, &ids, true).unwrap();
        assert!(index.measure() > before);

        let index = index.with_room(1);
        let fresh = series(&index, 200..201);
        assert_eq!(index.in_order(TABLE, &fresh, true).unwrap().ids, fresh);
        assert_eq!(index.orders.bytes(), 0);
    }
}
