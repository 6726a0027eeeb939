//! The first start of a restored directory, and what follows: nothing vanishes, nothing doubles (TXN-1).

use super::*;
use crate::engine::tests::copy_folder;

fn epoch(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log/epoch")).unwrap()
}

/// A data directory with rows in tables and in the log, and a backup of it.
async fn filled(data: &Path, place: &Path) -> (Node, Rows) {
    let mut node = Node::open(data).await;
    let mut expected = Rows::new();
    for round in 0..30_i64 {
        let batch: Vec<_> = (0..40).map(|i| ("a", round * 20 + i, round as f64)).collect();
        node.write(&[("t", &batch), ("u", &batch)]);
        expected.extend(rows(&batch));
        if round % 8 == 7 {
            node.engine.flush().await.unwrap();
        }
    }
    backed_up(&node, place).await;
    (node, expected)
}

#[tokio::test]
async fn two_copies_and_the_original_go_on_for_themselves_and_each_has_exactly_its_rows() {
    let (folder, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (original, expected) = filled(&folder.path().join("original"), place.path()).await;
    let mut nodes = vec![("original", original)];
    for copy in ["one", "two"] {
        brought_back(place.path(), &folder.path().join(copy)).await.unwrap();
        nodes.push((copy, settled(&folder.path().join(copy)).await));
    }
    let mut epochs: Vec<_> = nodes.iter().map(|(name, _)| epoch(&folder.path().join(name))).collect();
    epochs.sort();
    epochs.dedup();
    assert_eq!(epochs.len(), 3, "no two ever commit under one name");
    for (at, (name, mut node)) in nodes.into_iter().enumerate() {
        assert_eq!(node.read("t").await, expected, "{name}");
        let mut after = expected.clone();
        // Writes over rows in files and new ones, flushed and not, over restarts.
        for round in 0..4_i64 {
            let value = (at as i64 * 1_000 + 100 + round) as f64;
            let batch: Vec<_> = (0..20).map(|i| ("a", 600 + round * 10 + i, value)).collect();
            node.write(&[("t", &batch), ("new", &batch)]);
            after.extend(rows(&batch));
            assert_eq!(node.read("t").await, after, "{name}, round {round}");
            if round % 2 == 0 {
                node.engine.flush().await.unwrap();
                assert_eq!(node.read("t").await, after, "{name}, round {round}, flushed");
            }
            drop(node);
            node = Node::open(&folder.path().join(name)).await;
            assert_eq!(node.read("t").await, after, "{name}, round {round}, started again");
        }
        node.engine.flush().await.unwrap();
        node.engine.compact(true).await.unwrap();
        assert_eq!(node.read("t").await, after, "{name}, merged");
        assert_eq!(node.read("u").await, expected, "{name}");
    }
}

#[tokio::test]
async fn frames_go_on_counting_and_the_old_log_is_gone() {
    let (folder, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (original, _) = filled(&folder.path().join("original"), place.path()).await;
    let last = original.engine.durable_frame();
    let copy = folder.path().join("copy");
    brought_back(place.path(), &copy).await.unwrap();
    let mut node = settled(&copy).await;
    assert_eq!(node.engine.durable_frame(), last);
    assert_eq!(node.engine.log_extent(), (1, crate::model::FrameNumber::new(last.get() + 1)));
    assert_eq!(node.engine.memory_bytes(), 0, "all rows are in files");
    node.write(&[("t", &[("a", 1, 1.0)])]);
    assert_eq!(node.engine.durable_frame().get(), last.get() + 1);
    assert!(
        !copy.join("log.old").exists()
            && !copy.join("log.next").exists()
            && !copy.join("restored.json").exists()
    );
    // Backing up a copy, and restoring that, is nothing special.
    let again = tempfile::tempdir().unwrap();
    backed_up(&node, again.path()).await;
    let expected = node.read("t").await;
    brought_back(again.path(), &folder.path().join("third")).await.unwrap();
    assert_eq!(settled(&folder.path().join("third")).await.read("t").await, expected);
}

#[tokio::test]
async fn a_first_start_that_is_killed_anywhere_is_finished_by_the_next() {
    let scenario = fail::FailScenario::setup();
    let (folder, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (original, expected) = filled(&folder.path().join("original"), place.path()).await;
    drop(original);
    // Those that are reached on this thread: other tests come by there too.
    let points = [
        "published-before-commit",
        "published-after-commit",
        "log-before-trim",
        "settle-before-renewing",
        "settle-between-logs",
    ];
    let ours = std::thread::current().id();
    let copy = folder.path().join("copy");
    brought_back(place.path(), &copy).await.unwrap();
    let old = epoch(&copy);
    for point in points {
        let (from, to) = (copy.clone(), folder.path().join(point));
        fail::cfg_callback(point, move || {
            if std::thread::current().id() == ours && !to.exists() {
                copy_folder(&from, &to);
            }
        })
        .unwrap();
    }
    drop(settled(&copy).await);
    scenario.teardown();
    for point in points {
        let image = folder.path().join(point);
        assert!(image.exists(), "{point} was never reached");
        if let Some(restored) = Restored::open(config(&image)).await.unwrap() {
            restored.settle().await.unwrap();
        }
        let mut node = Node::open(&image).await;
        assert_ne!(epoch(&image), old, "{point}");
        assert_eq!(node.read("t").await, expected, "{point}");
        node.write(&[("t", &[("new", 1, 1.0)])]);
        node.engine.flush().await.unwrap();
        drop(node);
        let node = Node::open(&image).await;
        let mut after = expected.clone();
        after.extend(rows(&[("new", 1, 1.0)]));
        assert_eq!(node.read("t").await, after, "{point}");
        assert_eq!(node.read("u").await, expected, "{point}");
    }
}

#[tokio::test]
async fn the_old_log_does_not_end_before_everybody_who_follows_it_has_caught_up() {
    let (folder, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (original, expected) = filled(&folder.path().join("original"), place.path()).await;
    drop(original);
    let copy = folder.path().join("copy");
    brought_back(place.path(), &copy).await.unwrap();
    let followed = || EngineConfig { consumers: vec!["rules"], ..config(&copy) };
    let restored = Restored::open(followed()).await.unwrap().unwrap();
    let error = restored.settle().await.unwrap_err().to_string();
    assert!(error.contains("has not come to its end"), "{error}");
    let restored = Restored::open(followed()).await.unwrap().unwrap();
    let consumer = restored.engine().tap().subscribe("rules", restored.engine().durable_frame(), 1);
    drop(consumer);
    restored.settle().await.unwrap();
    assert_eq!(Node::open(&copy).await.read("t").await, expected);
}
