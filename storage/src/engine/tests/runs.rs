//! Tests of runs: rows that spread over many days are staged in few files, and become one file per day together.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{DAY, EngineConfig, FilePlace, FrameNumber, Node, Row, Rows, RunsConfig, config, rows};
use crate::disk::{ObservedDisk, Operation};
use crate::error::Error;

/// Days of a batch that becomes a run: they lie in two months.
const DAYS: i64 = 40;

fn with_runs(folder: &Path) -> EngineConfig {
    let runs = RunsConfig { min_partitions: 8, ..RunsConfig::default() };
    EngineConfig { runs, small_table_bytes: 0, background: false, ..config(folder) }
}

/// A row of each of some days. Those of one host at one time of the day overwrite each other.
fn spread(host: &str, time: i64, value: f64) -> Vec<Row<'_>> {
    (0..DAYS).map(|day| (host, day * DAY + time, value)).collect()
}

async fn stage(node: &mut Node, batch: &[Row<'_>], expected: &mut Rows) {
    node.write(&[("t", batch)]);
    expected.extend(rows(batch));
    node.engine.flush_due().await.unwrap();
}

fn staged(folder: &Path, what: &str) -> usize {
    let names = std::fs::read_dir(folder.join("staged")).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().ends_with(what)).count()
}

/// Files that are staged and those in the table.
fn places(node: &Node) -> (usize, usize) {
    let files = node.files("t");
    let in_table = files.iter().filter(|(place, _)| *place == FilePlace::Table).count();
    (files.len() - in_table, in_table)
}

#[tokio::test]
async fn rows_of_many_days_are_staged_in_few_files_and_gathered_into_one_for_each_day() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open_with(with_runs(folder.path())).await;
    let mut expected = Rows::new();
    for (number, host) in ["a", "b", "a"].into_iter().enumerate() {
        stage(&mut node, &spread(host, 1, number as f64), &mut expected).await;
        assert_eq!(places(&node), (2 * (number + 1), 0), "a file for each month");
        assert_eq!(node.engine.memory_bytes(), 0, "runs free the memory");
        assert_eq!(node.engine.log_extent().1, FrameNumber::new(1), "TXN-2: a run is not in files");
        assert_eq!(node.read("t").await, expected);
    }
    drop(node);
    let mut node = Node::open_with(with_runs(folder.path())).await;
    assert_eq!((places(&node), node.engine.memory_bytes()), ((6, 0), 0), "runs are adopted");
    assert_eq!(node.read("t").await, expected);
    stage(&mut node, &spread("c", 2, 9.0), &mut expected).await;
    node.engine.flush().await.unwrap();
    assert_eq!(places(&node), (0, 40), "of four runs");
    assert_eq!(node.files("t").iter().map(|(_, rows)| rows).sum::<u64>(), expected.len() as u64);
    assert_eq!(node.read("t").await, expected);
    assert_eq!(node.engine.compact(true).await.unwrap(), 0, "nothing is left to merge");
    node.engine.close().await.unwrap();
    assert_eq!(staged(folder.path(), ""), 0);
    drop(node);
    let node = Node::open_with(with_runs(folder.path())).await;
    assert_eq!((places(&node), node.read("t").await), ((0, 40), expected));
}

#[tokio::test]
async fn a_closed_engine_leaves_its_runs_staged() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open_with(with_runs(folder.path())).await;
    let batch = spread("a", 1, 1.0);
    node.write(&[("t", &batch)]);
    node.engine.close().await.unwrap();
    drop(node);
    let node = Node::open_with(with_runs(folder.path())).await;
    assert_eq!((places(&node), node.read("t").await), ((2, 0), rows(&batch)));
}

