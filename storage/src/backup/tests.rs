//! Tests of backup and restore: a copy of a moment comes back exactly, or is refused by name.

#![allow(clippy::cast_precision_loss, reason = "test data is small")]

mod damage;
mod deletes;
mod remote;
mod settling;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::{Destination, Manifest, Place, Progress, Restored, Target, back_up, restore};
use crate::compaction::CompactionConfig;
use crate::engine::EngineConfig;
use crate::engine::tests::{Node, Rows, config, rows};
use crate::error::{ErrorKind, Result};
use crate::layout::table_folder;
use crate::model::Timestamp;
use crate::object::StoreSettings;
use crate::stream::{FrozenStream, RecordNumber, Stream, StreamOptions, freeze_all};
use crate::vacuum::VacuumConfig;
use std::time::Duration;

async fn no_streams() -> Result<Vec<FrozenStream>> {
    Ok(Vec::new())
}

fn destination(node: &Node, folder: &Path) -> Destination {
    Destination::open(&Place::Folder(folder.into()), &node.engine.config().data_dir).unwrap()
}

async fn backed_up(node: &Node, folder: &Path) -> (Manifest, Progress) {
    let progress = Progress::default();
    let manifest = back_up(&node.engine, no_streams(), &destination(node, folder), &progress).await.unwrap();
    (manifest, progress)
}

fn target(folder: &Path) -> Target {
    Target { data_dir: folder.into(), store: StoreSettings::default() }
}

/// Restores the newest backup.
async fn brought_back(from: &Path, to: &Path) -> Result<()> {
    let destination = Destination::open_to_read(&Place::Folder(from.into())).unwrap();
    let manifest = destination.newest(None).await?;
    restore(&destination, &manifest, &target(to), &Progress::default()).await
}

