//! Tests of what a delete hides.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array};
use arrow::datatypes::Int64Type;
use proptest::prelude::*;

use super::stored::parse;
use super::{Tombstone, Tombstones};
use crate::flush::signed;
use crate::model::{
    ColumnId, DatabaseName, Delete, FieldColumn, Sequence, TableId, TableName, TableSchema, TagSchema,
    TagTest, TimeRange, Timestamp,
};
use crate::rows::SortedRows;
use crate::series::{SeriesKey, canonical_key};

fn schema() -> TableSchema {
    let (database, name) = (DatabaseName::new("db").unwrap(), TableName::new("t").unwrap());
    let mut schema = TableSchema::new(TableId::new(1), database, name);
    for tag in ["host", "floor"] {
        schema.push_tag(TagSchema { name: tag.into(), stored_name: tag.into() });
    }
    schema
}

type Point = (Option<&'static str>, Option<&'static str>, i64);

/// Rows of these points, with a value that tells them apart.
fn rows(points: &BTreeSet<Point>) -> SortedRows {
    let key = |(host, floor, _): &Point| {
        let tags = [*host, *floor].into_iter().enumerate().filter_map(|(p, value)| Some((p, value?)));
        SeriesKey::from_bytes(&canonical_key(tags).unwrap())
    };
    let mut sorted: Vec<_> = points.iter().map(|point| (key(point), point.2)).collect();
    sorted.sort_by(|(a, time), (b, other)| (a.borrowed(), time).cmp(&(b.borrowed(), other)));
    let mut rows = SortedRows::default();
    let mut keys: Vec<&SeriesKey> = Vec::new();
    for (position, (key, _)) in sorted.iter().enumerate() {
        if keys.last() != Some(&key) {
            keys.push(key);
            rows.ends.push(0);
        }
        *rows.ends.last_mut().unwrap() = u32::try_from(position + 1).unwrap();
    }
    let values = Int64Array::from_iter_values(0..i64::try_from(sorted.len()).unwrap());
    rows.keys = keys.into_iter().map(SeriesKey::borrowed).collect();
    rows.times = sorted.iter().map(|(_, time)| *time).collect();
    rows.fields = vec![FieldColumn { column: ColumnId::new(0), values: Arc::new(values) }];
    rows
}

/// Each row: its series, time and value.
fn listed(rows: &SortedRows) -> Vec<(SeriesKey, i64, i64)> {
    let values = rows.fields.first().map(|field| field.values.as_primitive::<Int64Type>().clone());
    let runs = rows.runs().flat_map(|(key, run)| run.map(move |row| (key, row)));
    runs.map(|(key, row)| {
        (SeriesKey::from_bytes(key.as_bytes()), rows.times[row], values.as_ref().unwrap().value(row))
    })
    .collect()
}

fn tag() -> impl Strategy<Value = Option<&'static str>> {
    proptest::option::of(proptest::sample::select(vec!["a", "b"]))
}

fn test() -> impl Strategy<Value = TagTest> {
    let tags = proptest::sample::select(vec!["host", "floor", "unknown"]);
    let values = proptest::sample::select(vec!["a", "b", ""]);
    (tags, values, any::<bool>()).prop_map(|(tag, value, equal)| TagTest { equal, ..TagTest::is(tag, value) })
}

fn delete() -> impl Strategy<Value = Delete> {
    (0..12_i64, 0..12_i64, proptest::collection::vec(test(), 0..3)).prop_map(|(min, length, tags)| Delete {
        tables: vec![],
        times: TimeRange::new(Timestamp::from_nanos(min), Timestamp::from_nanos(min + length)),
        tags,
    })
}

proptest! {
    #[test]
    fn the_rows_that_are_left_are_those_that_no_delete_names(
        points in proptest::collection::btree_set((tag(), tag(), 0..12_i64), 0..40),
        deletes in proptest::collection::vec(delete(), 0..4),
    ) {
        let (schema, all) = (schema(), rows(&points));
        let expected: Vec<_> = listed(&all)
            .into_iter()
            .filter(|(key, time, _)| {
                !deletes.iter().any(|delete| {
                    let tag = |name: &str| schema.tag(name).and_then(|position| key.borrowed().tag(position)).unwrap_or("");
                    delete.times.contains(Timestamp::from_nanos(*time))
                        && delete.tags.iter().all(|test| (tag(&test.tag) == test.value) == test.equal)
                })
            })
            .collect();
        let tombstones: Tombstones =
            deletes.iter().map(|delete| Arc::new(Tombstone::new(Sequence::new(1), delete))).collect();
        let left = all.without(&tombstones, &schema).unwrap();
        prop_assert_eq!(listed(&left), expected);
        prop_assert!(left.runs().all(|(_, run)| !run.is_empty()));
    }
}

#[test]
fn an_object_that_is_not_what_was_written_is_refused() {
    let content =
        br#"{"sequence":7,"min_time":-1,"max_time":9,"tags":[{"tag":"host","value":"a","equal":true}]}"#;
    let bytes = signed::sign(content.to_vec());
    let path = object_store::path::Path::from("db/t.1/_busbar/deletes/0000000000000007.json");
    let tombstone = parse(&path, &bytes).unwrap();
    assert_eq!((tombstone.sequence, tombstone.times.max), (Sequence::new(7), Timestamp::from_nanos(9)));
    assert_eq!(tombstone.tags, [TagTest::is("host", "a")]);
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(parse(&path, &changed).unwrap_err().to_string().contains("restore"), "byte {at}");
    }
}
