//! Last write wins, over rows of memory and files.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;

use arrow::array::{
    AsArray, DictionaryArray, Float64Array, RecordBatch, TimestampNanosecondArray, UInt32Array,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type, Schema, TimeUnit, TimestampNanosecondType};
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::expressions::col;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use futures::TryStreamExt;

use super::LastWriteWinsExec;

/// Tag, time, value of `a`, value of `b`, rank.
type Row = (Option<&'static str>, i64, Option<f64>, Option<f64>, u32);

/// Newest last, as a merge gives them.
const ROWS: [Row; 8] = [
    (Some("x"), 1, Some(1.0), None, 0),
    (Some("x"), 1, Some(2.0), Some(5.0), 1),
    (Some("x"), 1, None, None, 2),
    (Some("x"), 2, Some(3.0), None, 1),
    (Some("y"), 2, None, Some(1.0), 0),
    (None, 1, Some(4.0), None, 0),
    (None, 1, Some(5.0), None, 3),
    (None, 2, Some(6.0), None, 3),
];

fn batch(rows: &[Row]) -> RecordBatch {
    let tag = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let schema = Schema::new(vec![
        Field::new("tag", tag, true),
        Field::new("time", DataType::Timestamp(TimeUnit::Nanosecond, None), false),
        Field::new("a", DataType::Float64, true),
        Field::new("b", DataType::Float64, true),
        Field::new("rank", DataType::UInt32, false),
    ]);
    let columns: Vec<arrow::array::ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.0).collect::<DictionaryArray<Int32Type>>()),
        Arc::new(rows.iter().map(|row| Some(row.1)).collect::<TimestampNanosecondArray>()),
        Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|row| row.3).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|row| Some(row.4)).collect::<UInt32Array>()),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

/// The points of rows that come in batches of `size`, with the columns at `output`.
async fn merge(size: usize, output: Vec<usize>) -> RecordBatch {
    let batches: Vec<RecordBatch> = ROWS.chunks(size).map(batch).collect();
    let schema = batches[0].schema();
    let order =
        ["tag", "time", "rank"].map(|name| PhysicalSortExpr::new_default(col(name, &schema).unwrap()));
    let input = MemorySourceConfig::try_new_exec(&[batches], schema, None).unwrap();
    let merged = LastWriteWinsExec::new(input, 2, output, LexOrdering::new(order).unwrap()).unwrap();
    let schema = merged.schema();
    let stream = merged.execute(0, Arc::new(TaskContext::default())).unwrap();
    let points: Vec<RecordBatch> = stream.try_collect().await.unwrap();
    assert!(points.iter().all(|batch| batch.num_rows() > 0));
    concat_batches(&schema, &points).unwrap()
}

#[tokio::test]
async fn each_field_has_the_newest_value_wherever_a_batch_ends() {
    for size in 1..=ROWS.len() {
        let points = merge(size, vec![2, 1, 3]).await;
        let values =
            |column: usize| points.column(column).as_primitive::<Float64Type>().iter().collect::<Vec<_>>();
        let times = points.column(1).as_primitive::<TimestampNanosecondType>().values().to_vec();
        assert_eq!(times, [1, 2, 2, 1, 2], "batches of {size}");
        assert_eq!(values(0), [Some(2.0), Some(3.0), None, Some(5.0), Some(6.0)], "batches of {size}");
        assert_eq!(values(2), [Some(5.0), None, Some(1.0), None, None], "batches of {size}");
    }
}

#[tokio::test]
async fn points_are_counted_also_when_no_column_is_wanted() {
    for size in 1..=ROWS.len() {
        assert_eq!(merge(size, Vec::new()).await.num_rows(), 5, "batches of {size}");
    }
}
