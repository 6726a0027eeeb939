//! Tests of flushes that fail or are given up at one place: the next one finishes them.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use parking_lot::Mutex;

use super::{Engine, EngineConfig, FilePlace, Node, Row, Rows, config, rows};
use crate::catalog::Definition;
use crate::disk::{LocalDisk, ObservedDisk, Operation};
use crate::engine::definitions;
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

/// Says that something has begun, and waits until it may go on.
type Gates = (mpsc::Sender<()>, mpsc::Receiver<()>);

#[tokio::test]
async fn rows_of_new_series_become_durable_while_definitions_are_being_saved() {
    let folder = tempfile::tempdir().unwrap();
    let ((begin, begun), (release, released)) = (mpsc::channel(), mpsc::channel());
    let gates: Arc<Mutex<Option<Gates>>> = Arc::default();
    let was_released = Arc::new(AtomicBool::new(false));
    let (closed, noted) = (Arc::clone(&gates), Arc::clone(&was_released));
    let disk = ObservedDisk::new(Arc::new(move |operation, path| {
        if operation == Operation::Write
            && path.ends_with("definitions.log")
            && let Some((begin, released)) = closed.lock().take()
        {
            begin.send(()).unwrap();
            noted.store(released.recv_timeout(Duration::from_secs(10)).is_ok(), Ordering::SeqCst);
        }
        Ok(())
    }));
    let config = EngineConfig { disk: Arc::new(disk), background: false, ..config(folder.path()) };
    let mut node = Node::open_with(config).await;
    node.write(&[("t", &[("a", 1, 1.0)])]);
    *gates.lock() = Some((begin, released));
    let engine = node.engine.clone();
    let flush = tokio::spawn(async move { engine.flush().await });
    tokio::task::spawn_blocking(move || begun.recv()).await.unwrap().unwrap();
    node.write(&[("t", &[("b", 1, 2.0)])]);
    // Nobody waits for it any more if it took too long.
    let _gone = release.send(());
    flush.await.unwrap().unwrap();
    assert!(was_released.load(Ordering::SeqCst), "the rows waited for the definitions");
    drop(node);
    let node = Node::open(folder.path()).await;
    assert_eq!(node.read("t").await, rows(&[("a", 1, 1.0), ("b", 1, 2.0)]));
}

#[tokio::test]
async fn definitions_that_could_not_be_saved_are_saved_with_the_next_ones() {
    for panics in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let fails = Arc::new(AtomicBool::new(false));
        let failing = Arc::clone(&fails);
        let disk = Arc::new(ObservedDisk::new(Arc::new(move |operation, path| {
            let is_definitions = operation == Operation::Sync && path.ends_with("definitions.log");
            if is_definitions && failing.swap(false, Ordering::SeqCst) {
                assert!(!panics, "a disk that panics");
                return Err(Error::Internal("the disk is broken".into()));
            }
            Ok(())
        })));
        let config = EngineConfig { disk: disk.clone(), background: false, ..config(folder.path()) };
        let mut node = Node::open_with(config).await;
        node.write(&[("t", &[("a", 1, 1.0)])]);
        fails.store(true, Ordering::SeqCst);
        node.engine.flush().await.unwrap_err();
        node.write(&[("t", &[("b", 1, 2.0)])]);
        node.engine.flush().await.unwrap();
        // After a panic nobody cut what was written: it is there twice, which means the same.
        let mut saved = saved_hosts(folder.path());
        saved.dedup();
        assert_eq!(saved, ["a", "b"], "panics: {panics}");
    }
}

#[tokio::test]
async fn definitions_are_saved_without_a_flush_when_a_segment_is_half_full() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open(folder.path()).await;
    let mut written = 0;
    let wait = async {
        while saved_hosts(folder.path()).is_empty() {
            written += 1;
            node.write(&[("t", &[(&format!("host {written}"), 1, 1.0)])]);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap();
    assert_eq!(node.files("t"), []);
    assert!(written > 1, "one row does not fill half a segment");
}

/// The hosts of the series that `definitions.log` defines.
fn saved_hosts(folder: &Path) -> Vec<String> {
    // A copy, because reading it cuts what is being written.
    let copy = folder.join("a copy of definitions.log");
    std::fs::copy(folder.join("definitions.log"), &copy).unwrap();
    let saved = definitions::load(&LocalDisk, &copy).unwrap();
    let hosts = saved.iter().filter_map(|definition| match definition {
        Definition::Series { key, .. } => key.borrowed().tag(0).map(str::to_owned),
        _ => None,
    });
    hosts.collect()
}
