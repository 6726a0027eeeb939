//! Tests of deletes as a part of the engine (DEL-1): hidden at once, gone from files later, never back.

use std::path::{Path, PathBuf};

use super::{DAY, Delete, FilePlace, Node, Row, Rows, TimeRange, WriteBatch, encode_batch, rows};

const ALL: (i64, i64) = (i64::MIN, i64::MAX);

/// Number of deletes that the view of a table holds.
fn live(node: &Node, table: &str) -> usize {
    let snapshot = node.engine.snapshot();
    snapshot.table(node.schema(table).id).map_or(0, |view| view.tombstones.len())
}

/// The objects of deletes below a folder.
fn objects(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(objects(&path));
        } else if path.parent().is_some_and(|parent| parent.ends_with("_busbar/deletes")) {
            found.push(path);
        }
    }
    found
}

/// Writes until a segment of the log can be trimmed.
fn fill_log(node: &mut Node) {
    for round in 0..40_i64 {
        let batch: Vec<Row> = (0..100).map(|i| ("filler", round * 100 + i, 1.0)).collect();
        node.write(&[("other", &batch)]);
    }
}

#[tokio::test]
async fn rows_of_before_are_hidden_and_those_of_after_are_not_wherever_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open(folder.path()).await;
    node.write(&[("t", &[("a", 1, 1.0), ("a", 2, 1.0), ("b", 1, 1.0)])]);
    node.engine.flush().await.unwrap();
    node.write(&[("t", &[("a", 3, 1.0), ("a", DAY, 1.0)])]);
    node.delete(&["t"], Some("a"), (1, 3));
    let expected = rows(&[("b", 1, 1.0), ("a", DAY, 1.0)]);
    assert_eq!(node.read("t").await, expected);
    // The same points again: only what is new of them is there.
    node.write(&[("t", &[("a", 1, 2.0)])]);
    let expected = rows(&[("b", 1, 1.0), ("a", DAY, 1.0), ("a", 1, 2.0)]);
    assert_eq!(node.read("t").await, expected);
    for _ in 0..2 {
        drop(node);
        node = Node::open(folder.path()).await;
        assert_eq!(node.read("t").await, expected, "after a restart");
        node.engine.flush().await.unwrap();
        assert_eq!(node.read("t").await, expected, "after a flush");
    }
    assert_eq!(live(&node, "t"), 1, "the first file has not had it applied");
    node.engine.compact(true).await.unwrap();
    assert_eq!((node.read("t").await, live(&node, "t")), (expected, 0));
}

#[tokio::test]
async fn a_delete_within_one_frame_parts_what_stands_before_from_what_stands_after() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open(folder.path()).await;
    node.schema("t");
    let before = WriteBatch::of(vec![node.batch("t", &[("a", 1, 1.0), ("a", 2, 1.0)])]);
    let delete = Delete { tables: vec![node.schema("t").id], times: TimeRange::ALL, tags: vec![] };
    let with = WriteBatch { tables: vec![node.batch("t", &[("a", 2, 2.0)])], deletes: vec![delete] };
    let after = WriteBatch::of(vec![node.batch("t", &[("a", 3, 3.0)])]);
    let group = [before, with, after].map(|batch| encode_batch(batch).unwrap());
    node.committer.append(group.into()).unwrap().sync().unwrap().publish();
    let expected = rows(&[("a", 2, 2.0), ("a", 3, 3.0)]);
    assert_eq!(node.read("t").await, expected);
    drop(node);
    let node = Node::open(folder.path()).await;
    assert_eq!(node.read("t").await, expected);
    node.engine.flush().await.unwrap();
    assert_eq!((node.read("t").await, live(&node, "t")), (expected, 0));
}

#[tokio::test]
async fn a_delete_outlives_the_log_as_an_object_until_files_have_had_it_applied() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open(folder.path()).await;
    node.write(&[("t", &[("a", 1, 1.0), ("b", 1, 1.0)])]);
    node.engine.flush().await.unwrap();
    node.delete(&["t"], Some("a"), ALL);
    fill_log(&mut node);
    node.engine.flush().await.unwrap();
    assert!(node.engine.log_extent().1.get() > 3, "the record of the delete is trimmed");
    assert_eq!(objects(folder.path()).len(), 1);
    drop(node);
    let node = Node::open(folder.path()).await;
    let expected = rows(&[("b", 1, 1.0)]);
    assert_eq!(node.read("t").await, expected);
    assert_eq!(node.engine.vacuum().await.unwrap().objects, 0);
    assert_eq!(node.engine.compact(true).await.unwrap(), 1, "a file is written again alone");
    assert_eq!((node.read("t").await, live(&node, "t")), (expected.clone(), 0));
    assert!(objects(folder.path()).is_empty());
    drop(node);
    let node = Node::open(folder.path()).await;
    assert_eq!(node.read("t").await, expected);
    assert_eq!(node.engine.compact(true).await.unwrap(), 0);
}

