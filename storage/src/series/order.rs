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
use super::{Paged, Series, SeriesIndex};
use crate::error::Result;
use crate::model::TableId;

/// The orders of all tables.
#[derive(Debug, Default)]
pub(super) struct Orders {
    tables: Mutex<HashMap<TableId, Arc<Order>>>,
}

/// Series of one table in the order of their keys.
#[derive(Debug, Default)]
struct Order {
    /// How often the index had forgotten series.
    forgettings: u32,
    series: Vec<Series>,
    /// By id the place in `series`, counted from 1; 0 for a series that is not there.
    places: Paged<u32>,
    bytes: usize,
}

impl SeriesIndex {
    /// The series with these ids, all of one table and pinned, in the order of their keys. With `keep` the order is
    /// kept for the next time.
    ///
    /// # Errors
    /// Those of [`get_all`](Self::get_all).
    pub(crate) fn in_order(&self, table: TableId, ids: &[u32], keep: bool) -> Result<Vec<Series>> {
        let forgettings = self.forgettings();
        let known =
            self.orders.get(table).filter(|known| known.forgettings == forgettings).unwrap_or_default();
        let (mut is_wanted, mut fresh) = (vec![false; known.series.len()], Vec::new());
        for id in ids {
            match (*known.places.get(*id) as usize).checked_sub(1).and_then(|place| is_wanted.get_mut(place))
            {
                Some(wanted) => *wanted = true,
                None => fresh.push(*id),
            }
        }
        let wanted =
            known.series.iter().zip(&is_wanted).filter_map(|(series, wanted)| wanted.then_some(series));
        if fresh.is_empty() {
            return Ok(wanted.cloned().collect());
        }
        let mut fresh = self.get_all(&fresh)?;
        sort(&mut fresh);
        let all = merged(wanted, &fresh);
        if keep && self.is_over_room() {
            // Series themselves come first.
            self.orders.clear();
        } else if keep {
            let order = if known.series.len() + fresh.len() > 2 * all.len() {
                Order::new(forgettings, all.iter())
            } else {
                Order::new(forgettings, merged(known.series.iter(), &fresh).iter())
            };
            self.orders.tables.lock().insert(table, Arc::new(order));
        }
        Ok(all)
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
    fn new<'a>(forgettings: u32, series: impl Iterator<Item = &'a Series> + Clone) -> Self {
        let mut keys = KeyBuffer::default();
        series.clone().for_each(|series| keys.push(&series.key));
        let with_key = |(series, key): (&Series, _)| Series { id: series.id, table: series.table, key };
        let series: Vec<Series> = series.zip(keys.finish()).map(with_key).collect();
        let mut places = Paged::default();
        for (place, series) in (1..).zip(&series) {
            *places.get_mut(series.id.get()) = place;
        }
        let key_bytes: usize = series.iter().map(|series| series.key.as_bytes().len()).sum();
        let bytes = series.len() * size_of::<Series>() + key_bytes + places.memory_bytes();
        Self { forgettings, series, places, bytes }
    }
}

/// Two lists of series, each in order and no series in both, as one.
fn merged<'a>(mut known: impl Iterator<Item = &'a Series>, fresh: &'a [Series]) -> Vec<Series> {
    let mut all = Vec::with_capacity(known.size_hint().1.unwrap_or(0) + fresh.len());
    let (mut next, mut fresh) = (known.next(), fresh.iter().peekable());
    while let Some(series) = next {
        match fresh.next_if(|fresh| fresh.key < series.key) {
            Some(fresh) => all.push(fresh.clone()),
            None => {
                all.push(series.clone());
                next = known.next();
            }
        }
    }
    all.extend(fresh.cloned());
    all
}

/// Sorts series by their keys. Most are told apart by the beginning of their keys, which is compared in place;
/// else each comparison would follow two pointers.
fn sort(series: &mut Vec<Series>) {
    let mut ranked: Vec<([u64; 3], Series)> =
        series.drain(..).map(|series| (series.key.order_prefix(), series)).collect();
    ranked.sort_unstable_by(|(a, first), (b, second)| a.cmp(b).then_with(|| first.key.cmp(&second.key)));
    series.extend(ranked.into_iter().map(|(_, series)| series));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::SeriesIndex;
    use crate::model::TableId;
    use crate::series::canonical_key;

    const TABLE: TableId = TableId::new(1);

    fn series(index: &SeriesIndex, numbers: std::ops::Range<u32>) -> Vec<u32> {
        let id = |number: u32| {
            // Each number below a thousand once, in no order.
            let tag = (number * 7_919 % 1_000).to_string();
            let key = canonical_key(std::iter::once((0, tag.as_str()))).unwrap();
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
            let mut sorted = index.get_all(wanted).unwrap();
            sorted.sort_by(|a, b| a.key().cmp(b.key()));
            assert_eq!(index.in_order(TABLE, wanted, number != 1).unwrap(), sorted, "{from}..{to}");
        }
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
        assert_eq!(index.in_order(TABLE, &fresh, true).unwrap().len(), 1);
        assert_eq!(index.orders.bytes(), 0);
    }
}
