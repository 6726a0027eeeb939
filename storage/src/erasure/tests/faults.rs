//! An erasure beside what fails, and what goes on meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};

use super::{erase, wanted};
use crate::compaction::CompactionConfig;
use crate::disk::Disk;
use crate::disk::sim::SimDisk;
use crate::engine::EngineConfig;
use crate::engine::tests::{Node, Row, config, rows};
use crate::erasure::{Progress, Report, Wanted};
use crate::log::encode_batch;
use crate::model::WriteBatch;
use crate::object::flaky::{FlakyStore, soon};
use crate::object::{
    FaultyStore, RetryPolicy, RetryingStore, StoreActivity, StoreFaults, StoreSettings, TableStore,
};

/// An erasure that leaves what it would have to wait for.
fn impatient() -> Wanted {
    Wanted { wait: Duration::ZERO, ..wanted() }
}

fn quiet(folder: &Path) -> EngineConfig {
    let compaction = CompactionConfig { enabled: false, ..CompactionConfig::default() };
    EngineConfig { background: false, compaction, ..config(folder) }
}

/// A store whose failures are not waited out.
fn on_store(folder: &Path, store: &FlakyStore) -> EngineConfig {
    let activity = Arc::new(StoreActivity::default());
    let impatient = RetryPolicy { retries: 0, ..soon() };
    let tables = RetryingStore::new(store.clone(), impatient, Arc::clone(&activity));
    let tables = TableStore::Given(Arc::new(tables));
    EngineConfig { store: StoreSettings { tables, activity, ..StoreSettings::default() }, ..quiet(folder) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_a_commit_whose_answer_was_lost_are_not_taken_for_left_over() {
    let scenario = fail::FailScenario::setup();
    let (folder, store) = (tempfile::tempdir().unwrap(), FlakyStore::new(1));
    let mut node = Node::open_with(on_store(folder.path(), &store)).await;
    let all = [("a", 1, 1.0), ("a", 2, 2.0), ("b", 3, 3.0)];
    for row in &all {
        node.write(&[("t", std::slice::from_ref(row))]);
        node.engine.flush().await.unwrap();
    }
    // Files are merged after the job has looked at the table's log, and nobody hears of it.
    let (engine, lossy) = (node.engine.clone(), store.clone());
    let merge = move || {
        lossy.lose_next_commit();
        let engine = engine.clone();
        let merging = std::thread::spawn(move || {
            tokio::runtime::Runtime::new().unwrap().block_on(engine.compact(true)).unwrap_err()
        });
        merging.join().unwrap();
        lossy.set_down(false);
    };
    fail::cfg_callback("erasure-after-table-logs", merge).unwrap();
    erase(&node.engine).await;
    fail::remove("erasure-after-table-logs");
    // Another process reads the table as it is in the store.
    drop(node);
    let node = Node::open_with(on_store(folder.path(), &store)).await;
    let schema = node.schema("t");
    let view = node.engine.snapshot().table(schema.id).cloned().unwrap();
    for file in &view.files {
        node.engine.store(file.place).head(&file.path).await.unwrap();
    }
    assert_eq!(node.read("t").await, rows(&all));
    scenario.teardown();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rows_that_become_visible_while_the_log_is_waited_for_are_flushed_and_their_segments_overwritten() {
    let scenario = fail::FailScenario::setup();
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open_with(quiet(folder.path())).await;
    node.write(&[("t", &[("a", 1, 1.0), ("b", 1, 1.0)])]);
    node.delete(&["t"], Some("a"), (0, 10));
    let (waits, waiting) = std::sync::mpsc::channel();
    fail::cfg_callback("erasure-waits-for-the-log", move || waits.send(()).unwrap_or_default()).unwrap();
    // Durable, and not visible until the job waits.
    let batch = node.batch("t", &[("c", 1, 1.0)]);
    let encoded = encode_batch(WriteBatch::of(vec![batch])).unwrap();
    let engine = node.engine.clone();
    let durable = node.committer.append(vec![encoded]).unwrap().sync().unwrap();
    let job = tokio::spawn(async move { engine.erase(&wanted(), &Progress::default()).await });
    tokio::task::block_in_place(|| waiting.recv().unwrap());
    durable.publish();
    node.write(&[("t", &[("d", 1, 1.0)])]);
    let report: Report = job.await.unwrap().unwrap();
    assert!(report.is_complete(), "{report:#?}");
    assert_eq!(node.read("t").await, rows(&[("b", 1, 1.0), ("c", 1, 1.0), ("d", 1, 1.0)]));
    scenario.teardown();
}

/// A host whose name is like nothing else.
const SECRET: &str = "Xq7-erased-device";

/// Rows of which those of the secret host are deleted; returns what is left.
async fn fill(node: &mut Node) -> Vec<Row<'static>> {
    let mut left = Vec::new();
    for round in 0..4 {
        let batch: Vec<Row<'_>> =
            (0..20).map(|n| ([SECRET, "b"][n % 2], n as i64 + round * 10, 1.0)).collect();
        node.write(&[("t", &batch)]);
        node.engine.flush().await.unwrap();
        left.extend(batch.into_iter().filter(|row| row.0 == "b"));
    }
    node.delete(&["t"], Some(SECRET), (0, 1_000));
    left
}

fn files_of(disk: &dyn Disk, folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for name in disk.list(folder).unwrap() {
        let path = folder.join(name);
        if disk.metadata(&path).unwrap().is_folder {
            files_of(disk, &path, found);
        } else {
            found.push((path.display().to_string(), crate::disk::read_file(disk, &path).unwrap()));
        }
    }
}

fn traces(files: Vec<(String, Vec<u8>)>) -> Vec<String> {
    let has_secret = |bytes: &[u8]| memchr::memmem::find(bytes, SECRET.as_bytes()).is_some();
    files.into_iter().filter(|(_, bytes)| has_secret(bytes)).map(|(name, _)| name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_an_erasure_without_harm_and_with_room_the_next_one_is_complete() {
    let scenario = fail::FailScenario::setup();
    let (folder, disk) = (tempfile::tempdir().unwrap(), SimDisk::new(7));
    let on_disk = || EngineConfig { disk: Arc::new(disk.clone()), ..quiet(folder.path()) };
    let mut node = Node::open_with(on_disk()).await;
    let left = fill(&mut node).await;
    let mut stopped = 0;
    for room in (0..700_000).step_by(9_000) {
        disk.set_capacity(Some(disk.used_bytes() + room));
        let erased = node.engine.erase(&impatient(), &Progress::default()).await;
        assert_eq!(node.read("t").await, rows(&left), "{room} bytes of room");
        if erased.is_ok_and(|report| report.is_complete()) {
            break;
        }
        stopped += 1;
    }
    assert!(stopped > 2, "{stopped} times there was no room");
    disk.set_capacity(None);
    erase(&node.engine).await;
    let mut files = Vec::new();
    files_of(&disk, folder.path(), &mut files);
    assert_eq!(traces(files), [""; 0]);
    assert_eq!(node.read("t").await, rows(&left));
    scenario.teardown();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_fails_or_hangs_holds_an_erasure_up_and_harms_nothing() {
    let scenario = fail::FailScenario::setup();
    for seed in 0..2 {
        let folder = tempfile::tempdir().unwrap();
        let (objects, faults) = (Arc::new(InMemory::new()), Arc::new(StoreFaults::new(seed)));
        let inner = Arc::clone(&objects) as Arc<dyn ObjectStore>;
        let tables = TableStore::Given(Arc::new(FaultyStore::new(inner, Arc::clone(&faults))));
        let store = StoreSettings { tables, ..StoreSettings::default() };
        let mut node = Node::open_with(EngineConfig { store, ..quiet(folder.path()) }).await;
        let left = fill(&mut node).await;
        faults.set_down(true);
        node.engine.erase(&impatient(), &Progress::default()).await.unwrap_err();
        faults.set_down(false);
        faults.set_percent(25);
        // Half of the changes that fail were done.
        for _ in 0..8 {
            let _failed_or_not = node.engine.erase(&impatient(), &Progress::default()).await;
            assert_eq!(node.read("t").await, rows(&left), "seed {seed}");
        }
        faults.set_percent(0);
        erase(&node.engine).await;
        let mut files = Vec::new();
        for object in objects.list(None).try_collect::<Vec<_>>().await.unwrap() {
            let bytes = objects.get(&object.location).await.unwrap().bytes().await.unwrap();
            files.push((object.location.to_string(), bytes.to_vec()));
        }
        assert_eq!(traces(files), [""; 0], "seed {seed}");
        assert_eq!(node.read("t").await, rows(&left), "seed {seed}");
    }
    // One that loses answers, or never gives them, and is asked again.
    let (folder, store) = (tempfile::tempdir().unwrap(), FlakyStore::new(3));
    let activity = Arc::new(StoreActivity::default());
    let patient = RetryingStore::new(store.clone(), soon(), Arc::clone(&activity));
    let settings =
        StoreSettings { tables: TableStore::Given(Arc::new(patient)), activity, ..StoreSettings::default() };
    let mut node = Node::open_with(EngineConfig { store: settings, ..quiet(folder.path()) }).await;
    let left = fill(&mut node).await;
    store.fail_percent(10);
    erase(&node.engine).await;
    assert_eq!(node.read("t").await, rows(&left));
    scenario.teardown();
}
