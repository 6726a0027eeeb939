//! The rows of the next row group: tags as runs, everything else where it is.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, UInt64Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::FieldRef;

use super::tags::{Finder, TagColumn};
use crate::error::Result;
use crate::layout::{self, Part, StoredColumn};
use crate::model::FieldColumn;
use crate::rows::SortedRows;
use crate::series::{KeyRef, visit_changed_tags};

/// Rows that wait to be encoded.
#[derive(Debug, Default)]
pub(super) struct RowGroup {
    rows: usize,
    bytes: usize,
    tags: Vec<TagColumn>,
    /// The key of the series that was added last.
    last: Vec<u8>,
    batches: Vec<Batch>,
    /// Rows of the batch that is being added.
    picked: Vec<Range<usize>>,
}

/// Some rows of a batch.
#[derive(Debug)]
pub(super) struct Batch {
    /// All of them, without their keys.
    rows: SortedRows,
    picked: Vec<Range<usize>>,
    count: usize,
}

/// Rows of one column that stand in one batch.
#[derive(Debug, Clone, Copy)]
pub(super) enum ColumnPart<'a> {
    /// Times in nanoseconds.
    Times(&'a [i64], &'a [Range<usize>]),
    /// Values, some of which may be null, and what of them the column holds.
    Values(&'a ArrayRef, &'a [Range<usize>], Part),
    /// So many rows without a value.
    Nothing(usize),
}

impl RowGroup {
    pub(super) fn new(tags: usize) -> Self {
        Self { tags: std::iter::repeat_with(TagColumn::default).take(tags).collect(), ..Self::default() }
    }

    /// Number of rows.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of the rows, roughly. Those of tags count as often as they change, as they are held until the end.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.tags.iter().map(TagColumn::bytes).sum::<usize>()
    }

    /// Adds rows of a series, of the batch that [`end_batch`](Self::end_batch) will name.
    pub(super) fn push(&mut self, key: KeyRef<'_>, rows: Range<usize>) {
        let (tags, row) = (&mut self.tags, self.rows);
        visit_changed_tags(&self.last, key.as_bytes(), |position, value| {
            // There is none that the file does not know: the schema was looked up after the rows.
            if let Some(tag) = tags.get_mut(position) {
                tag.change(value, row);
            }
        });
        self.last.clear();
        self.last.extend_from_slice(key.as_bytes());
        self.rows += rows.len();
        match self.picked.last_mut() {
            Some(last) if last.end == rows.start => last.end = rows.end,
            _ => self.picked.push(rows),
        }
    }

    /// Says of which batch the rows were that were added since the last one.
    pub(super) fn end_batch(&mut self, batch: &SortedRows) {
        let picked = std::mem::take(&mut self.picked);
        let count = picked.iter().map(Range::len).sum();
        if count == 0 {
            return;
        }
        let of_fields = |field: &FieldColumn| field.values.to_data().get_slice_memory_size().unwrap_or(0);
        let bytes: usize = batch.fields.iter().map(of_fields).sum();
        self.bytes += bytes / batch.rows().max(1) * count + count * size_of::<i64>();
        let rows =
            SortedRows { times: batch.times.clone(), fields: batch.fields.clone(), ..SortedRows::default() };
        self.batches.push(Batch { rows, picked, count });
    }

    /// The tags, to which no row is added any more.
    pub(super) fn end_tags(&mut self, finder: &mut Finder) -> &[TagColumn] {
        self.tags.iter_mut().for_each(|tag| tag.end(self.rows, finder));
        &self.tags
    }

    /// The rows but for their tags.
    pub(super) fn take_batches(&mut self) -> Vec<Batch> {
        std::mem::take(&mut self.batches)
    }

    /// Empties it, and keeps the memory of its tags for the next one.
    pub(super) fn clear(&mut self) {
        (self.rows, self.bytes) = (0, 0);
        self.tags.iter_mut().for_each(TagColumn::clear);
        self.last.clear();
        self.batches.clear();
    }
}

impl Batch {
    /// Gives the rows these fields, in place of those that they had.
    pub(super) fn set_fields(&mut self, fields: &[FieldColumn]) {
        self.rows.fields.clear();
        self.rows.fields.extend_from_slice(fields);
    }
}

/// The parts of a column of a field; of one of times without it.
pub(super) fn parts<'a>(
    batches: &'a [Batch],
    stored: Option<&StoredColumn>,
) -> impl Iterator<Item = ColumnPart<'a>> {
    let stored = stored.map(|stored| (stored.column, stored.part));
    batches.iter().map(move |Batch { rows, picked, count }| match stored {
        None => ColumnPart::Times(&rows.times, picked),
        Some((column, part)) => match rows.fields.iter().find(|field| field.column == column) {
            Some(field) => ColumnPart::Values(&field.values, picked, part),
            None => ColumnPart::Nothing(*count),
        },
    })
}

impl ColumnPart<'_> {
    /// As the crate's writers take it. Times are nanoseconds below the microsecond to them, and no column of theirs
    /// holds a part of a field's values.
    ///
    /// # Errors
    /// [`Error::Arrow`](crate::Error::Arrow) when values cannot be gathered.
    pub(super) fn column(self, field: &FieldRef) -> Result<ArrayRef> {
        match self {
            Self::Times(times, picked) => {
                let times = picked.iter().flat_map(|rows| times.get(rows.clone()).unwrap_or_default());
                Ok(layout::stored_remainders(times.copied()))
            }
            Self::Values(values, picked, _) => {
                let picked = match picked {
                    [rows] => values.slice(rows.start, rows.len()),
                    _ => {
                        let rows = picked.iter().cloned().flatten().map(|row| row as u64);
                        take(values, &UInt64Array::from_iter_values(rows), None)?
                    }
                };
                layout::stored_values(&picked)
            }
            Self::Nothing(rows) => Ok(new_null_array(field.data_type(), rows)),
        }
    }
}
