//! Tests of the merge: whatever the sources and their batches, every point comes out once, as last written.

#![allow(clippy::cast_possible_truncation, reason = "test data is small")]

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{Float64Type, Int64Type};
use proptest::prelude::*;

use super::{Merger, Step};
use crate::model::{ColumnId, FieldColumn, FieldSchema, FieldType, PhysicalColumn};
use crate::rows::SortedRows;
use crate::series::{KeyRef, SeriesKey, canonical_key};

/// The widened field `n` (columns 0 and 1) and the text field `s` (column 2).
fn fields() -> [FieldSchema; 2] {
    let column = |id, field_type, name: &str| PhysicalColumn {
        id: ColumnId::new(id),
        field_type,
        stored_name: name.into(),
        scale: None,
    };
    [
        FieldSchema {
            name: "n".into(),
            narrow: column(0, FieldType::Integer, "n"),
            wide: Some(column(1, FieldType::Float, "busbar_f64_n")),
        },
        FieldSchema { name: "s".into(), narrow: column(2, FieldType::Text, "s"), wide: None },
    ]
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Number {
    Narrow(i64),
    Wide(f64),
}

type Point = (Option<Number>, Option<String>);
/// Series and time of each point.
type Points = BTreeMap<(u8, i64), Point>;

fn key(series: u8) -> SeriesKey {
    let value = format!("s{series}");
    SeriesKey::from_bytes(&canonical_key(std::iter::once((0, value.as_str()))).unwrap())
}

fn rows(points: &[((u8, i64), Point)]) -> SortedRows {
    let mut rows = SortedRows::default();
    let mut keys: Vec<SeriesKey> = Vec::new();
    for (row, ((series, _), _)) in points.iter().enumerate() {
        if keys.last() != Some(&key(*series)) {
            keys.push(key(*series));
            rows.ends.push(0);
        }
        *rows.ends.last_mut().unwrap() = row as u32 + 1;
    }
    rows.keys = keys.iter().map(SeriesKey::borrowed).collect();
    rows.times = points.iter().map(|((_, time), _)| *time).collect();
    let narrow = points.iter().map(|(_, (n, _))| match n {
        Some(Number::Narrow(v)) => Some(*v),
        _ => None,
    });
    let wide = points.iter().map(|(_, (n, _))| match n {
        Some(Number::Wide(v)) => Some(*v),
        _ => None,
    });
    let text = points.iter().map(|(_, (_, s))| s.clone());
    let columns: [ArrayRef; 3] = [
        Arc::new(narrow.collect::<Int64Array>()),
        Arc::new(wide.collect::<Float64Array>()),
        Arc::new(text.collect::<StringArray>()),
    ];
    let columns = columns.into_iter().enumerate().filter(|(_, values)| values.null_count() < values.len());
    rows.fields =
        columns.map(|(id, values)| FieldColumn { column: ColumnId::new(id as u16), values }).collect();
    rows
}

fn points(rows: &SortedRows) -> Vec<((u8, i64), Point)> {
    let column = |id| rows.fields.iter().find(|f| f.column == ColumnId::new(id)).map(|f| f.values.clone());
    let valid = |values: &Option<ArrayRef>, row| values.clone().filter(|values| values.is_valid(row));
    let (narrow, wide, text) = (column(0), column(1), column(2));
    let of_row = |row| {
        let narrow = valid(&narrow, row).map(|v| Number::Narrow(v.as_primitive::<Int64Type>().value(row)));
        let wide = valid(&wide, row).map(|v| Number::Wide(v.as_primitive::<Float64Type>().value(row)));
        assert!(narrow.is_none() || wide.is_none(), "one physical column per point");
        (narrow.or(wide), valid(&text, row).map(|v| v.as_string::<i32>().value(row).to_owned()))
    };
    let series = |key: KeyRef<'_>| key.tag(0).unwrap()[1..].parse().unwrap();
    rows.runs()
        .flat_map(|(key, run)| run.map(move |row| (key, row)))
        .map(|(key, row)| ((series(key), rows.times[row]), of_row(row)))
        .collect()
}

/// Merges sources that give their rows in batches of `cut` rows.
fn merge(sources: &[Points], cut: usize, batch_rows: usize) -> Vec<((u8, i64), Point)> {
    let mut batches: Vec<Vec<SortedRows>> = sources
        .iter()
        .map(|points| {
            let points: Vec<_> = points.iter().map(|(k, v)| (*k, v.clone())).collect();
            points.chunks(cut).rev().map(rows).collect()
        })
        .collect();
    let fields = fields();
    let mut merger = Merger::new(&fields, sources.len(), batch_rows);
    let mut merged = Vec::new();
    loop {
        match merger.step().unwrap() {
            Step::Needs(source) => match batches[source].pop() {
                Some(rows) => merger.push(source, rows).unwrap(),
                None => merger.end(source),
            },
            Step::Rows(rows) => {
                assert_eq!(*rows.ends.last().unwrap() as usize, rows.rows());
                assert!(rows.fields.iter().all(|f| f.values.len() == rows.rows()));
                merged.extend(points(&rows));
            }
            Step::Done => return merged,
        }
    }
}

fn source() -> impl Strategy<Value = Points> {
    let number = prop_oneof![
        (-5_i64..5).prop_map(Number::Narrow),
        (-5_i32..5).prop_map(|v| Number::Wide(f64::from(v) + 0.5))
    ];
    let point = (proptest::option::of(number), proptest::option::of("[a-c]{1,2}"));
    proptest::collection::btree_map((0_u8..4, 0_i64..40), point, 0..60)
}

proptest! {
    #[test]
    fn each_point_comes_out_once_and_the_newest_source_wins_per_field(
        sources in proptest::collection::vec(source(), 1..6),
        cut in 1_usize..50,
        batch_rows in 1_usize..40,
    ) {
        let mut expected = Points::new();
        for (key, (number, text)) in sources.iter().flatten() {
            let point = expected.entry(*key).or_default();
            point.0 = number.or(point.0);
            point.1 = text.clone().or(point.1.take());
        }
        prop_assert_eq!(merge(&sources, cut, batch_rows), expected.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_source_that_needs_nothing_is_refused() {
    let fields = fields();
    let mut merger = Merger::new(&fields, 1, 10);
    assert!(matches!(merger.step().unwrap(), Step::Needs(0)));
    merger.push(0, rows(&[((1, 1), (None, Some("a".into())))])).unwrap();
    assert!(merger.push(0, rows(&[((1, 2), (None, Some("b".into())))])).is_err());
    assert!(merger.push(1, SortedRows::default()).is_err());
}

#[test]
fn sources_without_rows_give_none() {
    assert!(merge(&[Points::new(), Points::new()], 1, 1).is_empty());
    assert!(merge(&[], 1, 1).is_empty());
}
