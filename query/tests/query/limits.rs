//! Deadline, memory, admission, cancellation, and tables from outside.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use query::{ErrorKind, ExternalError, ExternalTable, ExternalTables};

use super::world::{DATABASE, World};

/// Each would run for minutes: an aggregate over a cross join, joins whose filter throws everything away.
const ENDLESS: [&str; 4] = [
    "SELECT count(*) FROM generate_series(1, 1000000) a CROSS JOIN generate_series(1, 1000000) b",
    "SELECT count(*) FROM generate_series(1, 300000) a(x) JOIN generate_series(1, 3000000) b(y) ON a.x + b.y < 0",
    "SELECT count(*) FROM generate_series(1, 300000) a(x) JOIN generate_series(1, 300000) b(y) ON a.x % 1 = b.y % 1 AND a.x + b.y < 0",
    "SELECT a.x FROM generate_series(1, 300000) a(x), generate_series(1, 3000000) b(y) WHERE a.x * b.y = -1",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_would_run_for_minutes_ends_at_the_deadline_and_frees_its_turn() {
    let deadline = |settings: &mut query::Settings| {
        settings.deadline = Duration::from_millis(300);
        settings.running = 1;
        settings.waiting = 0;
    };
    let world = World::with(ExternalTables::default(), deadline).await;
    for sql in ENDLESS {
        let error = world.query(sql).await.expect_err(sql);
        assert_eq!(error.kind(), ErrorKind::Deadline, "{sql}: {error}");
        // The only turn is free again when the task has really ended.
        let freed = async {
            while world.query("SELECT 1").await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), freed).await.expect(sql);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_answer_ends_its_query() {
    let one = |settings: &mut query::Settings| {
        settings.running = 1;
        settings.waiting = 1;
    };
    let world = World::with(ExternalTables::default(), one).await;
    let sql = "SELECT a.value FROM generate_series(1, 1000000) a CROSS JOIN generate_series(1, 1000000) b";
    let mut result = world.service.query(Some(DATABASE), sql).await.unwrap();
    assert!(result.batches.next().await.unwrap().is_ok());
    drop(result);
    let waited = tokio::time::timeout(Duration::from_secs(30), world.query("SELECT 1")).await;
    assert!(waited.expect("the turn is free").is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_beyond_the_queue_is_refused_as_busy() {
    let one = |settings: &mut query::Settings| {
        settings.running = 1;
        settings.waiting = 0;
    };
    let world = World::with(ExternalTables::default(), one).await;
    let held =
        world.service.query(Some(DATABASE), "SELECT * FROM generate_series(1, 10000000)").await.unwrap();
    let error = world.query("SELECT 1").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_needs_too_much_memory_fails_and_leaves_none_behind() {
    let little = |settings: &mut query::Settings| {
        settings.query_memory_bytes = 1 << 20;
        settings.memory_bytes = 2 << 20;
    };
    let mut world = World::with(ExternalTables::default(), little).await;
    let join = "SELECT count(*) FROM generate_series(1, 1000000) a JOIN generate_series(1, 1000000) b ON a.value = b.value";
    for _ in 0..3 {
        let error = world.query(join).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Memory, "{error}");
    }
    assert!(world.query("SELECT count(*) FROM generate_series(1, 1000000)").await.is_ok());
    // Rows in memory count too.
    let lines: Vec<String> = (0..40_000).map(|i| format!("big,device=d{i} v=1.0,w=2.0 {i}")).collect();
    world.write_text(&lines.join("\n"));
    let error = world.query("SELECT * FROM big").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Memory, "{error}");
    assert!(world.query("SELECT * FROM big WHERE device = 'd7'").await.is_ok());
}

#[derive(Debug)]
struct Devices {
    broken: bool,
}

#[async_trait]
impl ExternalTable for Devices {
    fn schema(&self) -> SchemaRef {
        let text = |name| Field::new(name, DataType::Utf8, false);
        Arc::new(Schema::new(vec![text("external_id"), text("room")]))
    }

    async fn scan(&self) -> Result<Vec<RecordBatch>, ExternalError> {
        if self.broken {
            return Err("the registry's password is hunter2".into());
        }
        let text = |values: [&str; 2]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
        Ok(vec![RecordBatch::try_new(self.schema(), vec![text(["a", "b"]), text(["r1", "r2"])])?])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn telemetry_joins_with_tables_from_outside() {
    let external = ExternalTables::default()
        .with("registry", "devices", Arc::new(Devices { broken: false }))
        .with("registry", "broken", Arc::new(Devices { broken: true }));
    let mut world = World::with(external, |_| {}).await;
    world.write_text("room,device=a co2=1.0 1000\nroom,device=b co2=2.0 1000\nroom,device=a co2=3.0 2000");
    let sql = "SELECT d.room, sum(t.co2) FROM room t JOIN registry.devices d ON t.device = d.external_id GROUP BY 1 ORDER BY 1";
    let rows = world.query(sql).await.unwrap();
    let text = arrow::util::pretty::pretty_format_batches(&rows).unwrap().to_string();
    assert!(text.contains("| r1   | 4.0 ") && text.contains("| r2   | 2.0 "), "{text}");
    // What went wrong outside is for the log, not for the client.
    let error = world.query("SELECT * FROM registry.broken").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(!error.to_string().contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn staged_files_stay_readable_while_an_answer_is_being_read() {
    let mut world = World::new().await;
    world.write_text("room,device=a co2=1.0 1000\nroom,device=b co2=2.0 1000");
    world.stage().await;
    let result = world.service.query(Some(DATABASE), "SELECT * FROM room").await.unwrap();
    world.flush().await;
    let rows: Vec<RecordBatch> = result.batches.try_collect().await.unwrap();
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn spill_files_of_a_killed_process_are_removed_at_the_start() {
    let mut spill = std::path::PathBuf::new();
    let leave = |settings: &mut query::Settings| {
        spill.clone_from(&settings.spill_dir);
        std::fs::create_dir_all(spill.join("datafusion-abc123")).unwrap();
        std::fs::write(spill.join("datafusion-abc123").join("rows"), "of a query that was killed").unwrap();
        std::fs::write(spill.join("other"), "not a spill file").unwrap();
    };
    let _world = World::with(ExternalTables::default(), leave).await;
    assert!(!spill.join("datafusion-abc123").exists());
    assert!(spill.join("other").exists());
}