/// The first start of a restored directory.
async fn settled(folder: &Path) -> Node {
    let restored = Restored::open(config(folder)).await.unwrap().expect("it was restored");
    restored.settle().await.unwrap();
    Node::open(folder).await
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

#[tokio::test]
async fn what_is_in_tables_staged_and_in_the_log_comes_back_exactly() {
    let (data, place, fresh) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut node = Node::open_with(EngineConfig { background: false, ..config(data.path()) }).await;
    node.write(&[("t", &[("a", 1, 1.0), ("b", 2, 2.0)]), ("°C", &[("x", 5, 5.0)])]);
    node.engine.flush().await.unwrap();
    node.write(&[("t", &[("a", 1, 10.0), ("c", 3, 3.0)])]);
    node.engine.flush().await.unwrap();
    node.engine.compact(true).await.unwrap();
    // A file where a table's folder would be: its rows stay staged.
    let obstacle = data.path().join("tables").join(table_folder(&node.schema("u")).as_ref());
    std::fs::write(&obstacle, "in the way").unwrap();
    node.write(&[("u", &[("s", 7, 7.0)])]);
    node.engine.flush().await.unwrap_err();
    std::fs::remove_file(&obstacle).unwrap();
    node.write(&[("t", &[("a", 1, 100.0), ("d", 4, 4.0)]), ("v", &[("l", 8, 8.0)])]);
    let (manifest, _) = backed_up(&node, place.path()).await;
    node.write(&[("t", &[("a", 1, 1_000.0), ("later", 9, 9.0)])]);
    assert!(manifest.files.iter().any(|file| file.path.starts_with("staged/")), "{manifest:?}");
    drop(node);

    brought_back(place.path(), fresh.path()).await.unwrap();
    let node = settled(fresh.path()).await;
    assert_eq!(node.read("t").await, rows(&[("a", 1, 100.0), ("b", 2, 2.0), ("c", 3, 3.0), ("d", 4, 4.0)]));
    assert_eq!(node.read("°C").await, rows(&[("x", 5, 5.0)]));
    assert_eq!(node.read("u").await, rows(&[("s", 7, 7.0)]));
    assert_eq!(node.read("v").await, rows(&[("l", 8, 8.0)]));
    drop(node);
    let report = crate::verify::verify(fresh.path(), &mut |_| {}).await.unwrap();
    assert_eq!(report.findings, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_a_running_writer_a_backup_is_a_prefix_of_what_was_written_with_all_that_was_acknowledged() {
    let (data, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut node = Node::open(data.path()).await;
    node.write(&[("t", &[("first", 0, 0.0)]), ("u", &[("first", 0, 0.0)])]);
    let engine = node.engine.clone();
    let (acknowledged, stop) = (Arc::new(AtomicI64::new(-1)), Arc::new(AtomicBool::new(false)));
    let (of_writer, until) = (Arc::clone(&acknowledged), Arc::clone(&stop));
    let writer = std::thread::spawn(move || {
        for i in 0_i64.. {
            if until.load(Ordering::Relaxed) {
                break;
            }
            // One new row in each table, and one of fifty that is written again and again.
            let batch = [("new", i, i as f64), ("again", i % 50, i as f64)];
            node.write(&[("t", &batch), ("u", &batch)]);
            of_writer.store(i, Ordering::Release);
        }
        node
    });
    for round in 0..4 {
        while acknowledged.load(Ordering::Acquire) < 100 * (round + 1) {
            tokio::task::yield_now().await;
        }
        let before = acknowledged.load(Ordering::Acquire);
        let place = place.path().join(round.to_string());
        let opened = Destination::open(&Place::Folder(place.clone()), data.path()).unwrap();
        let progress = Progress::default();
        let (taken, flushed) =
            tokio::join!(back_up(&engine, no_streams(), &opened, &progress), engine.flush());
        taken.unwrap();
        flushed.unwrap();
        engine.compact(true).await.unwrap();
        let fresh = tempfile::tempdir().unwrap();
        brought_back(&place, fresh.path()).await.unwrap();
        let node = settled(fresh.path()).await;
        let found = node.read("t").await;
        let last = found.keys().filter(|(host, _)| host == "new").map(|(_, time)| *time).max().unwrap();
        assert!(
            last >= before,
            "round {round}: row {before} was acknowledged before, the last one is {last}"
        );
        let mut expected = rows(&[("first", 0, 0.0)]);
        for i in 0..=last {
            expected.extend(rows(&[("new", i, i as f64), ("again", i % 50, i as f64)]));
        }
        assert_eq!(found, expected, "round {round}");
        assert_eq!(node.read("u").await, expected, "round {round}: both tables are of one moment");
    }
    stop.store(true, Ordering::Relaxed);
    drop(writer.join().unwrap());
}

#[tokio::test]
async fn a_later_backup_copies_only_new_data_files_and_old_ones_can_be_dropped() {
    let (data, place, fresh) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut node = Node::open(data.path()).await;
    let mut expected = Rows::new();
    for round in 0..3_i64 {
        let batch: Vec<_> = (0..2_000).map(|i| ("a", round * 2_000 + i, (i * 7 % 1_013) as f64)).collect();
        node.write(&[("t", &batch)]);
        expected.extend(rows(&batch));
        node.engine.flush().await.unwrap();
    }
    let (first, _) = backed_up(&node, place.path()).await;
    node.write(&[("t", &[("a", 1, -1.0)])]);
    expected.extend(rows(&[("a", 1, -1.0)]));
    node.engine.flush().await.unwrap();
    let (second, progress) = backed_up(&node, place.path()).await;
    let shared = |manifest: &Manifest| manifest.files.iter().filter(|file| file.shared).count();
    assert_eq!((shared(&first), shared(&second)), (3, 4));
    let large: u64 = first.files.iter().filter(|file| file.shared).map(|file| file.bytes).sum();
    let counts = progress.counts();
    assert_eq!(
        (counts.files, counts.files_done, counts.stage),
        (second.files.len() as u64, counts.files, "done")
    );
    assert_eq!(counts.bytes - counts.bytes_copied, large, "{counts:?}");
    assert_eq!(files(&place.path().join("files")).len(), 4, "each data file is there once");

    node.engine.compact(true).await.unwrap();
    backed_up(&node, place.path()).await;
    let kept = destination(&node, place.path());
    assert_eq!(kept.ids().await.unwrap().len(), 3);
    assert_eq!(kept.keep_newest(2).await.unwrap(), 1);
    assert_eq!(kept.ids().await.unwrap().len(), 2);
    assert_eq!(files(&place.path().join("files")).len(), 5, "the second one still wants all of its own");
    assert_eq!(kept.keep_newest(1).await.unwrap(), 1);
    assert_eq!(files(&place.path().join("files")).len(), 1, "the merged file");
    assert_eq!(kept.manifest(&second.id).await.unwrap_err().kind(), ErrorKind::NotFound);
    brought_back(place.path(), fresh.path()).await.unwrap();
    assert_eq!(settled(fresh.path()).await.read("t").await, expected);
}

#[tokio::test]
async fn the_newest_backup_up_to_a_time_is_found() {
    let (data, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut node = Node::open(data.path()).await;
    let mut taken = Vec::new();
    for time in 0..3 {
        node.write(&[("t", &[("a", time, 1.0)])]);
        taken.push(backed_up(&node, place.path()).await.0);
    }
    let place = destination(&node, place.path());
    let at = |millis: Option<u64>| {
        let place = &place;
        async move { place.newest(millis).await.map(|manifest| manifest.id) }
    };
    assert_eq!(at(None).await.unwrap(), taken[2].id);
    assert_eq!(at(Some(taken[2].unix_millis)).await.unwrap(), taken[2].id);
    if taken[1].unix_millis < taken[2].unix_millis {
        assert_eq!(at(Some(taken[2].unix_millis - 1)).await.unwrap(), taken[1].id);
    }
    assert_eq!(at(Some(taken[0].unix_millis - 1)).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn what_a_cut_names_stays_until_it_is_dropped() {
    let data = tempfile::tempdir().unwrap();
    let vacuum = VacuumConfig { min_age: Duration::ZERO, keep_replaced: Duration::ZERO };
    let compaction = CompactionConfig { enabled: false, ..CompactionConfig::default() };
    let settings = EngineConfig { vacuum, compaction, background: false, ..config(data.path()) };
    let mut node = Node::open_with(settings).await;
    for time in 0..4 {
        node.write(&[("t", &[("a", time, 1.0)])]);
        node.engine.flush().await.unwrap();
    }
    let mut cut = node.engine.cut(no_streams()).await.unwrap();
    let first = node.engine.log_extent().1;
    for time in 0..200 {
        let batch: Vec<_> = (0..50).map(|i| ("a", time * 100 + i, 1.0)).collect();
        node.write(&[("t", &batch)]);
    }
    node.engine.flush().await.unwrap();
    assert_eq!(node.engine.log_extent().1, first, "the log is held");
    node.engine.compact(true).await.unwrap();
    assert_eq!(node.engine.vacuum().await.unwrap().objects, 0, "replaced files are held");
    for file in &cut.tables[0].files {
        assert!(data.path().join("tables").join(file.path.as_ref()).exists(), "{}", file.path);
    }
    cut.release_log();
    node.engine.flush().await.unwrap();
    assert!(node.engine.log_extent().1 > first, "the log goes on");
    assert_eq!(node.engine.vacuum().await.unwrap().objects, 0);
    drop(cut);
    assert_eq!(node.engine.vacuum().await.unwrap().objects, 5);
}

#[tokio::test]
async fn streams_come_back_as_they_were_frozen() {
    let (data, place, fresh) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let node = Node::open(data.path()).await;
    let options = StreamOptions { segment_bytes: 100, ..StreamOptions::default() };
    let stream = Stream::open(data.path().join("alerting/alerts"), options).unwrap();
    let append =
        |number: u64| stream.append(format!("record {number}").as_bytes(), Timestamp::from_nanos(1)).unwrap();
    (1..=7).for_each(|number| assert_eq!(append(number).get(), number));
    let frozen = stream.freeze().unwrap();
    (8..=20).for_each(|number| assert_eq!(append(number).get(), number));
    // Retention takes the names away; the frozen records stay.
    let none_kept =
        Stream::open(data.path().join("alerting/alerts"), StreamOptions { max_bytes: 1, ..options }).unwrap();
    assert!(none_kept.trim(Timestamp::from_nanos(2), RecordNumber::new(21)).unwrap() > 0);
    let to = destination(&node, place.path());
    back_up(&node.engine, async { Ok(vec![frozen]) }, &to, &Progress::default()).await.unwrap();
    brought_back(place.path(), fresh.path()).await.unwrap();
    let restored = Stream::open(fresh.path().join("alerting/alerts"), options).unwrap();
    let records: Vec<_> =
        restored.read(RecordNumber::START).map(|record| record.unwrap().number.get()).collect();
    assert_eq!(records, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(freeze_all(&fresh.path().join("alerting")).unwrap().len(), 1);
    assert_eq!(freeze_all(&fresh.path().join("nothing")).unwrap().len(), 0);
}

#[tokio::test]
async fn a_place_within_the_data_directory_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let _node = Node::open(data.path()).await;
    for inside in
        [data.path().join("backups"), data.path().to_owned(), data.path().parent().unwrap().to_owned()]
    {
        let refused = Destination::open(&Place::Folder(inside), data.path()).unwrap_err();
        assert!(refused.to_string().contains("lie within one another"), "{refused}");
    }
}
