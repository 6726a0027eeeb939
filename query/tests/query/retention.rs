//! Rows that have expired are in no answer, wherever they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arrow::array::{Array as _, AsArray};
use arrow::datatypes::{Int64Type, TimestampNanosecondType};
use arrow::util::pretty::pretty_format_batches;
use query::ExternalTables;
use storage::catalog::TableDeclaration;
use storage::clock::WallClock;
use storage::model::{DatabaseName, Retention, TableName, Timestamp};

use super::world::{DATABASE, World};

const HOUR: i64 = 3_600_000_000_000;

/// A world whose clock a test sets.
async fn world() -> (World, Arc<AtomicI64>) {
    let now = Arc::new(AtomicI64::new(0));
    let of_engine = Arc::clone(&now);
    let clock = WallClock::of(move || Timestamp::from_nanos(of_engine.load(Ordering::Relaxed)));
    (World::at(clock).await, now)
}

/// Declares, durably, how many hours the table's rows are kept.
fn keep(world: &mut World, hours: Option<u64>) {
    let retention = hours.map(|hours| Retention::of(Duration::from_secs(3_600 * hours)).unwrap());
    let declaration = TableDeclaration {
        database: DatabaseName::new(DATABASE).unwrap(),
        table: TableName::new("s").unwrap(),
        retention,
        partition: None,
        scales: Vec::new(),
    };
    world.engine.catalog().declare_table(&declaration).unwrap();
    world.write(&[]);
}

/// Count and the first time by statistics and by reading.
async fn check(world: &World, rows: i64, first: Option<i64>) {
    for sql in ["SELECT count(*), min(time) FROM s", "SELECT count(*), min(time) FROM s WHERE v > -1"] {
        let answer = world.query(sql).await.unwrap();
        let count = answer[0].column(0).as_primitive::<Int64Type>().value(0);
        let time = answer[0].column(1).as_primitive::<TimestampNanosecondType>();
        let time = (time.null_count() == 0).then(|| time.value(0));
        assert_eq!((count, time), (rows, first), "{sql}");
    }
    let answer = world.query("SELECT count(*) FROM s").await.unwrap();
    assert_eq!(answer[0].column(0).as_primitive::<Int64Type>().value(0), rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_rows_are_hidden_to_the_nanosecond_in_memory_and_in_files() {
    let (mut world, now) = world().await;
    let at = |hours: i64, nanos: i64| format!("s,device=a v=1.0 {}", hours * HOUR + nanos);
    world.write_text(&[at(1, 0), at(1, 7), at(5, 0)].join("\n"));
    keep(&mut world, Some(10));
    for in_memory in [true, false] {
        if !in_memory {
            world.flush().await;
        }
        now.store(11 * HOUR, Ordering::Relaxed);
        check(&world, 3, Some(HOUR)).await;
        now.store(11 * HOUR + 7, Ordering::Relaxed);
        check(&world, 2, Some(HOUR + 7)).await;
        now.store(11 * HOUR + 8, Ordering::Relaxed);
        check(&world, 1, Some(5 * HOUR)).await;
        now.store(15 * HOUR + 1, Ordering::Relaxed);
        check(&world, 0, None).await;
    }
    // What is still in files comes back when it is kept for longer.
    keep(&mut world, Some(100));
    check(&world, 3, Some(HOUR)).await;
    keep(&mut world, None);
    check(&world, 3, Some(HOUR)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_rows_stay_hidden_where_sources_overlap() {
    let (mut world, now) = world().await;
    keep(&mut world, Some(10));
    for value in [1, 2] {
        let lines = [1, 2, 30].map(|hour| format!("s,device=a v={value}.0 {}", hour * HOUR));
        world.write_text(&lines.join("\n"));
        world.flush().await;
    }
    world.write_text(&format!("s,device=a v=3.0 {}\ns,device=b v=3.0 {}", 2 * HOUR, 31 * HOUR));
    now.store(12 * HOUR, Ordering::Relaxed);
    check(&world, 3, Some(2 * HOUR)).await;
    now.store(12 * HOUR + 1, Ordering::Relaxed);
    check(&world, 2, Some(30 * HOUR)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_in_which_all_has_expired_are_not_opened_and_then_dropped() {
    let (mut world, now) = world().await;
    for day in [1, 2] {
        world.write_text(&format!(
            "s,device=a v=1.0 {}\ns,device=b v=1.0 {}",
            day * 24 * HOUR,
            day * 24 * HOUR + 1
        ));
        world.flush().await;
    }
    keep(&mut world, Some(10));
    now.store(40 * HOUR, Ordering::Relaxed);
    let plan = world.query("EXPLAIN SELECT v FROM s").await.unwrap();
    let plan = pretty_format_batches(&plan).unwrap().to_string();
    assert_eq!(plan.matches(".parquet").count(), 1, "{plan}");
    // What is left has not expired: its number needs no reading.
    let plan = world.query("EXPLAIN SELECT count(*) FROM s").await.unwrap();
    let plan = pretty_format_batches(&plan).unwrap().to_string();
    assert!(!plan.contains("DataSourceExec"), "{plan}");
    check(&world, 2, Some(48 * HOUR)).await;
    let dropped = world.engine.drop_expired().await.unwrap();
    assert_eq!((dropped.files, dropped.rows), (1, 2));
    assert_eq!(world.shape("s"), (1, 0));
    check(&world, 2, Some(48 * HOUR)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_rows_and_tags_has_no_last_values_whether_they_are_kept_or_not() {
    for max_bytes in [1 << 20, 0] {
        let now = Arc::new(AtomicI64::new(0));
        let of_engine = Arc::clone(&now);
        let clock = WallClock::of(move || Timestamp::from_nanos(of_engine.load(Ordering::Relaxed)));
        let mut world = World::with_engine(
            ExternalTables::default(),
            |_| {},
            |config| {
                config.clock = clock;
                config.last_values.max_bytes = max_bytes;
            },
        )
        .await;
        world.write_text(&format!("s v=1.0 {HOUR}\ns v=2.0 {}", 2 * HOUR));
        keep(&mut world, Some(10));
        for (hours, rows) in [(3, 1), (20, 0)] {
            now.store(hours * HOUR, Ordering::Relaxed);
            let answer = world.query("SELECT * FROM latest('s')").await.unwrap();
            let found: usize = answer.iter().map(arrow::array::RecordBatch::num_rows).sum();
            assert_eq!(found, rows, "{max_bytes} bytes, after {hours} hours");
        }
    }
}
