//! Rows of one table in the order of its files: what a memtable is sorted into, what a file is written from and
//! read into, and what is merged.
//!
//! Invariants: series stand in the order of their keys, each once and with at least one row; the rows of a
//! series ascend by time, each time once; a row has a value in at most one of the two columns of a field.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, DictionaryArray, Int32Array, StringArray, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::compute::take;
use arrow::datatypes::Int32Type;
use hashbrown::HashMap;

use crate::error::{Error, Result};
use crate::model::{FieldColumn, FieldSchema, TimeRange};
use crate::series::{KeyRef, Keys};

/// Rows sorted by series and time, each point once: tags as runs, everything else as columns.
#[derive(Debug, Clone, Default)]
pub struct SortedRows {
    /// The series that have rows, in order.
    pub keys: Keys,
    /// For each series the row at which its rows end, which is where those of the next begin.
    pub ends: Vec<u32>,
    /// The time of each row, in nanoseconds since 1970 UTC.
    pub times: ScalarBuffer<i64>,
    /// The physical columns that any row has a value for, as [`FieldColumn`] says.
    pub fields: Vec<FieldColumn>,
}

impl SortedRows {
    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.times.len()
    }

    /// Each series and where its rows stand.
    pub fn runs(&self) -> impl Iterator<Item = (KeyRef<'_>, Range<usize>)> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let ranges = starts.zip(&self.ends).map(|(start, end)| start as usize..*end as usize);
        self.keys.iter().zip(ranges)
    }

    /// The physical columns of a field that any row has a value for.
    #[must_use]
    pub fn field(&self, field: &FieldSchema) -> Vec<FieldColumn> {
        let is_of = |column: &&FieldColumn| field.columns().any(|it| it.id == column.column);
        self.fields.iter().filter(is_of).cloned().collect()
    }

    /// The rows within a range of times.
    ///
    /// # Errors
    /// [`Error::Arrow`] when columns are not as long as the times.
    pub fn within(&self, times: TimeRange) -> Result<Self> {
        let inside = self.positions(|_, of_run| {
            let from = of_run.partition_point(|time| *time < times.min.nanos());
            let to = of_run.partition_point(|time| *time <= times.max.nanos());
            std::iter::once(from..to)
        })?;
        inside.map_or_else(|| Ok(self.clone()), |inside| self.pick(&inside))
    }

    /// Where the rows stand that `kept` names: for each series and its times the ranges to keep, ascending and apart.
    /// `None` when they are all.
    pub(crate) fn positions<Ranges: IntoIterator<Item = Range<usize>>>(
        &self,
        kept: impl Fn(KeyRef<'_>, &[i64]) -> Ranges,
    ) -> Result<Option<ScalarBuffer<u32>>> {
        let kept =
            |key: KeyRef<'_>, run: &Range<usize>| kept(key, self.times.get(run.clone()).unwrap_or_default());
        let is_whole = |(key, run): (KeyRef<'_>, Range<usize>)| {
            kept(key, &run).into_iter().map(|range| range.len()).sum::<usize>() == run.len()
        };
        if self.runs().all(is_whole) {
            return Ok(None);
        }
        let mut positions = Vec::new();
        for (key, run) in self.runs() {
            for range in kept(key, &run) {
                positions.extend(position(run.start + range.start)?..position(run.start + range.end)?);
            }
        }
        Ok(Some(positions.into()))
    }

    /// The rows at these positions, which ascend.
    pub(crate) fn pick(&self, positions: &ScalarBuffer<u32>) -> Result<Self> {
        let (mut keys, mut ends) = (Keys::default(), Vec::new());
        let mut picked = 0;
        for (series, (_, run)) in self.runs().enumerate() {
            let of_run = positions.get(picked..).unwrap_or_default();
            let of_run = of_run.iter().take_while(|position| (**position as usize) < run.end).count();
            if of_run > 0 {
                picked += of_run;
                keys.push_from(&self.keys, series);
                ends.push(position(picked)?);
            }
        }
        let indices = UInt32Array::new(positions.clone(), None);
        let mut fields = Vec::with_capacity(self.fields.len());
        for field in &self.fields {
            let values = take(&field.values, &indices, None)?;
            if values.null_count() < values.len() {
                fields.push(FieldColumn { column: field.column, values });
            }
        }
        let times = positions.iter().filter_map(|p| self.times.get(*p as usize).copied()).collect();
        Ok(Self { keys, ends, times, fields })
    }

    /// The values of the tag at `position` of the schema, for each row: a dictionary of distinct values.
    ///
    /// # Errors
    /// [`Error::Arrow`] when the dictionary cannot be made.
    pub fn tag_column(&self, position: usize) -> Result<DictionaryArray<Int32Type>> {
        let mut codes: HashMap<&str, i32> = HashMap::new();
        let mut values = Vec::new();
        let mut of_rows: Vec<Option<i32>> = Vec::with_capacity(self.rows());
        for (key, run) in self.runs() {
            let code = key.tag(position).map(|value| {
                *codes.entry(value).or_insert_with(|| {
                    values.push(value);
                    i32::try_from(values.len() - 1).unwrap_or(i32::MAX)
                })
            });
            of_rows.extend(std::iter::repeat_n(code, run.len()));
        }
        Ok(DictionaryArray::try_new(Int32Array::from(of_rows), Arc::new(StringArray::from(values)))?)
    }

    /// The tags of a table with `tags` tags, as columns.
    ///
    /// # Errors
    /// Those of [`tag_column`](Self::tag_column).
    pub fn tag_columns(&self, tags: usize) -> Result<Vec<ArrayRef>> {
        (0..tags).map(|position| Ok(Arc::new(self.tag_column(position)?) as ArrayRef)).collect()
    }
}

/// A row's position, as batches count them.
fn position(row: usize) -> Result<u32> {
    u32::try_from(row).map_err(|_| Error::LimitExceeded("a batch has more than 4 billion rows".into()))
}
