//! The place of each row: a counting sort by series, and by time where a series did not arrive in its order.

use std::sync::Arc;

use arrow::buffer::ScalarBuffer;

use super::scatter::put_all;
use super::slots::{PagePool, Slots};
use super::{Chunk, RowFilter};
use crate::error::{Error, Result};
use crate::model::TimeRange;
use crate::rows::SortedRows;
use crate::series::{ById, Keys, OrderedSeries, SeriesIndex};

/// The place of a row that is not wanted.
pub(super) const NO_PLACE: u32 = u32::MAX;

/// Where the rows of some chunks stand in the result.
#[derive(Debug)]
pub(super) struct Places {
    /// For each row of the chunks, in order of arrival, its place or [`NO_PLACE`]. Rows of one point share theirs.
    of_rows: Vec<u32>,
    /// Number of places: of rows that stand at one, only the last one counts.
    points: usize,
}

/// Rows on their way to their places.
struct Order {
    /// The series in order.
    keys: Keys,
    /// For each series, the place at which its rows end.
    ends: Vec<u32>,
    /// The time at each place.
    times: Slots<i64>,
    places: Places,
}

/// The wanted rows of `chunks`, which are in order of arrival, without their fields; and the places of all rows.
pub(super) fn order(
    chunks: &[Arc<Chunk>],
    index: &SeriesIndex,
    filter: RowFilter<'_>,
) -> Result<(SortedRows, Places)> {
    let rows: usize = chunks.iter().map(|chunk| chunk.batch.rows()).sum();
    if !u32::try_from(rows).is_ok_and(|rows| rows < NO_PLACE) {
        return Err(Error::Internal("memtables with 4 billion rows".into()));
    }
    let Counts { numbers, seen, mut rows_of, of_rows: mut places } = Counts::of(chunks, rows, filter.times);
    let table = chunks.first().map(|chunk| chunk.batch.table).unwrap_or_default();
    // Whoever wants all times looks at all of a memtable, as every flush does.
    let OrderedSeries { ids, mut keys } = index.in_order(table, &seen, filter.times == TimeRange::ALL)?;
    let (mut end, mut ends) = (0, Vec::with_capacity(ids.len()));
    keys.retain(|position, key| {
        // Most series of a table may have no row here, and are to get no room.
        let number = ids.get(position).and_then(|id| numbers.get(*id)).copied().unwrap_or_default();
        let Some(next) = rows_of.get_mut(number.wrapping_sub(1) as usize) else { return false };
        let is_wanted = (filter.series)(key);
        // From here on it is the place of the series' next row.
        let rows = std::mem::replace(next, if is_wanted { end } else { NO_PLACE });
        if is_wanted {
            end += rows;
            ends.push(end);
        }
        is_wanted
    });
    let held: usize = chunks.iter().map(|chunk| chunk.batch.memory_bytes()).sum();
    (filter.room)(share(held, end as usize, places.len()))?;
    for place in &mut places {
        let Some(next) = rows_of.get_mut(*place as usize) else { continue };
        *place = *next;
        if *next != NO_PLACE {
            *next += 1;
        }
    }
    let places = Places { of_rows: places, points: end as usize };
    // Every place has a row.
    let mut times = PagePool::default().slots(places.points);
    for (chunk, places) in places.of(chunks) {
        put_all(&mut times, places, &chunk.batch.times);
    }
    let mut order = Order { keys, ends, times, places };
    if !order.ascends() {
        order.settle();
    }
    let Order { keys, ends, times, places } = order;
    let times = ScalarBuffer::from(times).slice(0, places.points);
    Ok((SortedRows { keys, ends, times, fields: Vec::new() }, places))
}

/// The part of `bytes` that so many of all rows have.
fn share(bytes: usize, rows: usize, all: usize) -> usize {
    let share = bytes as u128 * rows as u128 / all.max(1) as u128;
    usize::try_from(share).unwrap_or(usize::MAX)
}

impl Places {
    /// Number of points.
    pub(super) fn points(&self) -> usize {
        self.points
    }

    /// Only the points at these places stay, and close up.
    pub(super) fn keep(&mut self, stay: &[u32]) {
        let mut closed_up = vec![NO_PLACE; self.points];
        for (place, before) in (0..).zip(stay) {
            if let Some(closed_up) = closed_up.get_mut(*before as usize) {
                *closed_up = place;
            }
        }
        self.move_to(&closed_up, stay.len());
    }

    /// Moves each place to where `moved` says; there are so many afterwards.
    fn move_to(&mut self, moved: &[u32], points: usize) {
        for place in &mut self.of_rows {
            // What is not there has no place.
            *place = moved.get(*place as usize).copied().unwrap_or(NO_PLACE);
        }
        self.points = points;
    }

