//! What a plan does below the merge, and what it can leave out.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow::util::pretty::pretty_format_batches;

use super::world::World;

async fn explained(world: &World, sql: &str) -> String {
    let rows = world.query(&format!("EXPLAIN {sql}")).await.unwrap();
    pretty_format_batches(&rows).unwrap().to_string()
}

/// Two files that overlap nothing.
async fn two_files() -> World {
    let mut world = World::new().await;
    for (time, devices) in [(1_000, ["a", "b"]), (2_000, ["b", "c"])] {
        let lines = devices.map(|device| format!("s,device={device} v=1.0,w=2.0 {time}"));
        world.write_text(&lines.join("\n"));
        world.flush().await;
    }
    assert_eq!(world.shape("s"), (2, 0));
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_and_bounds_of_time_are_answered_without_reading_a_file() {
    let mut world = two_files().await;
    let sql = "SELECT count(*), max(time), min(time) FROM s";
    let plan = explained(&world, sql).await;
    assert!(plan.contains("4 as count(*), 2000 as max(s.time), 1000 as min(s.time)"), "{plan}");
    assert!(!plan.contains("DataSourceExec"), "{plan}");
    // Memory that overlaps no file is as exact.
    world.write_text("s,device=a v=1.0 3000");
    let plan = explained(&world, sql).await;
    assert!(plan.contains("5 as count(*), 3000 as max(s.time)"), "{plan}");
    // Memory that may repeat a point is not.
    world.write_text("s,device=a v=1.0 1000");
    let plan = explained(&world, sql).await;
    assert!(plan.contains("LastWriteWinsExec") && !plan.contains("as count(*), 3000"), "{plan}");
    // Nor is a filter.
    let plan = explained(&two_files().await, "SELECT count(*) FROM s WHERE v > 0").await;
    assert!(plan.contains("DataSourceExec"), "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_hold_wanted_rows_are_not_opened() {
    let world = two_files().await;
    let files = async |condition: &str| {
        let plan = explained(&world, &format!("SELECT v FROM s WHERE {condition}")).await;
        plan.matches(".parquet").count()
    };
    assert_eq!(files("v > 0").await, 2);
    assert_eq!(files("time > to_timestamp_nanos(1000)").await, 1);
    assert_eq!(files("time > to_timestamp_nanos(2000)").await, 0);
    assert_eq!(files("device = 'a'").await, 1);
    assert_eq!(files("device IN ('c', 'd')").await, 1);
    assert_eq!(files("device = 'x'").await, 0);
    assert_eq!(files("device = 'b'").await, 2);
    assert_eq!(files("device = 'a' AND time > to_timestamp_nanos(1000)").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_tests_of_identity_act_below_the_merge() {
    let mut world = two_files().await;
    world.write_text("s,device=b v=9.0 1000\ns,device=b v=9.0 2000");
    let sql = "SELECT w FROM s WHERE v = 9.0 AND device = 'b' AND time >= to_timestamp_nanos(1001)";
    let plan = explained(&world, sql).await;
    let (above, below) = plan.split_once("LastWriteWinsExec").expect("files and memory overlap");
    assert!(above.contains("v@") && above.contains("= 9"), "{plan}");
    assert!(below.contains("predicate=") && below.contains("device@0 = b"), "{plan}");
    assert!(!below.contains("v@"), "{plan}");
    assert!(!below.contains("SortExec"), "sources are sorted already: {plan}");
    let rows = world.query(sql).await.unwrap();
    assert_eq!(pretty_format_batches(&rows).unwrap().to_string().matches("2.0").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_that_overlap_only_outside_of_the_wanted_times_are_not_merged() {
    let mut world = World::new().await;
    world.write_text("s,device=a v=1.0 1000\ns,device=a v=2.0 5000");
    world.flush().await;
    world.write_text("s,device=a v=3.0 5000\ns,device=a v=4.0 9000");
    let plan = explained(&world, "SELECT v FROM s WHERE time < to_timestamp_nanos(5000)").await;
    assert!(!plan.contains("LastWriteWinsExec"), "{plan}");
    let plan = explained(&world, "SELECT v FROM s WHERE time <= to_timestamp_nanos(5000)").await;
    assert!(plan.contains("LastWriteWinsExec"), "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_files_that_overlap_at_their_ends_only_the_ends_are_merged() {
    let mut world = World::new().await;
    // Five files of 100 points each; the last two of a file are written again by the next.
    let mut points = std::collections::BTreeMap::new();
    for file in 0..5_i64 {
        let steps: Vec<i64> = (file * 98..file * 98 + 100).collect();
        let line = |step: &i64| format!("s,device=d{} v={file}.0,n=1i {}", step % 3, step * 1_001);
        world.write_text(&steps.iter().map(line).collect::<Vec<_>>().join("\n"));
        world.flush().await;
        points.extend(steps.into_iter().map(|step| (step, file)));
    }
    let sql = "SELECT count(*), CAST(sum(v) AS BIGINT), sum(n) FROM s";
    let plan = explained(&world, sql).await;
    assert_eq!(plan.matches("LastWriteWinsExec").count(), 4, "{plan}");
    assert_eq!(plan.matches("sources=2").count(), 4, "{plan}");
    assert!(plan.contains("LanesExec: lanes=2") && !plan.contains("SortExec"), "{plan}");
    let values = points.values().sum::<i64>();
    assert_eq!(numbers(&world, sql).await, [492, values, 492]);
    // One file's stretch, and a part of a merge.
    let sql = "SELECT count(*) FROM s WHERE time <= to_timestamp_nanos(99099) AND device = 'd2'";
    let expected = points.keys().filter(|step| **step % 3 == 2 && **step <= 99).count();
    assert_eq!(numbers(&world, sql).await, [i64::try_from(expected).unwrap()]);
    // A sort above a union of merges and plain reads.
    let sql = "SELECT CAST(v AS BIGINT) AS v FROM s WHERE device = 'd1' ORDER BY device, time DESC LIMIT 1";
    assert_eq!(numbers(&world, sql).await, [4]);
}

/// The only row, of integers.
async fn numbers(world: &World, sql: &str) -> Vec<i64> {
    let rows = world.query(sql).await.unwrap();
    let rows: Vec<_> = rows.iter().filter(|batch| batch.num_rows() > 0).collect();
    assert!(rows.len() == 1 && rows[0].num_rows() == 1, "{sql}");
    rows[0].columns().iter().map(|column| column.as_primitive::<Int64Type>().value(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_holds_deleted_rows_answers_nothing_by_itself_and_one_without_others_is_not_opened() {
    let mut world = two_files().await;
    let sql = "SELECT count(*), max(time), min(time) FROM s";
    let count = async |world: &World| {
        let rows = world.query("SELECT count(*) FROM s").await.unwrap();
        rows[0].column(0).as_primitive::<Int64Type>().value(0)
    };
    world.delete("s", (2_000, 2_000), Some(("device", "c")));
    let plan = explained(&world, sql).await;
    assert!(plan.contains("deletes=1") && plan.contains("AggregateExec"), "{plan}");
    assert_eq!(count(&world).await, 3);
    world.delete("s", (500, 1_500), None);
    let plan = explained(&world, sql).await;
    assert_eq!(plan.matches(".parquet").count(), 1, "{plan}");
    assert_eq!(count(&world).await, 1);
    // What comes after is exact again: one source of memory, which no delete touches.
    world.delete("s", (0, 5_000), None);
    world.write_text("s,device=a v=1.0 1000");
    let plan = explained(&world, sql).await;
    assert!(plan.contains("1 as count(*), 1000 as max(s.time)"), "{plan}");
}
