//! Asks the engine, and compares the answer with the reference.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampNanosecondType, UInt64Type};
use futures::TryStreamExt;
use query::QueryService;
use storage::engine::Engine;
use storage::model::{FieldValue, FilePlace};

use super::question::{Question, Shape};
use super::reference::{self, Fields, Rows, Tags, number, same_fields};
use super::world::DATABASE;

/// The names of tags; every other column but the time is a field.
const TAGS: [&str; 2] = ["host", "floor"];

type Row = ((i64, Tags), Fields);

/// The answer as rows, in its order.
pub(crate) async fn rows(service: &QueryService, sql: &str) -> query::Result<Vec<Row>> {
    let batches = batches(service, sql).await?;
    Ok(batches.iter().flat_map(|batch| (0..batch.num_rows()).map(|row| row_of(batch, row))).collect())
}

async fn batches(service: &QueryService, sql: &str) -> query::Result<Vec<RecordBatch>> {
    service.query(Some(DATABASE), sql).await?.batches.try_collect().await
}

fn row_of(batch: &RecordBatch, row: usize) -> Row {
    let (mut time, mut tags, mut fields) = (0, Tags::new(), Fields::new());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let name = field.name().clone();
        if name == "time" {
            time = column.as_primitive::<TimestampNanosecondType>().value(row);
        } else if let Some(value) = value(column, row) {
            match value {
                FieldValue::Text(text) if TAGS.contains(&name.as_str()) => {
                    tags.insert(name, text.to_string());
                }
                value => {
                    fields.insert(name, value);
                }
            }
        }
    }
    ((time, tags), fields)
}

fn value(column: &ArrayRef, row: usize) -> Option<FieldValue> {
    let column = match column.data_type() {
        DataType::Dictionary(..) | DataType::Utf8View | DataType::LargeUtf8 => {
            cast(column, &DataType::Utf8).unwrap()
        }
        _ => Arc::clone(column),
    };
    if column.is_null(row) {
        return None;
    }
    Some(match column.data_type() {
        DataType::Float64 => FieldValue::Float(column.as_primitive::<Float64Type>().value(row)),
        DataType::Int64 => FieldValue::Integer(column.as_primitive::<Int64Type>().value(row)),
        DataType::UInt64 => FieldValue::Unsigned(column.as_primitive::<UInt64Type>().value(row)),
        DataType::Boolean => FieldValue::Boolean(column.as_boolean().value(row)),
        DataType::Utf8 => FieldValue::Text(column.as_string::<i32>().value(row).into()),
        other => panic!("{other} is no type of a column"),
    })
}

/// The rows of an answer, each point once.
pub(crate) fn unique(rows: Vec<Row>) -> Result<Rows, String> {
    let mut unique = Rows::new();
    for (point, fields) in rows {
        if let Some(other) = unique.insert(point.clone(), fields.clone()) {
            return Err(format!("the point {point:?} is there twice, as {fields:?} and {other:?}"));
        }
    }
    Ok(unique)
}

/// What differs, `Ok` when nothing does.
pub(crate) fn compare(found: &Rows, expected: &Rows) -> Result<(), String> {
    let missing = expected.iter().filter(|(point, _)| !found.contains_key(*point));
    let missing: Vec<_> = missing.collect();
    let extra: Vec<_> = found.iter().filter(|(point, _)| !expected.contains_key(*point)).collect();
    let differs = |(point, fields): &(&(i64, Tags), &Fields)| {
        expected.get(*point).is_some_and(|expected| !same_fields(fields, expected))
    };
    let other: Vec<_> = found.iter().filter(differs).map(|(p, f)| (p, f, &expected[p])).collect();
    if missing.is_empty() && extra.is_empty() && other.is_empty() {
        return Ok(());
    }
    Err(format!(
        "missing {}: {:?}; never written {}: {:?}; found, expected {}: {:?}",
        missing.len(),
        missing.first(),
        extra.len(),
        extra.first(),
        other.len(),
        other.first()
    ))
}