/// Stages a run with such settings, then what follows; says how many files there are then.
async fn check_due(runs: RunsConfig, following: &[Row<'_>], expected: (usize, usize)) {
    check_log(runs, u64::MAX, following, expected).await;
}

async fn check_log(runs: RunsConfig, log_bytes: u64, following: &[Row<'_>], expected: (usize, usize)) {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open_with(EngineConfig { runs, log_bytes, ..with_runs(folder.path()) }).await;
    let mut all = Rows::new();
    stage(&mut node, &spread("a", 1, 1.0), &mut all).await;
    if !following.is_empty() {
        stage(&mut node, following, &mut all).await;
    }
    assert_eq!(places(&node), expected);
    assert_eq!(node.read("t").await, all);
}

#[tokio::test]
async fn runs_wait_for_log_age_or_a_set_that_need_not_wait() {
    let runs = || RunsConfig { min_partitions: 8, ..RunsConfig::default() };
    check_due(runs(), &[], (2, 0)).await;
    check_due(runs(), &spread("b", 1, 1.0), (4, 0)).await;
    check_due(RunsConfig { age: Duration::ZERO, ..runs() }, &[], (0, 40)).await;
    check_log(runs(), 1, &[], (0, 40)).await;
    check_due(RunsConfig { partition_bytes: 1, ..runs() }, &[], (0, 40)).await;
    check_due(RunsConfig { min_partitions: 41, ..runs() }, &[], (0, 40)).await;
    // Of one day: it comes after the run, and may go to the table at once.
    check_due(runs(), &[("a", 1, 5.0)], (0, 41)).await;
}

#[tokio::test]
async fn a_delete_between_two_runs_hides_rows_of_the_first_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open_with(with_runs(folder.path())).await;
    let mut expected = Rows::new();
    stage(&mut node, &spread("a", 1, 1.0), &mut expected).await;
    stage(&mut node, &spread("b", 1, 1.0), &mut expected).await;
    node.delete(&["t"], Some("a"), (0, 20 * DAY));
    expected.retain(|(host, time), _| host != "a" || *time > 20 * DAY);
    let again: Vec<Row> = spread("a", 1, 2.0).into_iter().step_by(3).collect();
    stage(&mut node, &again, &mut expected).await;
    assert_eq!(node.read("t").await, expected);
    node.engine.flush().await.unwrap();
    assert_eq!(places(&node), (0, 40));
    assert_eq!(node.read("t").await, expected);
    let snapshot = node.engine.snapshot();
    assert!(snapshot.table(node.schema("t").id).unwrap().tombstones.is_empty(), "files have had it applied");
    drop((snapshot, node));
    let node = Node::open_with(with_runs(folder.path())).await;
    assert_eq!(node.read("t").await, expected);
}

#[tokio::test]
async fn rows_that_are_all_deleted_leave_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open_with(with_runs(folder.path())).await;
    stage(&mut node, &spread("a", 1, 1.0), &mut Rows::new()).await;
    node.delete(&["t"], None, (0, DAYS * DAY));
    node.engine.flush().await.unwrap();
    assert_eq!((places(&node), node.read("t").await), ((0, 0), Rows::new()));
    node.engine.close().await.unwrap();
    assert_eq!(staged(folder.path(), ""), 0);
}

/// A disk on which the call after so many of the staging area fails, once.
fn failing_after(calls: &Arc<AtomicU64>) -> ObservedDisk {
    let left = Arc::clone(calls);
    ObservedDisk::new(Arc::new(move |operation, path| {
        let counts = path.to_string_lossy().contains("staged") && operation != Operation::Write;
        let count = || left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if counts && count() == Err(0) {
            left.store(u64::MAX, Ordering::SeqCst);
            return Err(Error::Internal("the disk is broken".into()));
        }
        Ok(())
    }))
}

#[tokio::test]
async fn gathering_that_fails_at_any_step_is_finished_by_the_next_flush_or_start() {
    let days = |host, value| spread(host, 1, value).into_iter().step_by(13).collect::<Vec<Row>>();
    let mut is_finished = [false, false];
    for step in 0.. {
        let restarts = step % 2 == 1;
        let folder = tempfile::tempdir().unwrap();
        let left = Arc::new(AtomicU64::new(u64::MAX));
        let runs = RunsConfig { min_partitions: 4, ..RunsConfig::default() };
        let config = EngineConfig { disk: Arc::new(failing_after(&left)), runs, ..with_runs(folder.path()) };
        let mut node = Node::open_with(config.clone()).await;
        let mut expected = Rows::new();
        stage(&mut node, &days("a", 1.0), &mut expected).await;
        stage(&mut node, &days("a", 2.0), &mut expected).await;
        assert_eq!(places(&node), (4, 0));
        left.store(step, Ordering::SeqCst);
        is_finished[usize::from(restarts)] = node.engine.flush().await.is_ok();
        left.store(u64::MAX, Ordering::SeqCst);
        assert_eq!(node.read("t").await, expected, "step {step}");
        if restarts {
            drop(node);
            node = Node::open_with(config).await;
            assert_eq!(node.read("t").await, expected, "step {step}");
        }
        // One more run comes between.
        stage(&mut node, &days("b", 3.0), &mut expected).await;
        node.engine.flush().await.unwrap();
        assert_eq!((places(&node).0, node.read("t").await), (0, expected), "step {step}");
        node.engine.close().await.unwrap();
        drop(node);
        assert_eq!(staged(folder.path(), ".json"), 0, "step {step}");
        if is_finished == [true, true] {
            assert!(step > 20, "the steps of a flush were counted");
            break;
        }
    }
}

#[tokio::test]
async fn the_flusher_merges_runs_that_are_due_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let runs = RunsConfig { min_partitions: 8, age: Duration::ZERO, ..RunsConfig::default() };
    let config = EngineConfig { runs, flush_age: Duration::ZERO, ..config(folder.path()) };
    let mut node = Node::open_with(config).await;
    let batch = spread("a", 1, 1.0);
    node.write(&[("t", &batch)]);
    while places(&node) != (0, 40) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(node.read("t").await, rows(&batch));
}

#[tokio::test]
async fn a_flush_leaves_no_run_behind_a_set_that_stood_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open_with(with_runs(folder.path())).await;
    node.write(&[("t", &[("x", 5, 1.0), ("y", 5, 1.0)])]);
    // It seals what is there, which is of one day.
    node.delete(&["t"], Some("x"), (0, 10));
    let batch = spread("a", 1, 1.0);
    node.write(&[("t", &batch)]);
    node.engine.flush().await.unwrap();
    assert_eq!(places(&node), (0, 41));
    let mut expected = rows(&batch);
    expected.extend(rows(&[("y", 5, 1.0)]));
    assert_eq!(node.read("t").await, expected);
}
