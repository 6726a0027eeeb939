//! What a reader sees between batches, against states that a plain fold of the rows passes through.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array};
use arrow::datatypes::{DataType, Float64Type};
use proptest::prelude::*;

use super::{have_same_columns, is_whole, newest_rows};
use crate::catalog::{Applied, Catalog, SchemaChange};
use crate::last_value::values::TableValues;
use crate::model::{DatabaseName, FieldColumn, FieldType, TableBatch, TableName, TableSchema};
use crate::series::{SeriesIndex, canonical_key};

const NAMES: [&str; 3] = ["x", "y", "z"];

/// A row: a series, a time, and values of the columns `n`, which is whole numbers, its wider one, and `f`.
type Row = (usize, i64, [Option<i32>; 3]);

/// By field the time and value that a series has.
type State = [Option<(i64, f64)>; 2];

fn table() -> (Arc<TableSchema>, SeriesIndex) {
    let change = SchemaChange {
        database: DatabaseName::new("db").unwrap(),
        table: TableName::new("t").unwrap(),
        base: None,
        tags: vec!["name".into()],
        fields: vec![("n".into(), FieldType::Integer), ("f".into(), FieldType::Float)],
        widen: vec![0],
    };
    let catalog = Catalog::new(Arc::default());
    let Applied::Schema(schema) = catalog.apply(&change).unwrap() else { panic!("stale") };
    let change = SchemaChange { base: Some(schema), tags: vec![], fields: vec![], ..change };
    let Applied::Schema(schema) = catalog.apply(&change).unwrap() else { panic!("stale") };
    (schema, SeriesIndex::new(Arc::default(), 1 << 30))
}

/// Some rows in which only some columns have values, in each row or in some.
fn rows() -> impl Strategy<Value = Vec<Row>> {
    let columns = prop::sample::select(vec![
        [true, false, true],
        [true, false, true],
        [false, true, true],
        [false, false, true],
        [true, true, false],
    ]);
    let time = prop_oneof![Just(i64::MIN), 0..4_i64, Just(i64::MAX)];
    let value = || prop::option::weighted(0.8, any::<i32>());
    let row = (0..NAMES.len(), time, [value(), value(), value()]);
    (columns, prop::bool::weighted(0.7), prop::collection::vec(row, 1..9)).prop_map(
        |(columns, is_whole, mut rows)| {
            for (column, value) in rows.iter_mut().flat_map(|row| row.2.iter_mut().enumerate()) {
                let there = value.or(is_whole.then_some(9));
                *value = there.filter(|_| columns[column]);
            }
            // A row has a field as one of its columns.
            rows.iter_mut().filter(|row| row.2[1].is_some()).for_each(|row| row.2[0] = None);
            rows
        },
    )
}

fn batch(schema: &TableSchema, index: &SeriesIndex, rows: &[Row]) -> TableBatch {
    let series = |row: &Row| {
        let key = canonical_key([(0, NAMES[row.0])].into_iter()).unwrap();
        index.lookup("b").resolve(schema.id, &key).unwrap().id.get()
    };
    let floats = |column: usize| -> ArrayRef {
        Arc::new(rows.iter().map(|row| row.2[column].map(f64::from)).collect::<Float64Array>())
    };
    let narrow: Int64Array = rows.iter().map(|row| row.2[0].map(i64::from)).collect();
    let (n, f) = (&schema.fields[0], &schema.fields[1]);
    let columns: [(_, ArrayRef); 3] =
        [(n.narrow.id, Arc::new(narrow)), (n.wide.as_ref().unwrap().id, floats(1)), (f.narrow.id, floats(2))];
    let columns = columns.into_iter().filter(|(_, values)| values.null_count() < rows.len());
    TableBatch {
        table: schema.id,
        series: rows.iter().map(series).collect(),
        times: rows.iter().map(|row| row.1).collect(),
        fields: columns.map(|(column, values)| FieldColumn { column, values }).collect(),
    }
}

/// What a row makes of a state.
fn fold(mut state: State, (_, time, [narrow, wide, f]): &Row) -> State {
    for (last, value) in state.iter_mut().zip([wide.or(*narrow), *f]) {
        if let Some(value) = value
            && last.is_none_or(|(known, _)| known <= *time)
        {
            *last = Some((*time, f64::from(value)));
        }
    }
    state
}

/// What a reader sees of a series.
fn seen(values: &TableValues, name: &str) -> State {
    let slot = values.keys().iter().position(|key| key.borrowed().tag(0) == Some(name));
    let Some(slot) = slot.and_then(|slot| u32::try_from(slot).ok()) else { return State::default() };
    [0, 1].map(|field| {
        let column = values.column(field)?;
        let value = column.gather(&[slot], &DataType::Float64, i64::MIN).unwrap();
        Some((column.time(slot)?, value.as_primitive::<Float64Type>().value(0)))
    })
}

proptest! {
    #[test]
    fn between_batches_a_series_has_values_that_it_had_and_at_the_end_its_last(
        written in prop::collection::vec(rows(), 1..8),
    ) {
        let (schema, index) = table();
        let batches: Vec<TableBatch> = written.iter().map(|rows| batch(&schema, &index, rows)).collect();
        let mut states = [(); 3].map(|()| vec![State::default()]);
        for row in written.iter().flatten() {
            let states = &mut states[row.0];
            states.push(fold(states[states.len() - 1], row));
        }
        let (mut values, mut reached) = (TableValues::default(), [0; 3]);
        for (batch, newest) in newest_rows(&batches.iter().collect::<Vec<_>>()).unwrap() {
            values.fold_batch(&schema, &index, batch, &newest).unwrap();
            for ((name, states), reached) in NAMES.iter().zip(&states).zip(&mut reached) {
                let seen = seen(&values, name);
                let later = states[*reached..].iter().position(|state| *state == seen);
                prop_assert!(later.is_some(), "{name} is seen with {seen:?} after {reached} of {states:?}");
                *reached += later.unwrap_or_default();
            }
        }
        for (name, states) in NAMES.iter().zip(&states) {
            prop_assert_eq!(seen(&values, name), states[states.len() - 1]);
        }
    }

    #[test]
    fn of_the_rows_of_a_series_that_follow_each_other_with_the_same_columns_one_is_left(
        written in prop::collection::vec(rows(), 1..8),
    ) {
        let (schema, index) = table();
        let batches: Vec<TableBatch> = written.iter().map(|rows| batch(&schema, &index, rows)).collect();
        let (mut left, mut before) = (HashMap::new(), None::<&TableBatch>);
        for (batch, newest) in newest_rows(&batches.iter().collect::<Vec<_>>()).unwrap() {
            if before.is_none_or(|before| !is_whole(before) || !is_whole(batch) || !have_same_columns(before, batch)) {
                left.clear();
            }
            before = Some(batch);
            for row in newest.iter().map(|row| *row as usize).filter(|row| batch.times[*row] != i64::MIN) {
                let other = left.insert(batch.series[row], batch.times[row]);
                prop_assert_eq!(other, None, "of series {}", batch.series[row]);
            }
        }
    }
}
