//! Tests of flushes that fail or are given up at one place: the next one finishes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Engine, EngineConfig, FilePlace, Node, Row, Rows, config, rows};
use crate::disk::{ObservedDisk, Operation};
use crate::error::Error;

#[tokio::test]
async fn a_manifest_whose_removal_could_not_be_synced_does_not_hold_up_its_table() {
    let folder = tempfile::tempdir().unwrap();
    let (is_removed, has_failed) = (AtomicBool::new(false), Arc::new(AtomicBool::new(false)));
    let failed = Arc::clone(&has_failed);
    let disk = ObservedDisk::new(Arc::new(move |operation, path| {
        let is_manifest = path.extension().is_some_and(|extension| extension == "json");
        if operation == Operation::Remove && is_manifest {
            is_removed.store(true, Ordering::SeqCst);
        }
        let is_next = operation == Operation::SyncFolder && is_removed.load(Ordering::SeqCst);
        if is_next && !failed.swap(true, Ordering::SeqCst) {
            return Err(Error::Internal("the disk is broken".into()));
        }
        Ok(())
    }));
    let config = EngineConfig { disk: Arc::new(disk), background: false, ..config(folder.path()) };
    let (engine, committer) = Engine::open(config).await.unwrap();
    let mut node = Node { engine, committer };
    node.write(&[("t", &[("a", 1, 1.0)])]);
    node.engine.flush().await.unwrap_err();
    assert!(has_failed.load(Ordering::SeqCst));
    node.engine.flush().await.unwrap();
    assert_eq!(node.files("t"), [(FilePlace::Table, 1)]);
}

#[tokio::test]
async fn a_flush_that_its_caller_gives_up_is_finished_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open(folder.path()).await;
    let mut expected = Rows::new();
    for round in 0..8_i64 {
        let batch: Vec<Row> = (0..40).map(|i| ("a", i + round * 20, round as f64)).collect();
        node.write(&[("t", &batch), ("u", &batch)]);
        expected.extend(rows(&batch));
        let mut flush = Box::pin(node.engine.flush());
        for _ in 0..round {
            if futures::poll!(&mut flush).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(flush);
        assert_eq!(node.read("t").await, expected);
    }
    node.engine.flush().await.unwrap();
    for table in ["t", "u"] {
        assert!(node.files(table).iter().all(|(place, _)| *place == FilePlace::Table));
        assert_eq!(node.read(table).await, expected);
    }
    assert_eq!(node.engine.memory_bytes(), 0);
}

#[tokio::test]
async fn rows_that_could_not_be_staged_are_not_overtaken_by_later_ones_of_their_table() {
    let folder = tempfile::tempdir().unwrap();
    let is_armed = Arc::new(AtomicBool::new(false));
    let armed = Arc::clone(&is_armed);
    let disk = ObservedDisk::new(Arc::new(move |operation, path| {
        let is_staged =
            path.to_string_lossy().contains("staged/") && path.to_string_lossy().contains(".parquet");
        if operation == Operation::Open && is_staged && armed.swap(false, Ordering::SeqCst) {
            return Err(Error::Internal("the disk is full".into()));
        }
        Ok(())
    }));
    let config = EngineConfig { disk: Arc::new(disk), background: false, ..config(folder.path()) };
    let (engine, committer) = Engine::open(config).await.unwrap();
    let mut node = Node { engine, committer };
    let mut expected = Rows::new();
    for batch in [[("a", 1, 1.0), ("b", 1, 1.0)], [("a", 1, 2.0), ("c", 1, 2.0)]] {
        node.write(&[("t", &batch)]);
        expected.extend(rows(&batch));
        is_armed.store(true, Ordering::SeqCst);
        node.engine.flush().await.unwrap_err();
        assert_eq!(node.read("t").await, expected);
    }
    drop(node);
    let node = Node::open(folder.path()).await;
    assert_eq!(node.read("t").await, expected);
}
