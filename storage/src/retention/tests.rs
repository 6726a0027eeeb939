//! Tests of retention as a part of the engine: what is dropped, what stays, also across a restart.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::Dropped;
use crate::catalog::TableDeclaration;
use crate::clock::WallClock;
use crate::engine::tests::{Node, Row, Rows, config, rows};
use crate::model::{DatabaseName, Retention, TableName, Timestamp};

const DAY: i64 = 86_400_000_000_000;

/// An engine on a day that a test sets.
async fn node(folder: &Path, today: &Arc<AtomicI64>) -> Node {
    let today = Arc::clone(today);
    let clock = WallClock::of(move || Timestamp::from_nanos(today.load(Ordering::Relaxed) * DAY));
    Node::open_with(crate::engine::EngineConfig { clock, ..config(folder) }).await
}

fn days(days: u64) -> Retention {
    Retention::of(Duration::from_secs(days * 86_400)).unwrap()
}

/// Declares a table's retention, durably.
fn keep(node: &mut Node, retention: Option<Retention>) {
    let declaration = TableDeclaration {
        database: DatabaseName::new("db").unwrap(),
        table: TableName::new("t").unwrap(),
        retention,
        partition: None,
        scales: Vec::new(),
    };
    node.engine.catalog().declare_table(&declaration).unwrap();
    node.write(&[]);
}

async fn flushed(node: &mut Node, batch: &[Row<'_>]) -> Rows {
    node.write(&[("t", batch)]);
    node.engine.flush().await.unwrap();
    rows(batch)
}

async fn dropped(node: &Node) -> (u64, u64) {
    let Dropped { files, rows, .. } = node.engine.drop_expired().await.unwrap();
    (files, rows)
}

#[tokio::test]
async fn the_files_of_a_day_go_when_all_of_it_has_expired_and_stay_gone() {
    let folder = tempfile::tempdir().unwrap();
    let today = Arc::new(AtomicI64::new(3));
    let mut node = node(folder.path(), &today).await;
    flushed(&mut node, &[("a", DAY, 1.0), ("a", 2 * DAY, 1.0)]).await;
    flushed(&mut node, &[("a", DAY + 5, 2.0)]).await;
    let kept = flushed(&mut node, &[("a", 2 * DAY, 2.0)]).await;
    assert_eq!(dropped(&node).await, (0, 0), "nothing is said");
    keep(&mut node, Some(days(2)));
    assert_eq!(dropped(&node).await, (0, 0), "the newest row of the day has just not expired");
    keep(&mut node, Some(days(1)));
    assert_eq!(dropped(&node).await, (2, 2));
    assert_eq!(dropped(&node).await, (0, 0));
    assert_eq!(node.read("t").await, kept);
    drop(node);
    let node = self::node(folder.path(), &today).await;
    assert_eq!((node.read("t").await, dropped(&node).await), (kept, (0, 0)));
    let schema = node.engine.catalog().table("db", "t").unwrap();
    assert_eq!(schema.retention, Some(days(1)), "what was declared last holds after a restart");
}

#[tokio::test]
async fn an_overwritten_value_does_not_come_back_when_rows_are_kept_for_longer() {
    let folder = tempfile::tempdir().unwrap();
    let today = Arc::new(AtomicI64::new(2));
    let mut node = node(folder.path(), &today).await;
    let mut all = flushed(&mut node, &[("a", DAY, 1.0), ("a", DAY + 9, 1.0)]).await;
    // The newest version of the older point is alone in a file.
    all.extend(flushed(&mut node, &[("a", DAY, 2.0)]).await);
    keep(&mut node, Some(Retention::from_nanos((DAY - 5).unsigned_abs()).unwrap()));
    assert_eq!(dropped(&node).await, (0, 0), "a file does not go without the others of its day");
    assert_eq!(node.read("t").await, all);
}

#[tokio::test]
async fn a_merge_of_files_that_expire_meanwhile_brings_nothing_back() {
    let folder = tempfile::tempdir().unwrap();
    let today = Arc::new(AtomicI64::new(2));
    let mut node = node(folder.path(), &today).await;
    for value in [1.0, 2.0] {
        flushed(&mut node, &[("a", DAY, value)]).await;
    }
    let before = node.engine.snapshot();
    keep(&mut node, Some(days(1)));
    today.store(3, Ordering::Relaxed);
    assert_eq!(dropped(&node).await, (2, 2));
    assert_eq!(node.engine.compact(true).await.unwrap(), 0);
    assert_eq!(node.read("t").await, Rows::new());
    // A query that began before still finds its files.
    let id = node.engine.catalog().table("db", "t").unwrap().id;
    for file in &before.table(id).unwrap().files {
        assert!(folder.path().join("tables").join(file.path.as_ref()).is_file());
    }
}

#[tokio::test]
async fn a_table_keeps_what_its_database_says_unless_it_says_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open(folder.path()).await;
    node.write(&[("t", &[("a", 0, 1.0)])]);
    let database = DatabaseName::new("db").unwrap();
    let schema = node.engine.catalog().table("db", "t").unwrap();
    let oldest =
        |node: &Node| node.engine.oldest_kept(schema.id, Timestamp::from_nanos(9 * DAY)).nanos() / DAY;
    assert_eq!(oldest(&node), i64::MIN / DAY);
    assert!(!node.engine.catalog().declare_database(&database, Some(days(3))).unwrap());
    assert_eq!(oldest(&node), 6);
    keep(&mut node, Some(days(1)));
    assert_eq!(oldest(&node), 8);
    keep(&mut node, Some(Retention::FOREVER));
    assert_eq!(oldest(&node), i64::MIN / DAY);
    keep(&mut node, None);
    node.engine.catalog().declare_database(&database, Some(days(4))).unwrap();
    assert_eq!(oldest(&node), 5);
    node.write(&[]);
    drop(node);
    let node = Node::open(folder.path()).await;
    assert_eq!(oldest(&node), 5, "the later of two records wins");
}
