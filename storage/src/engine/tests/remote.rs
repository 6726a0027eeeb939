//! Tables in a store that fails, is away, or is written by another node too.

use std::time::Duration;

use super::*;
use crate::object::flaky::{FlakyStore, soon};
use crate::object::{RetryPolicy, RetryingStore, StoreActivity, StoreSettings, TableStore};

pub(crate) fn remote(folder: &Path, store: &FlakyStore, retry: RetryPolicy) -> EngineConfig {
    let activity = Arc::new(StoreActivity::default());
    let patient = RetryingStore::new(store.clone(), retry, Arc::clone(&activity));
    let tables = TableStore::Given(Arc::new(patient));
    let store = StoreSettings { tables, cache_bytes: 4 << 20, activity, ..StoreSettings::default() };
    EngineConfig { store, ..config(folder) }
}

fn batch(from: i64, value: f64) -> Vec<Row<'static>> {
    (from..from + 200).map(|i| (["a", "b"][usize::from(i % 3 == 0)], i, value)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_fails_every_fifth_request_loses_and_doubles_nothing() {
    for seed in 0..3 {
        let (folder, store) = (tempfile::tempdir().unwrap(), FlakyStore::new(seed));
        store.fail_percent(20);
        let mut expected = Rows::new();
        for run in 0..3_i64 {
            let mut node = Node::open_with(remote(folder.path(), &store, soon())).await;
            assert_eq!(node.read("t").await, expected, "seed {seed}, run {run}");
            for round in 0..3 {
                let rows_of_round = batch(run * 300 + round * 100, (run * 10 + round) as f64);
                node.write(&[("t", &rows_of_round), ("u", &rows_of_round)]);
                expected.extend(rows(&rows_of_round));
                node.engine.flush().await.unwrap();
                assert_eq!(node.read("t").await, expected, "seed {seed}, run {run}, round {round}");
            }
            assert_eq!(node.files("t").len() as i64, 3 * (run + 1), "a commit for each flush");
            assert!(node.files("t").iter().all(|(place, _)| *place == FilePlace::Table));
        }
        assert!(!folder.path().join("tables").exists());
    }
}

#[tokio::test]
async fn a_start_waits_for_the_store_and_says_why() {
    let (folder, store) = (tempfile::tempdir().unwrap(), FlakyStore::new(1));
    let mut node = Node::open_with(remote(folder.path(), &store, soon())).await;
    node.write(&[("t", &batch(0, 1.0))]);
    node.engine.flush().await.unwrap();
    node.write(&[("t", &batch(100, 2.0))]);
    drop(node);
    store.set_down(true);
    let config = remote(folder.path(), &store, RetryPolicy { retries: 2, ..soon() });
    let activity = Arc::clone(&config.store.activity);
    let opening = tokio::spawn(Node::open_with(config));
    let why = loop {
        match activity.fault() {
            Some(why) => break why,
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    assert!(why.starts_with("the object store does not answer: "), "{why}");
    assert!(!opening.is_finished());
    store.set_down(false);
    let node = opening.await.unwrap();
    let mut expected = rows(&batch(0, 1.0));
    expected.extend(rows(&batch(100, 2.0)));
    assert_eq!(node.read("t").await, expected);
    assert_eq!(activity.fault(), None);
}

#[tokio::test]
async fn while_the_store_is_away_rows_are_taken_until_the_disk_budget_is_full_and_again_when_it_is_back() {
    let (folder, store) = (tempfile::tempdir().unwrap(), FlakyStore::new(1));
    let settings = remote(folder.path(), &store, RetryPolicy { retries: 0, ..soon() });
    let mut node = Node::open_with(EngineConfig { disk_limit: 512 << 10, ..settings }).await;
    store.set_down(true);
    let mut expected = Rows::new();
    let mut round = 0;
    while node.engine.disk_shortage().is_none() {
        let rows_of_round = batch(round * 100, round as f64);
        node.write(&[("t", &rows_of_round)]);
        expected.extend(rows(&rows_of_round));
        round += 1;
        if round % 20 == 0 {
            node.engine.flush().await.unwrap_err();
        }
        assert!(round < 1_000, "the budget is never full");
    }
    let why = node.engine.disk_shortage().unwrap();
    assert!(why.contains("the object store does not answer"), "{why}");
    assert_eq!(node.read("t").await, expected);
    // A restart counts what is there.
    drop(node);
    store.set_down(false);
    let settings = remote(folder.path(), &store, soon());
    let node = Node::open_with(EngineConfig { disk_limit: 512 << 10, ..settings }).await;
    assert!(node.engine.disk_bytes() >= 512 << 10);
    node.engine.flush().await.unwrap();
    assert_eq!(node.engine.disk_shortage(), None);
    assert_eq!(node.read("t").await, expected);
    node.engine.close().await.unwrap();
    assert_eq!(std::fs::read_dir(folder.path().join("staged")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_write_one_table_lose_and_double_nothing() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = FlakyStore::new(7);
    store.fail_percent(10);
    let mut nodes = [
        Node::open_with(remote(one.path(), &store, soon())).await,
        Node::open_with(remote(two.path(), &store, soon())).await,
    ];
    let mut expected = Rows::new();
    for round in 0..6_i64 {
        for (node, base) in nodes.iter_mut().zip([0, 1_000_000]) {
            let rows_of_round = batch(base + round * 200, round as f64);
            node.write(&[("t", &rows_of_round)]);
            expected.extend(rows(&rows_of_round));
        }
        let [first, second] = &nodes;
        let (first, second) = tokio::join!(first.engine.flush(), second.engine.flush());
        first.unwrap();
        second.unwrap();
    }
    drop(nodes);
    // Each sees the other's files from its next start on.
    for folder in [&one, &two] {
        let node = Node::open_with(remote(folder.path(), &store, soon())).await;
        assert_eq!(node.read("t").await, expected);
        assert_eq!(node.files("t").iter().map(|(_, rows)| rows).sum::<u64>(), expected.len() as u64);
    }
}
