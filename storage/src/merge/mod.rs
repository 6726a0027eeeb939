//! Merges sources of sorted rows into one, in which the last write wins per field.
//!
//! 1. Every source gives batches of [`SortedRows`], in order; a series may go on from one batch to the next. Sources
//!    are numbered oldest first.
//! 2. Of all sources the smallest series comes next. While only one has it, its rows are taken as they stand.
//! 3. Where several have it one after the other in time, they give their rows in turn. Else the one with the earliest
//!    time gives its rows up to where the next begins; where times are equal, the rows are one point: per *field* the
//!    newest source with a value wins, and gives both columns of the field, since writing one clears the other.
//! 4. What was taken is gathered column by column when a batch is full.
//!
//! The cost is one comparison of keys for each series of each source and one search for each change between
//! sources; rows that overlap nothing are copied in runs. A merge row by row over all tags costs ten times as
//! much (see `decisions/005-series-runs-are-merged.md`).
//!
//! Invariants: nothing is decided before every source that has not ended has given its next row; the output is
//! [`SortedRows`] as that module says.

mod gather;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::gather::{Gather, Pick};
use crate::error::{Error, Result};
use crate::model::{ColumnId, FieldSchema};
use crate::rows::SortedRows;
use crate::series::KeyRef;

/// What a [`Merger`] can do next.
#[derive(Debug)]
pub enum Step {
    /// This source must give its next rows, or end.
    Needs(usize),
    /// The next rows of the output; at least one.
    Rows(SortedRows),
    /// Every source has ended and every row was given.
    Done,
}

/// Merges sorted rows. It neither reads nor waits: whoever drives it does.
#[derive(Debug)]
pub struct Merger {
    sources: Vec<Source>,
    gather: Gather,
    batch_rows: usize,
    /// The sources that stand at the smallest series of all, oldest first.
    holders: Vec<usize>,
}

/// One source's current batch and place in it.
#[derive(Debug, Default)]
struct Source {
    rows: Option<Current>,
    ended: bool,
    left_series: bool,
}

#[derive(Debug)]
struct Current {
    rows: Arc<SortedRows>,
    /// The batch's number in [`Gather`], given when the first row is taken.
    batch: Option<u32>,
    series: usize,
    row: usize,
}

/// The physical columns of one field.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Columns {
    narrow: ColumnId,
    wide: Option<ColumnId>,
}

