//! The order of a table's series, kept from one sort to the next.
//!
//! A fleet reports the same series again and again, so what was sorted at one flush is sorted at the next: only series
//! that are new to it are compared. The keys lie in memory in their order, so that whoever writes a file of them does
//! not look for each.
//!
//! Invariants: an order is of use only while the index has forgotten nothing since it was made, because an id may mean
//! another series then; it has at most twice the series that some sort has met, counts in the index' memory, and goes before any series must.

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
