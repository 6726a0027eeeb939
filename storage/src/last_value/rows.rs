//! What a reader gets: one row per series, with its tags, the greatest time of any of its fields, and each field's
//! last value.
//!
//! Invariant: what a batch shows of a series is of one moment, not older than the view that was caught up with.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Int32Array, StringArray, TimestampNanosecondArray, new_null_array,
};
use arrow::datatypes::Int32Type;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use hashbrown::HashMap;

use super::values::TableValues;
use super::{Followed, State};
use crate::error::{Error, Result};
use crate::model::{TableSchema, Timestamp};

/// A tag that must have one of some values.
#[derive(Debug, Clone, Copy)]
pub struct TagTest<'a> {
    /// The tag's position in the table's schema.
    pub position: usize,
    /// The values.
    pub values: &'a HashSet<String>,
}

impl TagTest<'_> {
    fn texts(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(String::as_str)
    }
}

/// The last values of a table.
#[derive(Debug, Clone)]
pub struct LastRows {
    followed: Arc<Followed>,
    schema: Arc<TableSchema>,
    /// Resets at the moment at which the values covered the reader's view.
    resets: u64,
}

impl LastRows {
    pub(super) fn new(followed: Arc<Followed>, schema: Arc<TableSchema>, resets: u64) -> Self {
        Self { followed, schema, resets }
    }

    /// Refuses what is being made anew: some of it is not there, or older than the view.
    fn check(&self, state: &State) -> Result<()> {
        if state.resets == self.resets {
            return Ok(());
        }
        Err(Error::Conflict(
            "rows of the table were deleted or dropped meanwhile: send the query again".into(),
        ))
    }

    /// The series for which all tests hold, as numbers for [`batch`](Self::batch). An index finds those of one test,
    /// the one that the fewest pass; it is made when its tag is first asked for.
    ///
    /// # Errors
    /// [`Error::Conflict`] when a delete has taken values away since they were asked for.
    pub fn select(&self, tests: &[TagTest<'_>]) -> Result<Vec<u32>> {
        let positions: Vec<usize> = tests.iter().map(|test| test.position).collect();
        if !self.followed.state.read().values.has_indexes(&positions) {
            let mut state = self.followed.state.write();
            state.values.index(&positions);
            self.followed.account(&state);
        }
        let state = self.followed.state.read();
        self.check(&state)?;
        let keys = state.values.keys();
        let count = |test: &TagTest<'_>| {
            let index = state.values.tag_index(test.position);
            index.map_or(usize::MAX, |index| index.count(keys, test.texts()))
        };
        let narrowest = tests.iter().min_by_key(|test| count(test));
        let index = narrowest.and_then(|test| Some((test, state.values.tag_index(test.position)?)));
        let mut slots = match index {
            Some((test, index)) => index.slots(keys, test.texts()),
            None => (0..u32::try_from(keys.len()).unwrap_or(u32::MAX)).collect(),
        };
        let holds = |slot: u32, test: &TagTest<'_>| {
            let value = keys.get(slot as usize).and_then(|key| key.borrowed().tag(test.position));
            value.is_some_and(|value| test.values.contains(value))
        };
        if tests.len() > 1 {
            slots.retain(|slot| tests.iter().all(|test| holds(*slot, test)));
        }
        slots.sort_unstable();
        Ok(slots)
    }

    /// The rows of series as `schema.logical_arrow()` shows them, or only the columns at the positions `projection`.
    /// Values from before `since` are not shown, and no row of which none is left.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) when a field was widened since the schema was looked up;
    /// [`Error::Arrow`](crate::Error::Arrow) when a position is out of bounds; else as [`select`](Self::select).
    pub fn batch(&self, slots: &[u32], projection: &[usize], since: Timestamp) -> Result<RecordBatch> {
        let state = self.followed.state.read();
        self.check(&state)?;
        let values = &state.values;
        let (slots, times) = self.times(values, slots, since.nanos());
        let logical = Arc::new(self.schema.logical_arrow().project(projection)?);
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(projection.len());
        for (&position, shown) in projection.iter().zip(logical.fields()) {
            columns.push(match position.checked_sub(self.schema.tags.len()) {
                None => Arc::new(tag_column(values, &slots, position)?),
                Some(0) => Arc::new(TimestampNanosecondArray::from(times.clone())),
                Some(field) => match values.column(field - 1) {
                    Some(column) => column.gather(&slots, shown.data_type(), since.nanos())?,
                    None => new_null_array(shown.data_type(), slots.len()),
                },
            });
        }
        let rows = RecordBatchOptions::new().with_row_count(Some(slots.len()));
        Ok(RecordBatch::try_new_with_options(logical, columns, &rows)?)
    }

    /// The slots that have a value, and the greatest time of each.
    fn times(&self, values: &TableValues, slots: &[u32], since: i64) -> (Vec<u32>, Vec<i64>) {
        let fields = 0..self.schema.fields.len();
        let columns: Vec<_> = fields.filter_map(|field| values.column(field)).collect();
        let time = |slot: u32| columns.iter().filter_map(|column| column.time(slot)).max();
        let times = slots.iter().filter_map(|slot| Some((*slot, time(*slot).filter(|time| *time >= since)?)));
        times.unzip()
    }
}

/// The values of a tag: a dictionary of distinct ones.
fn tag_column(values: &TableValues, slots: &[u32], position: usize) -> Result<DictionaryArray<Int32Type>> {
    let mut codes: HashMap<&str, i32> = HashMap::new();
    let mut texts = Vec::new();
    let mut code_of = |slot: &u32| {
        let value = values.keys().get(*slot as usize)?.borrowed().tag(position)?;
        Some(*codes.entry(value).or_insert_with(|| {
            texts.push(value);
            i32::try_from(texts.len() - 1).unwrap_or(i32::MAX)
        }))
    };
    let of_rows: Int32Array = slots.iter().map(&mut code_of).collect();
    Ok(DictionaryArray::try_new(of_rows, Arc::new(StringArray::from(texts)))?)
}