impl Merger {
    /// A merge of so many sources, oldest first, of a table with these fields. Fields that are not named are left
    /// out. Batches of the output have at least `batch_rows` rows, but for the last.
    #[must_use]
    pub fn new<'a>(
        fields: impl IntoIterator<Item = &'a FieldSchema>,
        sources: usize,
        batch_rows: usize,
    ) -> Self {
        let columns = fields
            .into_iter()
            .map(|field| Columns { narrow: field.narrow.id, wide: field.wide.as_ref().map(|wide| wide.id) })
            .collect();
        let sources = std::iter::repeat_with(Source::default).take(sources).collect();
        Self { sources, gather: Gather::new(columns), batch_rows: batch_rows.max(1), holders: Vec::new() }
    }

    /// Gives a source's next rows.
    ///
    /// # Errors
    /// [`Error::Internal`] when the source did not need any, or does not exist.
    pub fn push(&mut self, source: usize, rows: SortedRows) -> Result<()> {
        let place = self.sources.get_mut(source).filter(|s| s.rows.is_none() && !s.ended);
        let place = place.ok_or_else(|| Error::Internal(format!("source {source} needs no rows")))?;
        if rows.rows() > 0 {
            place.rows = Some(Current { rows: Arc::new(rows), batch: None, series: 0, row: 0 });
        }
        Ok(())
    }

    /// Says that a source has no more rows.
    pub fn end(&mut self, source: usize) {
        if let Some(source) = self.sources.get_mut(source) {
            source.ended = true;
        }
    }

    /// Goes on as far as the sources allow.
    ///
    /// # Errors
    /// [`Error::Arrow`] when columns of one field differ in type.
    pub fn step(&mut self) -> Result<Step> {
        loop {
            if let Some(source) = self.sources.iter().position(|s| s.rows.is_none() && !s.ended) {
                // What it gives next may be of the current series too.
                self.holders.clear();
                return Ok(Step::Needs(source));
            }
            if self.gather.rows() >= self.batch_rows {
                return Ok(Step::Rows(self.gather.take()?));
            }
            if self.holders.is_empty() && !self.find_holders() {
                return Ok(if self.gather.rows() > 0 { Step::Rows(self.gather.take()?) } else { Step::Done });
            }
            self.take_series();
        }
    }

    /// Takes rows of the current series, until its holders have given all or one of them needs rows.
    fn take_series(&mut self) {
        let mut holders = std::mem::take(&mut self.holders);
        let in_turn = self.stand_in_turn(&holders);
        let mut needs = false;
        if let Some(current) = holders.first().and_then(|first| self.sources.get(*first)?.rows.as_ref()) {
            self.gather.begin(&current.rows.keys, current.series);
        }
        while !holders.is_empty() && !needs {
            let pick = match holders.as_slice() {
                &[source, ..] if in_turn => self.take_run(source, None),
                _ => self.take_earliest(&holders),
            };
            let Some(pick) = pick else { break };
            self.gather.add(pick);
            holders.retain(|source| {
                let Some(source) = self.sources.get_mut(*source) else { return false };
                let left = source.has_left_series();
                needs |= source.rows.is_none() && !source.ended;
                !left
            });
        }
        self.holders = holders;
    }

    /// Whether each source has left the times of the current series before the next one comes to them, as far as their
    /// batches go: so do files of rows that came in order.
    fn stand_in_turn(&self, holders: &[usize]) -> bool {
        let mut reached = None::<i64>;
        holders.iter().filter_map(|source| self.sources.get(*source)?.rows.as_ref()).all(|current| {
            let follows = reached.is_none_or(|reached| current.time().is_some_and(|time| reached < time));
            reached = current.end().and_then(|end| current.rows.times.get(end.checked_sub(1)?)).copied();
            follows
        })
    }

    /// Finds the smallest series that any source stands at, and all that do; `false` when no source has rows.
    fn find_holders(&mut self) -> bool {
        let holders = &mut self.holders;
        let mut smallest: Option<KeyRef<'_>> = None;
        for (number, source) in self.sources.iter().enumerate() {
            let Some(key) = source.rows.as_ref().and_then(Current::key) else { continue };
            match smallest.map(|smallest| key.cmp(&smallest)) {
                Some(std::cmp::Ordering::Greater) => continue,
                Some(std::cmp::Ordering::Equal) => {}
                Some(std::cmp::Ordering::Less) | None => {
                    holders.clear();
                    smallest = Some(key);
                }
            }
            holders.push(number);
        }
        smallest.is_some()
    }

    /// Of several sources at one series: the rows of the one with the earliest time, up to the next one's first;
    /// or, where times are equal, one point of all of them.
    fn take_earliest(&mut self, holders: &[usize]) -> Option<Pick> {
        let time_of = |source: usize| self.sources.get(source).and_then(|s| s.rows.as_ref()?.time());
        let (mut first, mut second) = (None::<(i64, usize)>, None::<i64>);
        for (time, source) in holders.iter().filter_map(|source| Some((time_of(*source)?, *source))) {
            match first {
                Some((earliest, _)) if time >= earliest => {
                    second = Some(second.map_or(time, |second| second.min(time)));
                }
                earlier => {
                    second = earlier.map(|(time, _)| time).or(second);
                    first = Some((time, source));
                }
            }
        }
        let (first, source) = first?;
        if second != Some(first) {
            return self.take_run(source, second);
        }
        // Holders stand in order of their age: the newest version comes last.
        let equal: Vec<usize> = holders.iter().copied().filter(|s| time_of(*s) == Some(first)).collect();
        Some(Pick::Point(equal.into_iter().filter_map(|source| self.take_row(source)).collect()))
    }

    /// Takes the rows of a source's current run whose time is below `before`, all without a bound.
    fn take_run(&mut self, source: usize, before: Option<i64>) -> Option<Pick> {
        let place = self.sources.get_mut(source)?;
        let current = place.rows.as_mut()?;
        let end = current.end()?;
        let to = before.map_or(end, |before| {
            let rest = current.rows.times.get(current.row..end).unwrap_or_default();
            current.row + gallop(rest, before)
        });
        let batch = self.gather.batch_number(current);
        let pick = Pick::Run { batch, from: current.row, to };
        place.advance_to(to);
        Some(pick)
    }

    /// Takes one row of a source: its batch and position.
    fn take_row(&mut self, source: usize) -> Option<(u32, usize)> {
        let place = self.sources.get_mut(source)?;
        let current = place.rows.as_mut()?;
        let taken = (self.gather.batch_number(current), current.row);
        place.advance_to(taken.1 + 1);
        Some(taken)
    }
}

impl Source {
    fn advance_to(&mut self, row: usize) {
        let Some(current) = &mut self.rows else { return };
        current.row = row;
        if current.end().is_some_and(|end| row >= end) {
            current.series += 1;
            self.left_series = true;
        }
        if current.key().is_none() {
            self.rows = None;
        }
    }

    /// Whether it has come to another series since this was last asked.
    fn has_left_series(&mut self) -> bool {
        std::mem::take(&mut self.left_series)
    }
}

impl Current {
    fn key(&self) -> Option<KeyRef<'_>> {
        self.rows.keys.get(self.series)
    }

    fn time(&self) -> Option<i64> {
        self.rows.times.get(self.row).copied()
    }

    /// Where the current series ends.
    fn end(&self) -> Option<usize> {
        self.rows.ends.get(self.series).map(|end| *end as usize)
    }
}

/// The number of `times`, which ascend, that are below `bound`. Near the start it takes a few steps: sources that
/// interleave row by row must not pay for a search of the whole run.
fn gallop(times: &[i64], bound: i64) -> usize {
    let mut step = 1;
    while times.get(step).is_some_and(|time| *time < bound) {
        step *= 2;
    }
    let (from, to) = (step / 2, step.min(times.len()));
    from + times.get(from..to).unwrap_or_default().partition_point(|time| *time < bound)
}
