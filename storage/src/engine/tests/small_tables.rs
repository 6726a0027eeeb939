//! Tests of small tables, which are left out of flushes for the sake of large ones.

use std::path::Path;
use std::time::Duration;

use super::{EngineConfig, FilePlace, FrameNumber, Node, Row, Rows, config, rows};

fn with_small_tables(folder: &Path) -> EngineConfig {
    EngineConfig { small_table_bytes: 1_000, background: false, ..config(folder) }
}

/// More bytes than a small table has.
fn many(first: i64) -> Vec<Row<'static>> {
    (0..100).map(|i| ("a", first + i, i as f64)).collect()
}

fn files(node: &Node) -> (usize, usize) {
    (node.files("large").len(), node.files("small").len())
}

#[tokio::test]
async fn a_small_table_waits_while_a_large_one_is_flushed_and_the_log_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open_with(with_small_tables(folder.path())).await;
    let (mut large, mut small) = (Rows::new(), Rows::new());
    node.write(&[("large", &many(0))]);
    large.extend(rows(&many(0)));
    for round in 1..400_i64 {
        let (batch, one) = (many(round * 100), [("b", round % 3, round as f64)]);
        large.extend(rows(&batch));
        // The small one comes with the second frame.
        if round % 50 == 1 {
            node.write(&[("large", &batch), ("small", &one)]);
            small.extend(rows(&one));
        } else {
            node.write(&[("large", &batch)]);
        }
        if round % 40 == 0 {
            node.engine.flush_due().await.unwrap();
        }
    }
    assert_eq!(files(&node), (9, 0));
    let (segments, first) = node.engine.log_extent();
    assert_eq!(first, FrameNumber::new(1), "the log is kept from the first row of the small table on");
    assert!(segments > 3, "{segments} segments");
    assert_eq!((node.read("large").await, node.read("small").await), (large.clone(), small.clone()));
    drop(node);
    let mut node = Node::open_with(with_small_tables(folder.path())).await;
    assert_eq!((node.read("large").await, node.read("small").await), (large.clone(), small.clone()));
    node.write(&[("small", &[("b", 1, 77.0)])]);
    small.insert(("b".into(), 1), 77.0);
    node.engine.flush().await.unwrap();
    assert_eq!(node.files("small"), [(FilePlace::Table, 3)]);
    assert_eq!(node.engine.memory_bytes(), 0);
    assert!(node.engine.log_extent().1 > first, "the log goes");
    assert_eq!((node.read("large").await, node.read("small").await), (large, small));
}

/// Writes to both tables and flushes what is due; says how many files they have then.
async fn check_due(adjust: impl FnOnce(&mut EngineConfig), expected: (usize, usize)) {
    let folder = tempfile::tempdir().unwrap();
    let mut config = with_small_tables(folder.path());
    adjust(&mut config);
    let mut node = Node::open_with(config).await;
    node.write(&[("large", &many(0)), ("small", &[("b", 1, 1.0)])]);
    node.engine.flush_due().await.unwrap();
    assert_eq!(files(&node), expected);
    assert_eq!(node.read("small").await, rows(&[("b", 1, 1.0)]));
}

#[tokio::test]
async fn a_small_table_waits_for_age_log_or_memory() {
    check_due(|_| {}, (1, 0)).await;
    check_due(|config| config.flush_age = Duration::ZERO, (1, 1)).await;
    check_due(|config| config.log_bytes = 1, (1, 1)).await;
    check_due(|config| config.flush_bytes = 1, (1, 1)).await;
    check_due(|config| config.small_table_bytes = 0, (1, 1)).await;
}

#[tokio::test]
async fn a_delete_takes_a_small_table_along() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open_with(with_small_tables(folder.path())).await;
    node.write(&[("small", &[("b", 1, 1.0), ("c", 1, 1.0)])]);
    node.engine.flush_due().await.unwrap();
    node.delete(&["small"], Some("b"), (0, 5));
    node.write(&[("small", &[("d", 1, 1.0)])]);
    node.engine.flush_due().await.unwrap();
    assert_eq!(node.files("small"), [(FilePlace::Table, 1)]);
    let expected = rows(&[("c", 1, 1.0), ("d", 1, 1.0)]);
    assert_eq!(node.read("small").await, expected);
    drop(node);
    let node = Node::open_with(with_small_tables(folder.path())).await;
    assert_eq!(node.read("small").await, expected);
}

fn is_flush_worth(node: &Node) -> bool {
    node.engine.shared.is_flush_worth(node.engine.memory_bytes())
}

#[tokio::test]
async fn with_many_series_a_flush_waits_for_several_rows_of_each() {
    let folder = tempfile::tempdir().unwrap();
    let wide = |config: EngineConfig| EngineConfig { flush_bytes: 1_000, background: false, ..config };
    let mut node = Node::open_with(wide(config(folder.path()))).await;
    let names: Vec<String> = (0..1_000).map(|number| format!("series{number}")).collect();
    let round = |time: i64| -> Vec<Row<'_>> { names.iter().map(|name| (&**name, time, 1.0)).collect() };
    node.write(&[("wide", &round(0))]);
    assert!(node.engine.memory_bytes() > 10_000 && !is_flush_worth(&node));
    (1..10).for_each(|time| node.write(&[("wide", &round(time))]));
    assert!(is_flush_worth(&node), "{} bytes", node.engine.memory_bytes());

    // With less memory it begins earlier.
    drop(node);
    let config = EngineConfig { most_flush_bytes: 2_000, ..wide(config(folder.path())) };
    let mut node = Node::open_with(config).await;
    node.engine.flush().await.unwrap();
    assert!(!is_flush_worth(&node));
    node.write(&[("wide", &round(10))]);
    assert!(is_flush_worth(&node));
}