#[tokio::test]
async fn a_delete_of_two_tables_outlives_the_log_in_both() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open(folder.path()).await;
    let written: Vec<Row> = vec![("a", 1, 1.0), ("b", 1, 1.0)];
    node.write(&[("t", &written), ("u", &written)]);
    node.engine.flush().await.unwrap();
    node.delete(&["t", "u"], Some("a"), ALL);
    fill_log(&mut node);
    node.engine.flush().await.unwrap();
    assert_eq!(objects(folder.path()).len(), 2);
    drop(node);
    let node = Node::open(folder.path()).await;
    for table in ["t", "u"] {
        assert_eq!(node.read(table).await, rows(&[("b", 1, 1.0)]), "{table}");
    }
}

#[tokio::test]
async fn a_file_of_which_nothing_is_left_goes_without_being_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open(folder.path()).await;
    node.write(&[("t", &[("a", 1, 1.0)])]);
    node.engine.flush().await.unwrap();
    let snapshot = node.engine.snapshot();
    let id = node.schema("t").id;
    let path = snapshot.table(id).unwrap().files[0].path.clone();
    drop(snapshot);
    std::fs::remove_file(folder.path().join("tables").join(path.as_ref())).unwrap();
    node.delete(&["t"], None, ALL);
    assert_eq!(node.engine.compact(false).await.unwrap(), 1);
    assert!(node.files("t").is_empty());
    // By its tags: it has to be read for that.
    node.write(&[("t", &[("a", 1, 1.0)])]);
    node.engine.flush().await.unwrap();
    node.delete(&["t"], Some("a"), ALL);
    assert_eq!(node.engine.compact(false).await.unwrap(), 1);
    assert_eq!((node.files("t"), node.read("t").await), (vec![], Rows::new()));
    node.write(&[("t", &[("a", 1, 2.0)])]);
    node.engine.flush().await.unwrap();
    drop(node);
    let node = Node::open(folder.path()).await;
    assert_eq!(node.read("t").await, rows(&[("a", 1, 2.0)]));
    assert_eq!(std::fs::read_dir(folder.path().join("staged")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_memtable_of_which_nothing_is_left_becomes_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open(folder.path()).await;
    node.write(&[("t", &[("a", 1, 1.0)])]);
    node.delete(&["t"], None, ALL);
    node.delete(&["t", "u"], None, ALL);
    assert_eq!(node.read("t").await, Rows::new());
    node.engine.flush().await.unwrap();
    assert_eq!((node.files("t"), live(&node, "t"), node.engine.memory_bytes()), (vec![], 0, 0));
    fill_log(&mut node);
    node.engine.flush().await.unwrap();
    drop(node);
    let node = Node::open(folder.path()).await;
    assert_eq!((node.read("t").await, node.engine.memory_bytes()), (Rows::new(), 0));
    assert!(objects(folder.path()).is_empty(), "nothing needed it");
}

#[tokio::test]
async fn a_merge_applies_a_delete_to_what_is_older_and_not_to_what_is_younger() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open(folder.path()).await;
    node.write(&[("t", &[("a", 1, 1.0), ("a", 2, 1.0), ("b", 1, 1.0)])]);
    node.engine.flush().await.unwrap();
    node.delete(&["t"], Some("a"), ALL);
    node.write(&[("t", &[("a", 2, 2.0)])]);
    node.engine.flush().await.unwrap();
    let expected = rows(&[("b", 1, 1.0), ("a", 2, 2.0)]);
    assert_eq!(node.read("t").await, expected);
    assert_eq!(node.engine.compact(true).await.unwrap(), 1);
    assert_eq!(node.files("t"), [(FilePlace::Table, 2)]);
    drop(node);
    // The record of the delete is still in the log: it must not be applied to what came after it.
    let node = Node::open(folder.path()).await;
    assert_eq!((node.read("t").await, live(&node, "t")), (expected, 0));
}
