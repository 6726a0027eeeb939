//! Gathers what a merge took from its sources into columns.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, BooleanBufferBuilder, MutableArrayData,
    PrimitiveArray, make_array,
};
use arrow::datatypes::{DataType, Float64Type, Int64Type, UInt64Type};

use super::{Columns, Current};
use crate::error::{Error, Result};
use crate::model::{ColumnId, FieldColumn};
use crate::rows::SortedRows;
use crate::series::Keys;

/// Rows that were taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pick {
    /// Rows of one batch, as they stand.
    Run { batch: u32, from: usize, to: usize },
    /// Versions of one point, oldest first: batch and row.
    Point(Vec<(u32, usize)>),
}

/// The rows of the output that are not given yet.
#[derive(Debug)]
pub(super) struct Gather {
    columns: Vec<Columns>,
    batches: Vec<Arc<SortedRows>>,
    picks: Vec<Pick>,
    keys: Keys,
    ends: Vec<u32>,
    rows: usize,
}

impl Gather {
    pub(super) fn new(columns: Vec<Columns>) -> Self {
        let (batches, picks, keys, ends) = Default::default();
        Self { columns, batches, picks, keys, ends, rows: 0 }
    }

    /// Number of rows taken.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// The number by which picks name a source's batch.
    pub(super) fn batch_number(&mut self, current: &mut Current) -> u32 {
        let known = current.batch.filter(|number| {
            self.batches.get(*number as usize).is_some_and(|batch| Arc::ptr_eq(batch, &current.rows))
        });
        known.unwrap_or_else(|| {
            let number = u32::try_from(self.batches.len()).unwrap_or(u32::MAX);
            self.batches.push(Arc::clone(&current.rows));
            current.batch = Some(number);
            number
        })
    }

    /// Says of which series of `keys` the rows are that are added next, of which there is one at least: of the last one or
    /// of a later one.
    pub(super) fn begin(&mut self, keys: &Keys, series: usize) {
        if self.keys.last() != keys.get(series) {
            self.keys.push_from(keys, series);
            self.ends.push(0);
        }
    }

    /// Adds rows of the series that was begun last.
    pub(super) fn add(&mut self, pick: Pick) {
        self.rows += pick.rows();
        self.picks.push(pick);
        if let Some(end) = self.ends.last_mut() {
            *end = u32::try_from(self.rows).unwrap_or(u32::MAX);
        }
    }

    /// The rows as columns; nothing is left.
    pub(super) fn take(&mut self) -> Result<SortedRows> {
        let mut times = Vec::with_capacity(self.rows);
        for pick in &self.picks {
            let (batch, from, to) = match pick {
                Pick::Run { batch, from, to } => (*batch, *from, *to),
                Pick::Point(versions) => versions.first().map_or((0, 0, 0), |(b, row)| (*b, *row, *row + 1)),
            };
            let rows = self.batch(batch).and_then(|rows| rows.times.get(from..to));
            append(&mut times, rows.unwrap_or_default());
        }
        let mut fields = Vec::new();
        for field in &self.columns {
            fields.extend(self.field(field)?);
        }
        let rows = SortedRows {
            keys: std::mem::take(&mut self.keys),
            ends: std::mem::take(&mut self.ends),
            times: times.into(),
            fields,
        };
        self.batches.clear();
        self.picks.clear();
        self.rows = 0;
        Ok(rows)
    }

    fn batch(&self, number: u32) -> Option<&Arc<SortedRows>> {
        self.batches.get(number as usize)
    }

    /// The columns of one field, as far as they hold any value.
    fn field(&self, field: &Columns) -> Result<Vec<FieldColumn>> {
        let narrow = self.arrays(field.narrow);
        let wide = field.wide.map(|id| self.arrays(id)).unwrap_or_default();
        let has_value = |batch: u32, row: usize| {
            let valid = |arrays: &[Option<&ArrayRef>]| {
                arrays.get(batch as usize).copied().flatten().is_some_and(|values| values.is_valid(row))
            };
            valid(&narrow) || valid(&wide)
        };
        let winner = |versions: &[(u32, usize)]| {
            versions.iter().rev().find(|(batch, row)| has_value(*batch, *row)).copied()
        };
        if wide.iter().all(Option::is_none)
            && let Some(values) = self.everywhere(&narrow)
        {
            return Ok(vec![FieldColumn { column: field.narrow, values }]);
        }
        let mut columns = Vec::new();
        for (id, arrays) in [(Some(field.narrow), &narrow), (field.wide, &wide)] {
            if let Some(id) = id
                && let Some(values) = self.column(arrays, winner)?
            {
                columns.push(FieldColumn { column: id, values });
            }
        }
        Ok(columns)
    }

