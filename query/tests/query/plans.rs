//! What a plan does below the merge, and what it can leave out.

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
