//! Columns of a batch that is being built, and where a value goes in them.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, StringBuilder, UInt64Builder};
use storage::model::{FieldType, ValueRef};

/// The largest whole number up to which every whole number is a float: 2^53.
const EXACT: u64 = 1 << 53;

/// Where a value of a field goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Placed<'a> {
    /// Into the field's own column, as this value.
    Narrow(ValueRef<'a>),
    /// Into its float column.
    Wide(f64),
    /// Nowhere: it cannot be kept without loss.
    Conflict,
}

/// Decides where a value goes, given the field's type and whether it has a float column.
///
/// A whole number that arrives for floats, and a float that arrives for whole numbers, is widened if that is
/// exact. Once a field has both columns SQL shows it as float, so whole numbers beyond 2^53 are refused.
pub(super) fn place(field: FieldType, is_wide: bool, value: ValueRef<'_>) -> Placed<'_> {
    use FieldType as T;
    use ValueRef as V;
    match (field, value) {
        (T::Float, V::Integer(v)) => {
            exact(v.unsigned_abs(), v < 0).map_or(Placed::Conflict, |f| Placed::Narrow(V::Float(f)))
        }
        (T::Float, V::Unsigned(v)) => {
            exact(v, false).map_or(Placed::Conflict, |f| Placed::Narrow(V::Float(f)))
        }
        (T::Integer | T::Unsigned, V::Float(v)) => Placed::Wide(v),
        (T::Integer, V::Unsigned(v)) => match i64::try_from(v) {
            Ok(v) if !is_wide || v.unsigned_abs() <= EXACT => Placed::Narrow(V::Integer(v)),
            _ => Placed::Conflict,
        },
        (T::Unsigned, V::Integer(v)) => match u64::try_from(v) {
            Ok(v) if !is_wide || v <= EXACT => Placed::Narrow(V::Unsigned(v)),
            Ok(_) => Placed::Conflict,
            Err(_) => exact(v.unsigned_abs(), true).map_or(Placed::Conflict, Placed::Wide),
        },
        (T::Integer, V::Integer(v)) if is_wide && v.unsigned_abs() > EXACT => Placed::Conflict,
        (T::Unsigned, V::Unsigned(v)) if is_wide && v > EXACT => Placed::Conflict,
        (field, value) if field == value.field_type() => Placed::Narrow(value),
        _ => Placed::Conflict,
    }
}

#[expect(clippy::cast_precision_loss, reason = "only whole numbers up to 2^53 are cast, which is exact")]
fn exact(magnitude: u64, negative: bool) -> Option<f64> {
    let float = magnitude as f64;
    (magnitude <= EXACT).then_some(if negative { -float } else { float })
}

/// A column that is being built. Rows without a value are filled with nulls when the next value comes.
#[derive(Debug)]
pub(super) enum ColumnBuilder {
    Float(Float64Builder),
    Integer(Int64Builder),
    Unsigned(UInt64Builder),
    Boolean(BooleanBuilder),
    Text(StringBuilder),
}

/// Runs the same expression on whichever builder it is.
macro_rules! each {
    ($self:expr, $builder:ident => $body:expr) => {
        match $self {
            ColumnBuilder::Float($builder) => $body,
            ColumnBuilder::Integer($builder) => $body,
            ColumnBuilder::Unsigned($builder) => $body,
            ColumnBuilder::Boolean($builder) => $body,
            ColumnBuilder::Text($builder) => $body,
        }
    };
}

impl ColumnBuilder {
    /// An empty column. It begins without room: many batches have one row, and a builder's default room of
    /// 1,024 rows would stay with the batch in the memtable.
    pub(super) fn new(field_type: FieldType) -> Self {
        match field_type {
            FieldType::Float => Self::Float(Float64Builder::with_capacity(0)),
            FieldType::Integer => Self::Integer(Int64Builder::with_capacity(0)),
            FieldType::Unsigned => Self::Unsigned(UInt64Builder::with_capacity(0)),
            FieldType::Boolean => Self::Boolean(BooleanBuilder::with_capacity(0)),
            FieldType::Text => Self::Text(StringBuilder::with_capacity(0, 0)),
        }
    }

    /// Whether any row has a value.
    pub(super) fn is_empty(&self) -> bool {
        self.rows() == 0
    }

    fn rows(&self) -> usize {
        use arrow::array::ArrayBuilder;
        each!(self, builder => builder.len())
    }

    /// Sets the value of row `row`, which is at or behind the end. The value has the column's type.
    pub(super) fn set(&mut self, row: usize, value: ValueRef<'_>) {
        self.fill_to(row);
        match (self, value) {
            (Self::Float(builder), ValueRef::Float(v)) => builder.append_value(v),
            (Self::Integer(builder), ValueRef::Integer(v)) => builder.append_value(v),
            (Self::Unsigned(builder), ValueRef::Unsigned(v)) => builder.append_value(v),
            (Self::Boolean(builder), ValueRef::Boolean(v)) => builder.append_value(v),
            (Self::Text(builder), ValueRef::Text(v)) => builder.append_value(v),
            (builder, _) => each!(builder, b => b.append_null()),
        }
    }

    /// The column with `rows` rows. Room that it does not need is given back: it would stay in the memtable.
    pub(super) fn finish(mut self, rows: usize) -> ArrayRef {
        use arrow::array::Array;
        self.fill_to(rows);
        each!(&mut self, builder => {
            let mut values = builder.finish();
            values.shrink_to_fit();
            Arc::new(values) as ArrayRef
        })
    }

    fn fill_to(&mut self, rows: usize) {
        let missing = rows.saturating_sub(self.rows());
        if missing > 0 {
            each!(self, builder => builder.append_nulls(missing));
        }
    }
}