    /// The values of one column in each batch.
    fn arrays(&self, id: ColumnId) -> Vec<Option<&ArrayRef>> {
        let values = |rows: &'_ Arc<SortedRows>| rows.fields.iter().position(|field| field.column == id);
        let array = |rows| values(rows).and_then(|position| rows.fields.get(position)).map(|f| &f.values);
        self.batches.iter().map(array).collect()
    }

    /// The only column of a field of numbers or booleans of which every row of every batch has a value, as usual: the
    /// newest version of a point gives it. `None` when it is another kind of column.
    fn everywhere(&self, arrays: &[Option<&ArrayRef>]) -> Option<ArrayRef> {
        if self.rows == 0 || !arrays.iter().all(|array| array.is_some_and(|array| array.null_count() == 0)) {
            return None;
        }
        match arrays.first().copied().flatten()?.data_type() {
            DataType::Float64 => self.numbers::<Float64Type>(arrays),
            DataType::Int64 => self.numbers::<Int64Type>(arrays),
            DataType::UInt64 => self.numbers::<UInt64Type>(arrays),
            DataType::Boolean => {
                let arrays: Vec<_> = arrays
                    .iter()
                    .map(|array| array.and_then(|a| a.as_boolean_opt()))
                    .collect::<Option<_>>()?;
                let mut values = BooleanBufferBuilder::new(self.rows);
                for (batch, rows) in self.newest() {
                    let bits = arrays.get(batch).map(|array| array.values())?;
                    match rows.len() {
                        1 => values.append(bits.value(rows.start)),
                        _ => {
                            let place = bits.offset() + rows.start..bits.offset() + rows.end;
                            values.append_packed_range(place, bits.values());
                        }
                    }
                }
                Some(Arc::new(BooleanArray::new(values.finish(), None)))
            }
            _ => None,
        }
    }

    fn numbers<T: ArrowPrimitiveType>(&self, arrays: &[Option<&ArrayRef>]) -> Option<ArrayRef> {
        let slices =
            arrays.iter().map(|array| Some(&**array.and_then(|a| a.as_primitive_opt::<T>())?.values()));
        let slices: Vec<&[T::Native]> = slices.collect::<Option<_>>()?;
        let mut values: Vec<T::Native> = Vec::with_capacity(self.rows);
        for (batch, rows) in self.newest() {
            append(&mut values, slices.get(batch)?.get(rows)?);
        }
        Some(Arc::new(PrimitiveArray::<T>::new(values.into(), None)))
    }

    /// Where the rows of all picks stand, of each point the newest version: batch and rows.
    fn newest(&self) -> impl Iterator<Item = (usize, Range<usize>)> {
        self.picks.iter().map(|pick| match pick {
            Pick::Run { batch, from, to } => (*batch as usize, *from..*to),
            Pick::Point(versions) => {
                versions.last().map_or((0, 0..0), |(b, row)| (*b as usize, *row..*row + 1))
            }
        })
    }

    /// One column of all picks; `None` when it has no value in any.
    fn column(
        &self,
        arrays: &[Option<&ArrayRef>],
        winner: impl Fn(&[(u32, usize)]) -> Option<(u32, usize)>,
    ) -> Result<Option<ArrayRef>> {
        // `MutableArrayData` counts only the arrays that there are.
        let mut place_of = Vec::with_capacity(arrays.len());
        let mut data = Vec::new();
        for array in arrays {
            place_of.push(array.map(|_| data.len()));
            data.extend(array.map(|values| values.to_data()));
        }
        if data.is_empty() {
            return Ok(None);
        }
        if data.iter().any(|other| data.first().is_some_and(|first| first.data_type() != other.data_type())) {
            return Err(Error::Internal("a column has two types".into()));
        }
        let place = |batch: u32| place_of.get(batch as usize).copied().flatten();
        let mut gathered = MutableArrayData::new(data.iter().collect(), true, self.rows);
        for pick in &self.picks {
            let (source, from, to) = match pick {
                Pick::Run { batch, from, to } => (place(*batch), *from, *to),
                Pick::Point(versions) => match winner(versions) {
                    Some((batch, row)) => (place(batch), row, row + 1),
                    None => (None, 0, 1),
                },
            };
            match source {
                Some(source) => gathered.try_extend(source, from, to)?,
                None => gathered.try_extend_nulls(to - from)?,
            }
        }
        let values = make_array(gathered.freeze());
        Ok((values.null_count() < values.len()).then_some(values))
    }
}

/// Appends values. Runs are often of a row or two, for which a call that copies memory takes longer than the copying.
fn append<T: Copy>(values: &mut Vec<T>, more: &[T]) {
    match more {
        [one] => values.push(*one),
        [one, other] => values.extend([*one, *other]),
        more => values.extend_from_slice(more),
    }
}

impl Pick {
    fn rows(&self) -> usize {
        match self {
            Self::Run { from, to, .. } => to - from,
            Self::Point(_) => 1,
        }
    }
}
