//! Tests of compaction as a part of the engine: the same rows in fewer files.

use super::{DAY, FilePlace, Node, Row, Rows, rows};

async fn flushed(node: &mut Node, batch: &[Row<'_>], expected: &mut Rows) {
    node.write(&[("t", batch)]);
    node.engine.flush().await.unwrap();
    expected.extend(rows(batch));
}

#[tokio::test]
async fn files_of_a_day_become_one_in_which_each_point_stands_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open(folder.path()).await;
    let mut expected = Rows::new();
    for round in 0..7_i64 {
        let first: Vec<Row> = (0..50).map(|i| ("a", i * 3 + round, (round * 100 + i) as f64)).collect();
        let second = (0..20).map(|i| ("b", DAY + i, round as f64));
        let batch: Vec<Row> = first.into_iter().chain(second).collect();
        flushed(&mut node, &batch, &mut expected).await;
    }
    assert_eq!(node.files("t").len(), 14);
    let before = node.engine.snapshot();
    assert_eq!(node.engine.compact(true).await.unwrap(), 2);
    assert_eq!(node.engine.compact(true).await.unwrap(), 0, "nothing is left to do");
    let points = |host: &str| expected.keys().filter(|(h, _)| h == host).count() as u64;
    let wanted = [(FilePlace::Table, points("a")), (FilePlace::Table, points("b"))];
    let mut files = node.files("t");
    files.sort_by_key(|(_, rows)| std::cmp::Reverse(*rows));
    assert_eq!(files, wanted, "overwritten rows are gone");
    assert_eq!(node.read("t").await, expected);
    // A snapshot that was taken before still finds its files.
    let id = node.schema("t").id;
    for file in &before.table(id).unwrap().files {
        assert!(folder.path().join("tables").join(file.path.as_ref()).is_file());
    }
    node.engine.close().await.unwrap();
    assert_eq!(std::fs::read_dir(folder.path().join("staged")).unwrap().count(), 0);
    drop(node);
    let node = Node::open(folder.path()).await;
    assert_eq!((node.files("t").len(), node.read("t").await), (2, expected));
}

#[tokio::test]
async fn rows_that_come_after_a_merge_win_over_what_it_made() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open(folder.path()).await;
    let mut expected = Rows::new();
    for value in [1.0, 2.0, 3.0] {
        flushed(&mut node, &[("a", 5, value), ("a", 6, value)], &mut expected).await;
    }
    node.engine.compact(true).await.unwrap();
    flushed(&mut node, &[("a", 5, 4.0)], &mut expected).await;
    assert_eq!(node.read("t").await, expected);
    node.engine.compact(true).await.unwrap();
    assert_eq!((node.files("t"), node.read("t").await), (vec![(FilePlace::Table, 2)], expected));
}

#[tokio::test]
async fn a_failed_merge_changes_nothing_keeps_no_other_and_is_done_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open(folder.path()).await;
    let mut expected = Rows::new();
    for value in [1.0, 2.0] {
        flushed(&mut node, &[("a", 5, value), ("a", DAY, value)], &mut expected).await;
    }
    // The input cannot be read.
    let snapshot = node.engine.snapshot();
    let files = &snapshot.table(node.schema("t").id).unwrap().files;
    // The newest day is merged first.
    let path = files.iter().max_by_key(|file| file.date).unwrap().path.clone();
    let path = folder.path().join("tables").join(path.as_ref());
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    node.engine.compact(true).await.unwrap_err();
    assert_eq!(node.files("t").len(), 3, "the other day is merged all the same");
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(node.read("t").await, expected);
    assert_eq!(node.engine.compact(true).await.unwrap(), 1);
    assert_eq!(node.read("t").await, expected);
}