/// Asks a question. The outer error is the engine's.
pub(crate) async fn ask(
    service: &QueryService,
    question: &Question,
    all: Rows,
) -> query::Result<Result<(), String>> {
    let is_latest = matches!(question.shape, Shape::Latest);
    let expected = question.test.of(if is_latest { reference::latest(&all) } else { all });
    let from = format!("FROM \"{}\" WHERE {}", question.table, question.test.sql());
    let answer = match question.shape {
        Shape::Rows => unique(rows(service, &format!("SELECT * {from}")).await?)
            .and_then(|found| compare(&found, &expected)),
        Shape::Ordered => {
            let found = rows(service, &format!("SELECT * {from} ORDER BY time")).await?;
            let is_sorted = found.is_sorted_by_key(|((time, _), _)| *time);
            let same = unique(found).and_then(|found| compare(&found, &expected));
            if is_sorted { same } else { Err("the rows are not in the order of time".into()) }
        }
        Shape::Latest => latest(service, &question.table, &question.test.sql())
            .await?
            .and_then(|found| compare(&found, &expected)),
        Shape::Newest(count) => {
            let found = rows(service, &format!("SELECT * {from} ORDER BY time DESC LIMIT {count}")).await?;
            newest(found, &expected, count)
        }
        Shape::Totals => {
            let sql = format!("SELECT count(*), min(time), max(time), count(t), min(t), max(t) {from}");
            let found = totals(&batches(service, &sql).await?[0]);
            let wanted = totals_of(&expected);
            if found == wanted { Ok(()) } else { Err(format!("found {found:?}, expected {wanted:?}")) }
        }
    };
    Ok(answer.map_err(|why| format!("{from}: {why}")))
}

/// The last values of a table for which a test holds.
pub(crate) async fn latest(
    service: &QueryService,
    table: &str,
    test: &str,
) -> query::Result<Result<Rows, String>> {
    Ok(unique(rows(service, &format!("SELECT * FROM latest('{table}') WHERE {test}")).await?))
}

fn newest(found: Vec<Row>, expected: &Rows, count: usize) -> Result<(), String> {
    let times = |rows: &mut dyn Iterator<Item = i64>| rows.take(count).collect::<Vec<_>>();
    let wanted = times(&mut expected.keys().rev().map(|(time, _)| *time));
    let given = times(&mut found.iter().map(|((time, _), _)| *time));
    if given != wanted {
        return Err(format!("the newest are of {wanted:?}, not {given:?}"));
    }
    let found = unique(found)?;
    // Of points of one time any may be given.
    let part = expected.iter().filter(|(point, _)| found.contains_key(*point));
    compare(&found, &part.map(|(point, fields)| (point.clone(), fields.clone())).collect())
}

type Totals = (usize, Option<(i64, i64)>, usize, Option<(f64, f64)>);

fn totals(batch: &RecordBatch) -> Totals {
    let count = |at: usize| usize::try_from(batch.column(at).as_primitive::<Int64Type>().value(0)).unwrap();
    let time = |at: usize| {
        let times = batch.column(at).as_primitive::<TimestampNanosecondType>();
        (!times.is_null(0)).then(|| times.value(0))
    };
    let float = |at: usize| {
        let values = batch.column(at).as_primitive::<Float64Type>();
        (!values.is_null(0)).then(|| values.value(0))
    };
    (count(0), time(1).zip(time(2)), count(3), float(4).zip(float(5)))
}

fn totals_of(rows: &Rows) -> Totals {
    let times = rows.keys().next().zip(rows.keys().next_back()).map(|(first, last)| (first.0, last.0));
    let values: Vec<f64> = rows.values().filter_map(|fields| number(fields.get("t")?)).collect();
    let bounds = (!values.is_empty())
        .then(|| values.iter().fold((f64::MAX, f64::MIN), |(min, max), v| (min.min(*v), max.max(*v))));
    (rows.len(), times, values.len(), bounds)
}

/// Whether the table has the columns.
pub(crate) fn has_columns(engine: &Engine, table: &str, columns: &[&str]) -> bool {
    let Some(schema) = engine.catalog().table(DATABASE, table) else { return false };
    let known: BTreeSet<&str> = schema
        .tags
        .iter()
        .map(|tag| &*tag.name)
        .chain(schema.fields.iter().map(|field| &*field.name))
        .collect();
    columns.iter().all(|column| known.contains(column))
}

/// Waits until no query holds anything of the engine: a file that is still read is removed later, and the order of
/// changes would depend on time.
pub(crate) async fn settle(engine: &Engine) {
    for _ in 0..5_000 {
        let snapshot = engine.snapshot();
        let is_free = snapshot.holders() == 2
            && snapshot.tables().all(|(_, view)| {
                Arc::strong_count(view) == 1
                    && view.files.iter().all(|file| {
                        Arc::strong_count(file) <= if file.place == FilePlace::Staged { 2 } else { 1 }
                    })
            });
        drop(snapshot);
        if is_free {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    panic!("a query that has been answered still holds a snapshot");
}
