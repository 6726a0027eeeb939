//! Tests of the memtable: whatever the order of writes and merges, the last write wins per field.

#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "test data is small")]

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array};
use arrow::datatypes::{Float64Type, Int64Type};
use proptest::prelude::*;

use super::{Memtable, OrderedRows, RowFilter};
use crate::catalog::{Applied, Catalog, SchemaChange};
use crate::error::Result;
use crate::model::{
    ColumnId, DatabaseName, Delete, FieldColumn, FieldType, Sequence, TableBatch, TableId, TableName,
    TableSchema, TagTest, TimeRange, Timestamp,
};
use crate::rows::SortedRows;
use crate::series::{SeriesIndex, canonical_key};
use crate::tombstone::{Tombstone, Tombstones};

/// A table with tags a and b, an integer field `n` that was widened, and a float field `f`.
fn table() -> (Arc<TableSchema>, SeriesIndex) {
    let catalog = Catalog::new(Arc::default());
    let change = SchemaChange {
        database: DatabaseName::new("db").unwrap(),
        table: TableName::new("t").unwrap(),
        base: None,
        tags: vec!["a".into(), "b".into()],
        fields: vec![("n".into(), FieldType::Integer), ("f".into(), FieldType::Float)],
        widen: vec![0],
    };
    let Applied::Schema(schema) = catalog.apply(&change).unwrap() else { panic!("stale") };
    let Applied::Schema(schema) =
        catalog.apply(&SchemaChange { base: Some(schema), tags: vec![], fields: vec![], ..change }).unwrap()
    else {
        panic!("stale")
    };
    (schema, SeriesIndex::new(Arc::default(), 1 << 30))
}

