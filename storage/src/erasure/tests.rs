//! Tests of erasure: every byte that is left is looked at, as it lies and as it is read.

#![allow(clippy::cast_possible_truncation, reason = "test data is small")]

mod faults;
mod world;

use std::time::Duration;

use object_store::ObjectStoreExt;
use object_store::memory::InMemory;

use self::world::{Bytes, OTHERS, SECRET_HOST, World};
use super::{Neighbour, Progress, Report, Treatment, Wanted};
use crate::engine::tests::{Node, config, copy_folder};
use crate::engine::{Engine, EngineConfig};
use crate::model::{FilePlace, FrameNumber};

fn wanted() -> Wanted {
    Wanted {
        database: None,
        table: None,
        wait: Duration::from_secs(30),
        neighbours: Vec::new(),
        backups: Vec::new(),
    }
}

async fn erase(engine: &Engine) -> Report {
    let report = engine.erase(&wanted(), &Progress::default()).await.unwrap();
    assert!(report.is_complete(), "{report:#?}");
    report
}

/// What is left has no trace, and all rows of the others.
async fn check(world: &World, report: &Report) {
    let traces = world.traces().await;
    assert_eq!(traces, Vec::<String>::new(), "{report:#?}");
    assert_eq!(world.node.read("t").await, world.expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_device_of_thirty_days_is_left_in_any_byte() {
    let scenario = fail::FailScenario::setup();
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::lived_in(folder.path(), None).await;
    // What a crash leaves half-written.
    let left = [("last-values/00000001.new", OTHERS), ("staged/half.parquet", SECRET_HOST)];
    for (path, text) in left {
        std::fs::create_dir_all(folder.path().join(path).parent().unwrap()).unwrap();
        std::fs::write(folder.path().join(path), format!("{text} {SECRET_HOST}")).unwrap();
    }
    let salvaged = folder.path().join("log/quarantined");
    std::fs::create_dir_all(&salvaged).unwrap();
    std::fs::write(salvaged.join("1-00000000000000000001.seg"), SECRET_HOST).unwrap();
    std::fs::write(salvaged.join("1.json"), "{}").unwrap();

    let before = world.traces().await;
    for place in ["log/", "_delta_log/", "busbar_date=", "definitions.log", "last-values/", "staged/"] {
        assert!(before.iter().any(|trace| trace.contains(place)), "{place} must hold something: {before:?}");
    }
    world.delete();
    assert_eq!(world.node.read("t").await, world.expected, "gone from queries at once");
    assert!(!world.traces().await.is_empty());

    let report = erase(&world.node.engine).await;
    check(&world, &report).await;
    let place = |name: &str| report.places.iter().find(|place| place.name == name).unwrap();
    assert!(place("data files").rewritten.files >= 30, "{report:#?}");
    assert!(place("table logs").removed.files > 30, "{report:#?}");
    assert!(place("replaced files").removed.files > 30, "{report:#?}");
    assert!(place("log").overwritten.files > 0, "{report:#?}");
    assert_eq!(place("quarantined segments").removed.files, 1, "{report:#?}");
    assert!(report.unproven.iter().any(|text| text.contains("backups")));

    // It is as good as before afterwards, and stays without a trace.
    world.write_others(40);
    world.restart().await;
    check(&world, &report).await;
    let again = erase(&world.node.engine).await;
    check(&world, &again).await;
    assert_eq!(again.places.iter().map(|place| place.left.len()).sum::<usize>(), 0);
    scenario.teardown();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_in_a_remote_store_and_its_cache() {
    let scenario = fail::FailScenario::setup();
    let folder = tempfile::tempdir().unwrap();
    let store = std::sync::Arc::new(InMemory::new());
    let mut world = World::lived_in(folder.path(), Some(store)).await;
    let schema = world.node.schema("t");
    // The cache gets blocks of files that go.
    world.node.read("t").await;
    world.read_ranges(&schema).await;
    assert!(world.traces().await.iter().any(|trace| trace.contains("cache/")), "the cache must be filled");
    world.delete();
    let report = erase(&world.node.engine).await;
    check(&world, &report).await;
    assert!(report.unproven.iter().any(|text| text.contains("versions")));
    world.restart().await;
    check(&world, &report).await;
    scenario.teardown();
}

/// Every place at which a kill of the job is interesting. No other test comes there: these hold the scenario.
const STOPS: [&str; 10] = [
    "erasure-after-memory",
    "erasure-between-data-files",
    "erasure-after-data-files",
    "erasure-after-last-values",
    "history-before-removal",
    "erasure-after-table-logs",
    "erasure-after-replaced-files",
    "erasure-before-overwriting",
    "erasure-after-log",
    "erasure-after-definitions",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_killed_at_any_step_is_finished_by_the_next() {
    let scenario = fail::FailScenario::setup();
    let (folder, images) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut world = World::lived_in(folder.path(), None).await;
    world.delete();
    for stop in STOPS {
        let (from, to) = (folder.path().to_owned(), images.path().join(stop));
        let image = move || {
            if !to.exists() {
                copy_folder(&from, &to);
            }
        };
        fail::cfg_callback(stop, image).unwrap();
    }
    erase(&world.node.engine).await;
    STOPS.iter().for_each(fail::remove);
    for stop in STOPS {
        let image = images.path().join(stop);
        assert!(image.exists(), "{stop} was never reached");
        let image = World::of(&image, world.expected.clone()).await;
        assert_eq!(image.node.read("t").await, world.expected, "{stop}");
        let report = erase(&image.node.engine).await;
        assert_eq!(image.traces().await, Vec::<String>::new(), "{stop}: {report:#?}");
        assert_eq!(image.node.read("t").await, world.expected, "{stop}");
    }
    scenario.teardown();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_query_reads_or_a_consumer_has_not_seen_is_left_and_said() {
    let scenario = fail::FailScenario::setup();
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::lived_in(folder.path(), None).await;
    let consumer = world.node.engine.tap().subscribe("rules", FrameNumber::default(), 1 << 30);
    let snapshot = world.node.engine.snapshot();
    world.delete();
    let impatient = Wanted { wait: Duration::ZERO, ..wanted() };
    let engine = world.node.engine.clone();
    let report = engine.erase(&impatient, &Progress::default()).await.unwrap();
    let left: Vec<_> = report.places.iter().filter(|place| !place.left.is_empty()).collect();
    assert_eq!(left.iter().map(|place| place.name).collect::<Vec<_>>(), ["replaced files", "log"]);
    // Every file of the snapshot is still there to be read.
    let files = &snapshot.table(world.node.schema("t").id).unwrap().files;
    for file in files {
        assert!(engine.store(file.place).head(&file.path).await.is_ok(), "{}", file.path);
    }
    drop(snapshot);
    consumer.checkpointed(engine.durable_frame());
    let report = erase(&engine).await;
    check(&world, &report).await;
    scenario.teardown();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_keep_is_named_and_what_passes_is_waited_for() {
    let scenario = fail::FailScenario::setup();
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::of(folder.path(), Default::default()).await;
    world.write_others(1);
    std::fs::create_dir_all(folder.path().join("alerting/alerts")).unwrap();
    std::fs::write(folder.path().join("alerting/alerts/1"), "abc").unwrap();
    std::fs::write(folder.path().join("spilled"), "abc").unwrap();
    std::fs::write(folder.path().join("strange"), "abc").unwrap();
    let neighbours = vec![
        Neighbour { place: "alerts", path: "alerting/alerts".into(), treatment: Treatment::Kept("audit") },
        Neighbour { place: "spill", path: "spilled".into(), treatment: Treatment::Passing },
    ];
    let wanted = Wanted { neighbours, wait: Duration::ZERO, ..wanted() };
    let engine = world.node.engine.clone();
    let report = engine.erase(&wanted, &Progress::default()).await.unwrap();
    let place = |name: &str| report.places.iter().find(|place| place.name == name).unwrap();
    assert_eq!((place("alerts").looked_at.bytes, place("alerts").kept[0].why.as_str()), (3, "audit"));
    assert_eq!(place("spill").left.len(), 1);
    assert!(place("unknown files").kept[0].what.ends_with("strange"));
    assert!(!report.is_complete());
    std::fs::remove_file(folder.path().join("spilled")).unwrap();
    assert!(engine.erase(&wanted, &Progress::default()).await.unwrap().is_complete());
    let nowhere = Wanted { table: Some("none".into()), ..wanted };
    let error = engine.erase(&nowhere, &Progress::default()).await.unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::NotFound);
    scenario.teardown();
}

#[test]
fn a_trace_is_found_in_any_of_its_forms() {
    let needles = world::needles();
    let found = |bytes: &[u8]| Bytes::of("x", bytes.to_vec()).traces(&needles).len();
    assert_eq!(found(b"nothing here"), 0);
    assert_eq!(found(format!("..{SECRET_HOST}..").as_bytes()), 1);
    assert_eq!(found(&world::secret_value(3).to_le_bytes()), 1);
    assert_eq!(found(world::secret_value(3).to_string().as_bytes()), 1);
}

#[tokio::test]
async fn a_delete_whose_record_has_left_the_log_is_erased_after_a_restart() {
    let scenario = fail::FailScenario::setup();
    let folder = tempfile::tempdir().unwrap();
    let quiet = || EngineConfig { background: false, ..config(folder.path()) };
    let mut node = Node::open_with(quiet()).await;
    node.write(&[("t", &[("a", 1, 1.0), ("b", 2, 2.0)])]);
    node.engine.flush().await.unwrap();
    node.delete(&["t"], Some("a"), (0, 10));
    node.engine.shared().log.lock().roll().unwrap();
    node.engine.flush().await.unwrap();
    assert_eq!(node.engine.log_extent().0, 1, "only a segment without a frame is left");
    drop(node);
    let node = Node::open_with(quiet()).await;
    let report = erase(&node.engine).await;
    assert!(report.up_to > 0, "{report:#?}");
    assert_eq!(node.files("t"), [(FilePlace::Table, 1)]);
    scenario.teardown();
}
