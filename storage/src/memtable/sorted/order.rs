//! The place of each row: a counting sort by series, and by time where a series did not arrive in its order.

use std::sync::Arc;

use super::{Chunk, RowFilter};
use crate::error::{Error, Result};
use crate::model::TimeRange;
use crate::series::{Paged, Series, SeriesIndex, SeriesKey};

/// The place of a row that is not wanted.
pub(super) const NO_PLACE: u32 = u32::MAX;

/// Where the rows of some chunks stand in the result.
#[derive(Debug)]
pub(super) struct Order {
    /// The series in order.
    pub(super) keys: Vec<SeriesKey>,
    /// For each series, the place at which its rows end.
    pub(super) ends: Vec<u32>,
    /// The time at each place.
    pub(super) times: Vec<i64>,
    /// For each row of the chunks, in order of arrival, its place or [`NO_PLACE`]. Rows of one point share theirs.
    pub(super) places: Vec<u32>,
}

/// The order of the wanted rows of `chunks`, which are in order of arrival.
pub(super) fn order(chunks: &[Arc<Chunk>], index: &SeriesIndex, filter: RowFilter<'_>) -> Result<Order> {
    let rows: usize = chunks.iter().map(|chunk| chunk.batch.rows()).sum();
    if !u32::try_from(rows).is_ok_and(|rows| rows < NO_PLACE) {
        return Err(Error::Internal("memtables with 4 billion rows".into()));
    }
    let mut counts = Counts::of(chunks, filter.times);
    let mut series = index.get_all(&counts.seen)?;
    sort_series(&mut series);
    let (mut keys, mut ends) = (Vec::with_capacity(series.len()), Vec::with_capacity(series.len()));
    let mut end = 0;
    for series in series {
        let slot = counts.slot(series.id.get());
        if (filter.series)(&series) {
            let start = end;
            end += *slot;
            *slot = start;
            keys.push(series.key().clone());
            ends.push(end);
        } else {
            *slot = NO_PLACE;
        }
    }
    let mut times = vec![0; end as usize];
    let mut places = Vec::with_capacity(rows);
    for_each_row(chunks, filter.times, |row| {
        let place = row.map_or(NO_PLACE, |(series, time)| {
            let next = counts.slot(series);
            let place = *next;
            if let Some(slot) = times.get_mut(place as usize) {
                *slot = time;
                *next += 1;
            }
            place
        });
        places.push(place);
    });
    let mut order = Order { keys, ends, times, places };
    if !order.ascends() {
        order.settle();
    }
    Ok(order)
}

impl Order {
    /// Number of points.
    pub(super) fn points(&self) -> usize {
        self.times.len()
    }

    /// The part of `places` that belongs to each chunk.
    pub(super) fn places_of<'a>(
        &'a self,
        chunks: &'a [Arc<Chunk>],
    ) -> impl Iterator<Item = (&'a Chunk, &'a [u32])> {
        let mut rest = self.places.as_slice();
        chunks.iter().map(move |chunk| {
            let (own, others) = rest.split_at_checked(chunk.batch.rows()).unwrap_or((rest, &[]));
            rest = others;
            (chunk.as_ref(), own)
        })
    }

    /// Whether the times of each series ascend, none twice.
    fn ascends(&self) -> bool {
        self.runs().all(|(_, run)| run.is_sorted_by(|a, b| a < b))
    }

    /// Where each series begins, and its times.
    fn runs(&self) -> impl Iterator<Item = (usize, &[i64])> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|end| *end as usize));
        starts
            .zip(&self.ends)
            .map(|(start, end)| (start, self.times.get(start..*end as usize).unwrap_or_default()))
    }

    /// Sorts each series by time and gives rows of equal times one place.
    fn settle(&mut self) {
        // From a row's place by arrival to its place by time.
        let mut settled: Vec<u32> = vec![0; self.times.len()];
        let mut times: Vec<i64> = Vec::with_capacity(self.times.len());
        let mut ends = Vec::with_capacity(self.ends.len());
        let mut by_time: Vec<(i64, usize)> = Vec::new();
        for (start, run) in self.runs() {
            by_time.clear();
            by_time.extend(run.iter().copied().zip(start..));
            by_time.sort_unstable();
            let first = times.len();
            for (time, place) in &by_time {
                if times.len() == first || times.last() != Some(time) {
                    times.push(*time);
                }
                if let Some(settled) = settled.get_mut(*place) {
                    *settled = place_of(times.len() - 1);
                }
            }
            ends.push(place_of(times.len()));
        }
        for place in &mut self.places {
            // What is not there has no place.
            *place = settled.get(*place as usize).copied().unwrap_or(NO_PLACE);
        }
        (self.times, self.ends) = (times, ends);
    }
}

/// A place, of which there are fewer than 2^32 because there are not more rows.
fn place_of(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(NO_PLACE)
}

/// Rows per series.
struct Counts {
    /// The least id that occurs.
    first: u32,
    /// By id, from the first on.
    slots: Paged<u32>,
    /// The ids that occur, in order of appearance.
    seen: Vec<u32>,
}

impl Counts {
    /// The counts of the rows within `times`.
    fn of(chunks: &[Arc<Chunk>], times: TimeRange) -> Self {
        let ids = || chunks.iter().flat_map(|chunk| chunk.batch.series.iter().copied());
        let first = ids().min().unwrap_or_default();
        let mut counts = Self { first, slots: Paged::default(), seen: Vec::new() };
        for_each_row(chunks, times, |row| {
            let Some((series, _)) = row else { return };
            let slot = counts.slot(series);
            *slot += 1;
            if *slot == 1 {
                counts.seen.push(series);
            }
        });
        counts
    }

    /// The slot of a series that occurs.
    fn slot(&mut self, series: u32) -> &mut u32 {
        self.slots.get_mut(series - self.first)
    }
}

/// Shows the series and time of each row in order of arrival, nothing for a row that is not within `times`.
fn for_each_row(chunks: &[Arc<Chunk>], times: TimeRange, mut visit: impl FnMut(Option<(u32, i64)>)) {
    let (min, max) = (times.min.nanos(), times.max.nanos());
    for chunk in chunks {
        for (&series, &time) in chunk.batch.series.iter().zip(chunk.batch.times.iter()) {
            visit((time >= min && time <= max).then_some((series, time)));
        }
    }
}

/// Sorts series by their keys. Most are told apart by the beginning of their keys, which is compared in place;
/// else each comparison would follow two pointers.
fn sort_series(series: &mut Vec<Series>) {
    let mut ranked: Vec<([u64; 3], Series)> =
        series.drain(..).map(|series| (series.key().order_prefix(), series)).collect();
    ranked.sort_unstable_by(|(a, first), (b, second)| a.cmp(b).then_with(|| first.key().cmp(second.key())));
    series.extend(ranked.into_iter().map(|(_, series)| series));
}
