//! The numbers of one field in one batch, whichever physical columns hold them.
//!
//! Invariant: a row fills at most one column of a field, so the first that is set is the value.

use arrow::array::{Array, BooleanArray, Float64Array, Int64Array, UInt64Array};
use storage::model::{TableBatch, TableSchema};

enum Column<'a> {
    Float(&'a Float64Array),
    Integer(&'a Int64Array),
    Unsigned(&'a UInt64Array),
    Boolean(&'a BooleanArray),
}

/// One field of a batch.
pub(super) struct Numbers<'a> {
    columns: Vec<Column<'a>>,
    /// Values that are not numbers.
    pub(super) not_numeric: usize,
}

impl<'a> Numbers<'a> {
    pub(super) fn of(schema: &TableSchema, batch: &'a TableBatch, field: &str) -> Self {
        let mut numbers = Self { columns: Vec::new(), not_numeric: 0 };
        let Some(field) = schema.field(field).and_then(|position| schema.fields.get(position)) else {
            return numbers;
        };
        for physical in field.columns() {
            let Some(values) = batch.fields.iter().find(|f| f.column == physical.id).map(|f| &f.values)
            else {
                continue;
            };
            let any = values.as_any();
            let column = any.downcast_ref().map(Column::Float);
            let column = column.or_else(|| any.downcast_ref().map(Column::Integer));
            let column = column.or_else(|| any.downcast_ref().map(Column::Unsigned));
            let column = column.or_else(|| any.downcast_ref().map(Column::Boolean));
            match column {
                Some(column) => numbers.columns.push(column),
                None => numbers.not_numeric += values.len() - values.null_count(),
            }
        }
        numbers
    }

    /// Whether no row of the batch has a number for the field.
    pub(super) fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// The finite number of a row; truth values are 1 and 0.
    #[inline]
    pub(super) fn get(&self, row: usize) -> Option<f64> {
        let value = self.columns.iter().find_map(|column| match column {
            Column::Float(a) => (row < a.len() && a.is_valid(row)).then(|| a.value(row)),
            Column::Integer(a) => (row < a.len() && a.is_valid(row)).then(|| a.value(row) as f64),
            Column::Unsigned(a) => (row < a.len() && a.is_valid(row)).then(|| a.value(row) as f64),
            Column::Boolean(a) => {
                (row < a.len() && a.is_valid(row)).then(|| f64::from(u8::from(a.value(row))))
            }
        })?;
        value.is_finite().then_some(value)
    }
}