    /// The places of the rows of each chunk.
    pub(super) fn of<'a>(&'a self, chunks: &'a [Arc<Chunk>]) -> impl Iterator<Item = (&'a Chunk, &'a [u32])> {
        let mut rest = self.of_rows.as_slice();
        chunks.iter().map(move |chunk| {
            let (own, others) = rest.split_at_checked(chunk.batch.rows()).unwrap_or((rest, &[]));
            rest = others;
            (chunk.as_ref(), own)
        })
    }
}

impl Order {
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
        let mut settled: Slots<u32> = PagePool::default().slots(self.places.points);
        let (times, settled) = (&mut *self.times, &mut *settled);
        let mut by_time: Vec<(i64, u32)> = Vec::new();
        let (mut start, mut points) = (0, 0);
        for end in &mut self.ends {
            by_time.clear();
            by_time.extend(
                times.get(start..*end as usize).unwrap_or_default().iter().copied().zip(place_of(start)..),
            );
            sort_by_time(&mut by_time);
            start = *end as usize;
            let mut last = None;
            for (time, place) in &by_time {
                if last != Some(*time) {
                    last = Some(*time);
                    // It stands no later than what was read already.
                    if let Some(slot) = times.get_mut(points) {
                        *slot = *time;
                    }
                    points += 1;
                }
                if let Some(settled) = settled.get_mut(*place as usize) {
                    *settled = place_of(points - 1);
                }
            }
            *end = place_of(points);
        }
        self.places.move_to(settled, points);
    }
}

/// Sorts the rows of a series, which have arrived nearly in order: each changes places with the few that it must
/// precede. When they are too many, all are sorted.
fn sort_by_time(rows: &mut [(i64, u32)]) {
    let mut moves = rows.len() * MOVES_PER_ROW;
    for last in 1..rows.len() {
        let mut at = last;
        while at > 0
            && let Some([before, row]) = rows.get(at - 1..=at)
            && before.0 > row.0
        {
            if moves == 0 {
                return rows.sort_unstable();
            }
            moves -= 1;
            rows.swap(at - 1, at);
            at -= 1;
        }
    }
}

/// Rows that a row may move, on average, before sorting costs less.
const MOVES_PER_ROW: usize = 4;

/// A place, of which there are fewer than 2^32 because there are not more rows.
fn place_of(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(NO_PLACE)
}

/// The series of the rows.
struct Counts {
    /// By id the number of a series, counted from 1; 0 for one that has no row.
    numbers: ById<u32>,
    /// The ids that occur, in order of appearance.
    seen: Vec<u32>,
    /// How many rows each of them has.
    rows_of: Vec<u32>,
    /// For each row the place of its series in `seen`; [`NO_PLACE`] for a row that is not wanted.
    of_rows: Vec<u32>,
}

impl Counts {
    /// The series of the rows within `times`.
    fn of(chunks: &[Arc<Chunk>], rows: usize, times: TimeRange) -> Self {
        let (min, max) = (times.min.nanos(), times.max.nanos());
        let mut numbers = ById::of(chunks.iter().map(|chunk| &chunk.batch));
        let series = numbers.capacity().min(rows);
        let (mut seen, mut rows_of) = (Vec::with_capacity(series), Vec::<u32>::with_capacity(series));
        let mut of_rows = Vec::with_capacity(rows);
        for chunk in chunks {
            let all = chunk.times.min >= times.min && chunk.times.max <= times.max;
            let of_chunk = chunk.batch.series.iter().zip(chunk.batch.times.iter());
            of_rows.extend(of_chunk.map(|(series, time)| {
                if !all && (*time < min || *time > max) {
                    return NO_PLACE;
                }
                let number = numbers.get_mut(*series);
                if *number == 0 {
                    seen.push(*series);
                    rows_of.push(0);
                    *number = place_of(seen.len());
                }
                let place = *number - 1;
                if let Some(rows) = rows_of.get_mut(place as usize) {
                    *rows += 1;
                }
                place
            }));
        }
        Self { numbers, seen, rows_of, of_rows }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::sort_by_time;

    proptest! {
        #[test]
        fn rows_of_a_series_come_into_order_however_they_arrived(
            times in prop_oneof![
                proptest::collection::vec(-20_i64..20, 0..200),
                // Nearly in order, as over several connections.
                proptest::collection::vec(0_i64..4, 0..200)
                    .prop_map(|late| late.iter().zip(0..).map(|(late, at)| at - late).collect()),
            ],
        ) {
            let mut rows: Vec<(i64, u32)> = times.into_iter().zip(0..).collect();
            let mut expected = rows.clone();
            expected.sort_unstable();
            sort_by_time(&mut rows);
            prop_assert_eq!(rows, expected);
        }
    }
}
