//! Tests of opening an engine whose log has lost frames.

use std::path::Path;

use super::tests::{Node, config, rows};
use super::{Engine, EngineConfig};
use crate::catalog::TableDeclaration;
use crate::error::ErrorKind;
use crate::log::RecoveryMode;
use crate::model::{DatabaseName, Retention, TableName};

/// Makes the `n`-th frame of the first segment unreadable.
fn damage(folder: &Path, n: u64) {
    let path = folder.join("log").join(format!("{:020}.seg", 1));
    let mut bytes = std::fs::read(&path).unwrap();
    let is_frame =
        |at: &usize| bytes[*at..].starts_with(b"BBFR") && bytes[at + 8..at + 16] == n.to_le_bytes();
    let at = (4_096..bytes.len() - 48).step_by(8).find(is_frame).unwrap();
    bytes[at + 41] ^= 4;
    std::fs::write(path, bytes).unwrap();
}

fn salvaging(folder: &Path) -> EngineConfig {
    EngineConfig { recovery: RecoveryMode::Salvage, ..config(folder) }
}

#[tokio::test]
async fn rows_without_their_definition_are_left_out_and_never_go_to_another_series() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open(folder.path()).await;
    node.write(&[("t", &[("a", 1, 1.0)])]);
    node.write(&[("t", &[("b", 1, 2.0)])]);
    node.write(&[("t", &[("b", 2, 3.0), ("a", 2, 4.0)])]);
    node.write(&[("t", &[("a", 3, 5.0)])]);
    drop(node);
    damage(folder.path(), 2);
    let refused = Engine::open(config(folder.path())).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Damaged);

    let expected = [("a", 1, 1.0), ("a", 2, 4.0), ("a", 3, 5.0)];
    let (engine, committer) = Engine::open(salvaging(folder.path())).await.unwrap();
    let mut node = Node { engine, committer };
    assert_eq!(node.read("t").await, rows(&expected));
    // A new series gets an id that the lost one cannot have had.
    node.write(&[("t", &[("c", 9, 9.0)])]);
    drop(node);

    // From now on also a strict start goes well, and the rows stay where they were.
    let node = Node::open(folder.path()).await;
    let expected = [&expected[..], &[("c", 9, 9.0)]].concat();
    assert_eq!(node.read("t").await, rows(&expected));
    node.engine.flush().await.unwrap();
    assert_eq!(node.read("t").await, rows(&expected));
}

#[tokio::test]
async fn a_lost_table_takes_its_rows_with_it_and_its_id_is_not_given_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open(folder.path()).await;
    node.write(&[("t", &[("a", 1, 1.0)])]);
    node.write(&[("u", &[("a", 1, 2.0)])]);
    let lost = node.engine.catalog().table("db", "u").unwrap().id;
    node.write(&[("u", &[("a", 2, 3.0), ("z", 2, 4.0)])]);
    node.write(&[("t", &[("a", 2, 5.0)])]);
    drop(node);
    damage(folder.path(), 2);
    let (engine, committer) = Engine::open(salvaging(folder.path())).await.unwrap();
    let mut node = Node { engine, committer };
    assert_eq!(node.read("t").await.len(), 2);
    assert!(node.engine.catalog().table("db", "u").is_none());
    node.write(&[("u", &[("a", 7, 7.0)])]);
    assert!(node.engine.catalog().table("db", "u").unwrap().id > lost);
    assert_eq!(node.read("u").await.len(), 1);
    drop(node);
    let node = Node::open(folder.path()).await;
    assert_eq!((node.read("t").await.len(), node.read("u").await.len()), (2, 1));
}

#[tokio::test]
async fn after_a_loss_a_retention_that_is_declared_again_drops_files_after_a_restart_too() {
    let folder = tempfile::tempdir().unwrap();
    let day = Retention::from_nanos(86_400_000_000_000);
    let declaration = TableDeclaration {
        database: DatabaseName::new("db").unwrap(),
        table: TableName::new("t").unwrap(),
        retention: day,
        partition: None,
        scales: Vec::new(),
    };
    let mut node = Node::open(folder.path()).await;
    node.write(&[("t", &[("a", 1, 1.0)])]);
    node.engine.catalog().declare_table(&declaration).unwrap();
    node.write(&[("u", &[("a", 1, 1.0)])]);
    node.write(&[("u", &[("a", 1, 1.0)])]);
    drop(node);
    damage(folder.path(), 2);
    let (engine, committer) = Engine::open(salvaging(folder.path())).await.unwrap();
    let mut node = Node { engine, committer };
    node.engine.flush().await.unwrap();
    assert_eq!(node.engine.drop_expired().await.unwrap().files, 0, "nobody knows what was declared");
    node.engine.catalog().declare_table(&declaration).unwrap();
    // Its record leaves the log.
    node.write(&[("t", &[("a", 2, 1.0)])]);
    node.engine.flush().await.unwrap();
    drop(node);
    let node = Node::open(folder.path()).await;
    assert_eq!(node.engine.drop_expired().await.unwrap().files, 2);
}