/// A row: tags, time, and the value of `n` (as written) and `f`.
#[derive(Debug, Clone)]
struct Row {
    tags: (Option<u8>, Option<u8>),
    time: i64,
    n: Option<Number>,
    f: Option<i16>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Number {
    Narrow(i64),
    Wide(f64),
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let tag = proptest::option::of(0_u8..3);
    let number = prop_oneof![
        (-5_i64..5).prop_map(Number::Narrow),
        (-5_i32..5).prop_map(|v| Number::Wide(f64::from(v) + 0.5))
    ];
    let row = ((tag.clone(), tag), 0_i64..6, proptest::option::of(number), proptest::option::of(-9_i16..9));
    proptest::collection::vec(row.prop_map(|(tags, time, n, f)| Row { tags, time, n, f }), 1..12)
}

fn batch(schema: &TableSchema, index: &SeriesIndex, rows: &[Row]) -> TableBatch {
    let series = |row: &Row| {
        let text = |tag: Option<u8>| tag.map(|v| ["x", "y", "zz"][usize::from(v)]);
        let tags = [(0, text(row.tags.0)), (1, text(row.tags.1))].into_iter();
        let key = canonical_key(tags.filter_map(|(p, v)| Some((p, v?)))).unwrap();
        index.lookup("b").resolve(schema.id, &key).unwrap().id.get()
    };
    let narrow: Int64Array = rows
        .iter()
        .map(|r| match r.n {
            Some(Number::Narrow(v)) => Some(v),
            _ => None,
        })
        .collect();
    let wide: Float64Array = rows
        .iter()
        .map(|r| match r.n {
            Some(Number::Wide(v)) => Some(v),
            _ => None,
        })
        .collect();
    let f: Float64Array = rows.iter().map(|r| r.f.map(f64::from)).collect();
    let n = &schema.fields[0];
    let column = |column: ColumnId, values: ArrayRef| FieldColumn { column, values };
    let fields = vec![
        column(n.narrow.id, Arc::new(narrow)),
        column(n.wide.as_ref().unwrap().id, Arc::new(wide)),
        column(schema.fields[1].narrow.id, Arc::new(f)),
    ];
    TableBatch {
        table: schema.id,
        series: rows.iter().map(series).collect(),
        times: rows.iter().map(|r| r.time).collect(),
        fields: fields.into_iter().filter(|c| c.values.null_count() < c.values.len()).collect(),
    }
}

/// The rows of memtables (oldest first) with all fields.
fn sorted<const N: usize>(
    memtables: [&Memtable; N],
    schema: &TableSchema,
    index: &SeriesIndex,
    filter: RowFilter<'_>,
) -> Result<SortedRows> {
    OrderedRows::of(memtables.into_iter(), index, filter)?.into_rows(schema)
}

/// What a point is: tags (missing last) and time.
type Key = ((u8, u8), i64);

fn model(batches: &[Vec<Row>]) -> BTreeMap<Key, (Option<Number>, Option<i16>)> {
    let mut points = BTreeMap::new();
    for row in batches.iter().flatten() {
        let key = ((row.tags.0.unwrap_or(u8::MAX), row.tags.1.unwrap_or(u8::MAX)), row.time);
        let point: &mut (Option<Number>, Option<i16>) = points.entry(key).or_default();
        point.0 = row.n.or(point.0);
        point.1 = row.f.or(point.1);
    }
    points
}

proptest! {
    #[test]
    fn the_last_write_wins_per_field_whatever_the_batches(
        batches in proptest::collection::vec(rows(), 1..40),
        cut in 0_usize..40,
    ) {
        let (schema, index) = table();
        let (mut older, mut newer) = (Memtable::default(), Memtable::default());
        for (number, rows) in batches.iter().enumerate() {
            let memtable = if number < cut { &mut older } else { &mut newer };
            memtable.append(Sequence::new(number as u64 + 1), &batch(&schema, &index, rows), None);
        }
        let sorted = sorted([&older, &newer], &schema, &index, RowFilter::ALL).unwrap();
        let column = |id: ColumnId| sorted.fields.iter().find(|f| f.column == id).map(|f| f.values.clone());
        let n = &schema.fields[0];
        let (narrow, wide) = (column(n.narrow.id), column(n.wide.as_ref().unwrap().id));
        let f = column(schema.fields[1].narrow.id);
        let found: Vec<_> = sorted
            .runs()
            .flat_map(|(series, run)| run.map(move |row| (series, row)))
            .map(|(series, row)| {
                let tag = |p| series.tag(p).map_or(u8::MAX, |v| ["x", "y", "zz"].iter().position(|x| *x == v).unwrap() as u8);
                let narrow = narrow.as_ref().filter(|a| a.is_valid(row)).map(|a| Number::Narrow(a.as_primitive::<Int64Type>().value(row)));
                let wide = wide.as_ref().filter(|a| a.is_valid(row)).map(|a| Number::Wide(a.as_primitive::<Float64Type>().value(row)));
                assert!(narrow.is_none() || wide.is_none(), "one physical column per point");
                let f = f.as_ref().filter(|a| a.is_valid(row)).map(|a| a.as_primitive::<Float64Type>().value(row) as i16);
                (((tag(0), tag(1)), sorted.times[row]), (narrow.or(wide), f))
            })
            .collect();
        prop_assert_eq!(found, model(&batches).into_iter().collect::<Vec<_>>());
        prop_assert_eq!(older.rows() + newer.rows(), batches.iter().map(Vec::len).sum::<usize>());
    }
}

/// A delete of the rows of a range of times, of all series or of those of one value of tag a.
fn delete() -> impl Strategy<Value = Tombstone> {
    let tag = proptest::option::of(proptest::sample::select(vec!["x", "y", ""]));
    (0_i64..6, 0_i64..3, tag).prop_map(|(from, length, tag)| {
        let times = TimeRange::new(Timestamp::from_nanos(from), Timestamp::from_nanos(from + length));
        let tags = tag.into_iter().map(|value| TagTest::is("a", value)).collect();
        Tombstone::new(Sequence::new(1_000), &Delete { tables: vec![], times, tags })
    })
}

proptest! {
    #[test]
    fn a_delete_takes_the_same_rows_before_their_fields_are_put_into_order_and_after(
        batches in proptest::collection::vec(rows(), 1..20),
        deletes in proptest::collection::vec(delete(), 0..4),
    ) {
        let (schema, index) = table();
        let mut memtable = Memtable::default();
        for (number, rows) in batches.iter().enumerate() {
            memtable.append(Sequence::new(number as u64 + 1), &batch(&schema, &index, rows), None);
        }
        let deletes: Tombstones = deletes.into_iter().map(Arc::new).collect();
        let before = OrderedRows::of(std::iter::once(&memtable), &index, RowFilter::ALL).unwrap();
        let before = before.without(&deletes, &schema).unwrap().into_rows(&schema).unwrap();
        let after = sorted([&memtable], &schema, &index, RowFilter::ALL).unwrap();
        let after = after.without(&deletes, &schema).unwrap();
        prop_assert_eq!(format!("{before:?}"), format!("{after:?}"));
    }
}

#[test]
fn many_small_chunks_become_few_and_keep_their_rows_in_order() {
    let (schema, index) = table();
    let mut memtable = Memtable::default();
    for number in 0..5_000_i64 {
        let row = Row { tags: (None, None), time: number % 100, n: Some(Number::Narrow(number)), f: None };
        memtable.append(Sequence::new(number as u64 + 1), &batch(&schema, &index, &[row]), None);
    }
    assert!(memtable.chunks().len() < 50, "{} chunks", memtable.chunks().len());
    assert_eq!(memtable.rows(), 5_000);
    assert_eq!(memtable.sequences().unwrap().max, Sequence::new(5_000));
    let sorted = sorted([&memtable], &schema, &index, RowFilter::ALL).unwrap();
    let values = sorted.fields[0].values.as_primitive::<Int64Type>().values().to_vec();
    assert_eq!(values, (4_900..5_000).collect::<Vec<_>>());
}

#[test]
fn chunks_of_different_fields_take_no_more_memory_than_was_counted_when_they_came() {
    let mut memtable = Memtable::default();
    for number in 0..400_u32 {
        let fields = (0..4).map(|field| FieldColumn {
            column: ColumnId::new(u16::try_from(number % 40).unwrap() * 4 + field),
            values: Arc::new(Int64Array::from(vec![1; 100])),
        });
        let batch = TableBatch {
            table: TableId::new(1),
            series: vec![number; 100].into(),
            times: (0..100).collect(),
            fields: fields.collect(),
        };
        memtable.append(Sequence::new(u64::from(number) + 1), &batch, None);
    }
    assert_eq!(memtable.rows(), 40_000);
    let held: usize = memtable.chunks().iter().map(|chunk| chunk.batch.memory_bytes()).sum();
    assert!(held <= 2 * memtable.bytes(), "{held} bytes are held, {} were counted", memtable.bytes());
}

#[test]
fn a_filter_keeps_only_its_times_and_series() {
    let (schema, index) = table();
    let mut memtable = Memtable::default();
    let rows: Vec<_> = (0..30)
        .map(|i| Row { tags: (Some(i as u8 % 3), None), time: i, n: None, f: Some(i as i16) })
        .collect();
    memtable.append(Sequence::new(1), &batch(&schema, &index, &rows), None);
    let filter = RowFilter {
        times: TimeRange::new(Timestamp::from_nanos(10), Timestamp::from_nanos(19)),
        series: &|series| series.tag(0) == Some("y"),
        ..RowFilter::ALL
    };
    let sorted = sorted([&memtable], &schema, &index, filter).unwrap();
    assert_eq!(sorted.times.to_vec(), [10, 13, 16, 19]);
    let tags = sorted.tag_column(0).unwrap();
    assert_eq!(tags.values().as_string::<i32>().iter().collect::<Vec<_>>(), [Some("y")]);
    let part = sorted.within(TimeRange::new(Timestamp::from_nanos(13), Timestamp::from_nanos(18))).unwrap();
    assert_eq!((part.times.to_vec(), part.ends), (vec![13, 16], vec![2]));
}

#[test]
fn a_sort_that_gets_no_room_copies_nothing() {
    let (schema, index) = table();
    let mut memtable = Memtable::default();
    let rows: Vec<_> = (0..1_000)
        .map(|i| Row { tags: (Some(i as u8 % 2), None), time: i, n: None, f: Some(i as i16) })
        .collect();
    memtable.append(Sequence::new(1), &batch(&schema, &index, &rows), None);
    let asked = std::cell::Cell::new(0);
    let refuse = |bytes| {
        asked.set(bytes);
        Err(crate::error::Error::LimitExceeded("no room".into()))
    };
    let half = |series: crate::series::KeyRef<'_>| series.tag(0) == Some("x");
    let filter = RowFilter { series: &half, room: &refuse, ..RowFilter::ALL };
    let error = sorted([&memtable], &schema, &index, filter).unwrap_err();
    assert_eq!(error.to_string(), "no room");
    assert!((memtable.bytes() / 4..=memtable.bytes() * 3 / 4).contains(&asked.get()), "half of the rows");
}
