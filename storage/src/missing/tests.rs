//! Tests of what is missing: in whatever source a value stands, it is found, and what comes between is noticed.

use super::Missing;
use crate::engine::tests::{DAY, Node, Row, rows};
use crate::log::encode_batch;
use crate::model::WriteBatch;

/// What is missing of rows of the table `t`.
async fn look(node: &Node, wanted: &[Row<'_>]) -> Missing {
    node.engine.missing(WriteBatch::of(vec![node.batch("t", wanted)])).await.unwrap()
}

/// Writes what was missing, as the writer does; `false` when it may not be so any more.
fn write(node: &mut Node, missing: Missing) -> bool {
    let (batch, as_of) = missing.into_parts();
    if !node.committer.still_misses(&batch, &as_of) {
        return false;
    }
    node.committer.append(vec![encode_batch(batch).unwrap()]).unwrap().sync().unwrap().publish();
    true
}

#[tokio::test]
async fn values_of_files_staged_files_and_memory_are_found_and_deleted_ones_are_missing() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open(folder.path()).await;
    node.write(&[("t", &[("a", 1, 1.0), ("a", 2, 1.0), ("a", 3, 1.0), ("b", 1, 1.0)])]);
    node.engine.flush().await.unwrap();
    node.delete(&["t"], Some("a"), (3, 3));
    node.write(&[("t", &[("a", DAY, 2.0), ("a", 4, 2.0)])]);
    node.delete(&["t"], Some("a"), (4, 4));
    node.write(&[("t", &[("a", 5, 2.0)])]);
    let again = [1, 2, 3, 4, 5, 6, DAY].map(|time| ("a", time, 9.0));
    let missing = look(&node, &again).await;
    assert_eq!(missing.batch.rows(), 3, "those at 3, 4 and 6");
    assert!(write(&mut node, missing));
    let expected = [
        ("a", 1, 1.0),
        ("a", 2, 1.0),
        ("a", 3, 9.0),
        ("a", 4, 9.0),
        ("a", 5, 2.0),
        ("a", 6, 9.0),
        ("a", DAY, 2.0),
        ("b", 1, 1.0),
    ];
    assert_eq!(node.read("t").await, rows(&expected));
    assert!(look(&node, &again).await.batch.is_empty());
    node.engine.flush().await.unwrap();
    assert!(look(&node, &again).await.batch.is_empty(), "nor in files");
}

#[tokio::test]
async fn what_comes_between_keeps_a_batch_back_if_it_may_be_of_the_same_points() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open(folder.path()).await;
    node.write(&[("t", &[("a", 1, 1.0)])]);
    let wanted = [("a", 1, 9.0), ("a", 2, 9.0)];

    let missing = look(&node, &wanted).await;
    node.write(&[("t", &[("a", 1, 2.0), ("a", 3, 1.0), ("b", 2, 1.0)]), ("u", &[("a", 2, 1.0)])]);
    assert!(write(&mut node, missing), "other points, and fields that are not set");

    let missing = look(&node, &[("a", 4, 9.0), ("a", 5, 9.0)]).await;
    // Enough for the chunks to be merged with those from before.
    (0..20).for_each(|n| node.write(&[("t", &[("c", n, 1.0)])]));
    assert!(write(&mut node, missing), "in merged chunks, too");

    let missing = look(&node, &[("a", 6, 9.0), ("a", 7, 9.0)]).await;
    node.write(&[("t", &[("a", 7, 2.0)])]);
    assert!(!write(&mut node, missing.clone()), "a value came");
    node.engine.flush().await.unwrap();
    assert!(!write(&mut node, missing), "it may be in the new file");
    let missing = look(&node, &[("a", 6, 9.0), ("a", 7, 9.0)]).await;
    assert!(write(&mut node, missing));
    let found = node.read("t").await;
    let at = |time| found[&("a".to_owned(), time)];
    assert_eq!([1, 2, 4, 5, 6, 7].map(at), [2.0, 9.0, 9.0, 9.0, 9.0, 2.0]);
}
