//! Last values against a plain fold of all rows, through flushes, restarts and damage.

#![allow(clippy::cast_precision_loss, reason = "test data is small")]

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{Float64Type, Int32Type, TimestampNanosecondType};
use arrow::record_batch::RecordBatch;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::TagTest;
use super::column::{Column, Pick};
use crate::catalog::{SchemaChange, TableDeclaration};
use crate::clock::WallClock;
use crate::engine::EngineConfig;
use crate::engine::tests::{DAY, Node, Row, config};
use crate::model::{DatabaseName, FieldType, Retention, TableName, TimeRange, Timestamp};
use crate::object::TableStore;
use crate::series::KeyRef;

/// By host: the greatest time, and its value.
type Last = BTreeMap<String, (i64, f64)>;

fn saving(folder: &Path) -> EngineConfig {
    let mut config = EngineConfig { background: false, ..config(folder) };
    config.last_values.save_files = 1;
    config
}

async fn batch(node: &Node, hosts: Option<&[&str]>) -> RecordBatch {
    let schema = node.engine.catalog().table("db", "t").unwrap();
    let snapshot = node.engine.snapshot();
    let view = snapshot.table(schema.id).cloned().unwrap_or_default();
    let rows = node.engine.last_values(&schema, &view).await.unwrap().expect("last values are kept");
    let values: HashSet<String> = hosts.unwrap_or_default().iter().map(|host| (*host).to_owned()).collect();
    let test = TagTest { position: 0, values: &values };
    let slots = rows.select(if hosts.is_some() { std::slice::from_ref(&test) } else { &[] }).unwrap();
    rows.batch(&slots, &[0, 1, 2], Timestamp::from_nanos(i64::MIN)).unwrap()
}

async fn last(node: &Node) -> Last {
    by_host(&batch(node, None).await)
}

fn by_host(batch: &RecordBatch) -> Last {
    let hosts = batch.column(0).as_dictionary::<Int32Type>().downcast_dict::<StringArray>().unwrap();
    let times = batch.column(1).as_primitive::<TimestampNanosecondType>();
    let values = batch.column(2).as_primitive::<Float64Type>();
    let row = |row: usize| {
        let host = arrow::array::ArrayAccessor::value(&hosts, row).to_owned();
        (host, (times.value(row), values.value(row)))
    };
    (0..batch.num_rows()).map(row).collect()
}

/// The fold of everything that a query sees.
async fn expected(node: &Node) -> Last {
    let rows = node.read("t").await;
    rows.into_iter().map(|((host, time), value)| (host, (time, value))).collect()
}

async fn check(node: &Node, when: &str) {
    assert_eq!(last(node).await, expected(node).await, "{when}");
}

const BATCHES: [&[Row]; 4] = [
    &[("a", 5, 1.0), ("b", 5, 2.0), ("a", 5, 3.0)],
    &[("a", 4, 4.0), ("b", 6, 5.0), ("c", i64::MIN, 6.0)],
    &[("b", 6, 7.0), ("d", 1, 8.0), ("a", 5, 9.0)],
    &[("c", 2, 10.0), ("b", 1, 11.0), ("d", 86_400_000_000_001, 12.0)],
];

#[tokio::test]
async fn last_values_are_exact_through_flush_close_and_kill() {
    for (asks, closes) in [(true, true), (true, false), (false, true), (false, false)] {
        let folder = tempfile::tempdir().unwrap();
        let mut node = Node::open_with(saving(folder.path())).await;
        for rows in BATCHES {
            node.write(&[("t", rows)]);
            if asks {
                check(&node, "in memory").await;
            }
            node.engine.flush().await.unwrap();
            node.write(&[("t", &[("a", 5, rows[0].2 + 0.5)])]);
            let Node { engine, committer } = node;
            drop(committer);
            if closes {
                engine.close().await.unwrap();
            }
            drop(engine);
            node = Node::open_with(saving(folder.path())).await;
            if asks {
                check(&node, "after a restart").await;
            }
        }
        check(&node, "in the end").await;
        node.engine.compact(true).await.unwrap();
        check(&node, "merged").await;
    }
}

#[tokio::test]
async fn the_newest_row_counts_in_whatever_order_the_rows_of_a_series_come() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open_with(saving(folder.path())).await;
    let mut random = StdRng::seed_from_u64(3);
    let mut value = 0.0;
    for round in 0..100 {
        let hosts: Vec<String> = (0..3).map(|host| format!("{}-{host}", round / 3)).collect();
        // Some rounds have the first time there is, which stands for none elsewhere.
        let times = if round % 4 == 0 { vec![i64::MIN, i64::MIN + 1, 0] } else { (0..5).collect() };
        for _ in 0..random.random_range(1..6) {
            let count = random.random_range(1..8);
            let row = |_| {
                value += 1.0;
                let host = &hosts[random.random_range(0..hosts.len())];
                (host.as_str(), times[random.random_range(0..times.len())], value)
            };
            let rows: Vec<Row> = (0..count).map(row).collect();
            node.write(&[("t", &rows)]);
        }
        check(&node, &format!("round {round}")).await;
    }
}

#[tokio::test]
async fn a_row_is_seen_whole_while_it_becomes_the_last_one_of_its_series() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open_with(saving(folder.path())).await;
    let change = SchemaChange {
        database: DatabaseName::new("db").unwrap(),
        table: TableName::new("t").unwrap(),
        base: None,
        tags: vec!["host".into()],
        fields: vec![("v".into(), FieldType::Float), ("w".into(), FieldType::Float)],
        widen: vec![],
    };
    node.engine.catalog().apply(&change).unwrap();
    let hosts: Vec<String> = (0..2_000).map(|host| format!("h{host}")).collect();
    let rows =
        |time: i64| hosts.iter().map(move |host| (host.as_str(), time, time as f64)).collect::<Vec<Row>>();
    node.write(&[("t", &rows(0))]);
    for time in 1..10 {
        let (schema, snapshot) = (node.schema("t"), node.engine.snapshot());
        let view = snapshot.table(schema.id).unwrap();
        let last = node.engine.last_values(&schema, view).await.unwrap().unwrap();
        let slots = last.select(&[]).unwrap();
        node.write(&[("t", &rows(time))]);
        if time % 2 == 0 {
            // It hides no last row, so that readers may go on.
            node.write(&[("t", &[("h0", -1, -1.0)])]);
            node.delete(&["t"], None, (-1, -1));
        }
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let seen = last.batch(&slots, &[2, 3], Timestamp::from_nanos(i64::MIN)).unwrap();
                    assert_eq!(seen.column(0), seen.column(1), "row {time}");
                }
            });
            let view = node.engine.snapshot().table(schema.id).cloned().unwrap();
            futures::executor::block_on(node.engine.last_values(&schema, &view)).unwrap().unwrap();
            is_over.store(true, Ordering::Relaxed);
            reader.join().unwrap();
        });
    }
}

fn saved(folder: &Path) -> Vec<std::path::PathBuf> {
    let found = std::fs::read_dir(folder.join(super::saved::FOLDER));
    found.map(|found| found.map(|entry| entry.unwrap().path()).collect()).unwrap_or_default()
}

#[tokio::test]
async fn saved_values_that_are_damaged_are_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open_with(saving(folder.path())).await;
    node.write(&[("t", BATCHES[0])]);
    node.engine.flush().await.unwrap();
    node.engine.close().await.unwrap();
    drop(node);
    let path = saved(folder.path()).pop().expect("values are saved");
    let whole = std::fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(9) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(&path, &bytes).unwrap();
        let node = Node::open_with(saving(folder.path())).await;
        check(&node, "made anew").await;
    }
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    check(&Node::open_with(saving(folder.path())).await, "cut").await;
}

#[tokio::test]
async fn saved_values_are_used_and_need_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open_with(saving(folder.path())).await;
    node.write(&[("t", BATCHES[0])]);
    node.engine.flush().await.unwrap();
    let expected = expected(&node).await;
    drop(node);
    for file in std::fs::read_dir(folder.path().join("tables/db")).unwrap() {
        for date in std::fs::read_dir(file.unwrap().path()).unwrap() {
            let date = date.unwrap().path();
            if date.file_name().unwrap().to_string_lossy().starts_with("busbar_date") {
                std::fs::remove_dir_all(date).unwrap();
            }
        }
    }
    assert_eq!(last(&Node::open_with(saving(folder.path())).await).await, expected);
}

#[tokio::test]
async fn rows_of_another_node_are_in_after_a_restart_also_when_they_were_merged_before_anyone_asked() {
    let (mine, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Arc::new(object_store::memory::InMemory::new());
    let shared = |folder: &Path| {
        let mut config = saving(folder);
        config.store.tables = TableStore::Given(store.clone());
        config
    };
    let mut node = Node::open_with(shared(mine.path())).await;
    let mut other = Node::open_with(shared(theirs.path())).await;
    for (round, (rows, late)) in BATCHES.iter().zip(BATCHES.iter().rev()).enumerate() {
        node.write(&[("t", rows)]);
        other.write(&[("t", late)]);
        other.engine.flush().await.unwrap();
        node.engine.flush().await.unwrap();
        check(&node, "without the other's").await;
        drop(node);
        node = Node::open_with(shared(mine.path())).await;
        if round % 2 == 1 {
            node.engine.compact(true).await.unwrap();
            drop(node);
            node = Node::open_with(shared(mine.path())).await;
        }
        check(&node, "with the other's").await;
    }
}

#[tokio::test]
async fn forgotten_values_are_made_anew_from_what_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open_with(saving(folder.path())).await;
    for rows in BATCHES {
        node.write(&[("t", rows)]);
        node.engine.flush().await.unwrap();
    }
    let id = node.engine.catalog().table("db", "t").unwrap().id;
    let before = last(&node).await;
    assert_eq!(saved(folder.path()).len(), 1);
    let times = TimeRange::new(Timestamp::from_nanos(6), Timestamp::from_nanos(7));
    assert!(node.engine.forget_last_values(id, times, &|key: KeyRef<'_>| key.tag(0) == Some("b")).unwrap());
    assert_eq!(saved(folder.path()).len(), 0);
    // Nothing is deleted here, so the same comes back.
    assert_eq!(last(&node).await, before);
    node.engine.flush().await.unwrap();
    assert_eq!(saved(folder.path()).len(), 1);
}

#[tokio::test]
async fn a_table_that_takes_too_much_memory_is_not_kept() {
    for deletes in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut config = saving(folder.path());
        config.last_values.max_bytes = 100;
        let mut node = Node::open_with(config).await;
        node.write(&[("t", BATCHES[0])]);
        if deletes {
            node.delete(&["t"], Some("b"), (5, 5));
        }
        let schema = node.engine.catalog().table("db", "t").unwrap();
        for _ in 0..2 {
            let view = node.engine.snapshot().table(schema.id).cloned().unwrap();
            assert!(node.engine.last_values(&schema, &view).await.unwrap().is_none());
            assert_eq!(node.engine.last_value_bytes(), 0);
            node.engine.flush().await.unwrap();
        }
    }
}

#[tokio::test]
async fn values_that_were_saved_take_memory_and_keep_its_bound() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open_with(saving(folder.path())).await;
    node.write(&[("t", BATCHES[0])]);
    node.engine.flush().await.unwrap();
    let saved_bytes = node.engine.last_value_bytes();
    drop(node);
    let node = Node::open_with(saving(folder.path())).await;
    check(&node, "as it was saved").await;
    assert!((1..=saved_bytes * 2).contains(&node.engine.last_value_bytes()));
    drop(node);
    let mut config = saving(folder.path());
    config.last_values.max_bytes = 100;
    let node = Node::open_with(config).await;
    let schema = node.engine.catalog().table("db", "t").unwrap();
    let view = node.engine.snapshot().table(schema.id).cloned().unwrap();
    assert!(node.engine.last_values(&schema, &view).await.unwrap().is_none());
    assert_eq!(node.engine.last_value_bytes(), 0);
}

#[tokio::test]
async fn a_test_of_a_tag_finds_the_series_that_came_before_and_after_its_index() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open_with(saving(folder.path())).await;
    node.write(&[("t", BATCHES[0])]);
    let found = by_host(&batch(&node, Some(&["a", "d", "x"])).await);
    assert_eq!(found.into_keys().collect::<Vec<_>>(), ["a"]);
    node.write(&[("t", BATCHES[2])]);
    let found = by_host(&batch(&node, Some(&["a", "d", "x"])).await);
    assert_eq!(found.into_keys().collect::<Vec<_>>(), ["a", "d"]);
}

#[test]
fn of_the_two_columns_of_a_field_the_later_write_wins() {
    let mut column = Column::new(FieldType::Integer);
    column.resize(2);
    let picks = [0, 1, 2].map(|row| Pick { slot: 1, row });
    let narrow: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(7)]));
    let wide: ArrayRef = Arc::new(Float64Array::from(vec![None, Some(1.5), None]));
    column.fold(&picks[..1], &[5, 5, 5], Some(&narrow), None).unwrap();
    assert_eq!(column.field_type(), FieldType::Integer);
    column.fold(&picks, &[5, 5, 5], Some(&narrow), Some(&wide)).unwrap();
    let shown = column.gather(&[0, 1], &arrow::datatypes::DataType::Float64, i64::MIN).unwrap();
    assert_eq!(shown.as_primitive::<Float64Type>(), &Float64Array::from(vec![None, Some(7.0)]));
    assert!(column.gather(&[1], &arrow::datatypes::DataType::Int64, i64::MIN).is_err());
}

proptest! {
    /// Whatever is folded again, in order and up to the end, changes nothing.
    #[test]
    fn folding_again_from_anywhere_changes_nothing(
        rows in proptest::collection::vec((0..3_u32, 0..4_i64, proptest::option::of(any::<bool>())), 1..40),
        from in 0..40_usize,
    ) {
        let times: Vec<i64> = rows.iter().map(|row| if row.1 == 0 { i64::MIN } else { row.1 }).collect();
        let texts: ArrayRef =
            Arc::new(rows.iter().map(|row| row.2.map(|value| value.to_string())).collect::<StringArray>());
        let truths: ArrayRef = Arc::new(rows.iter().map(|row| row.2).collect::<BooleanArray>());
        let picks: Vec<Pick> =
            (0_u32..).zip(&rows).map(|(row, (slot, ..))| Pick { slot: *slot, row }).collect();
        for (values, field_type) in [(texts, FieldType::Text), (truths, FieldType::Boolean)] {
            let mut column = Column::new(field_type);
            column.resize(3);
            column.fold(&picks, &times, Some(&values), None).unwrap();
            column.fold(&picks[from.min(picks.len())..], &times, Some(&values), None).unwrap();
            for slot in 0..3 {
                let of_slot = picks.iter().filter(|pick| pick.slot == slot && values.is_valid(pick.row as usize));
                let wanted = of_slot.max_by_key(|pick| times[pick.row as usize]);
                prop_assert_eq!(column.time(slot), wanted.map(|pick| times[pick.row as usize]));
                let found = column.gather(&[slot], values.data_type(), i64::MIN).unwrap();
                if let Some(pick) = wanted {
                    prop_assert_eq!(&found.to_data(), &values.slice(pick.row as usize, 1).to_data());
                }
            }
        }
    }
}

#[tokio::test]
async fn what_was_saved_before_a_delete_does_not_come_back_when_the_delete_has_nothing_left_to_hide() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open_with(saving(folder.path())).await;
    node.write(&[("t", BATCHES[0])]);
    check(&node, "in memory").await;
    node.engine.flush().await.unwrap();
    let before = saved(folder.path());
    assert_eq!(before.len(), 1);
    let bytes = std::fs::read(&before[0]).unwrap();
    node.delete(&["t"], None, (i64::MIN, i64::MAX));
    node.engine.compact(true).await.unwrap();
    node.engine.flush().await.unwrap();
    assert!(node.files("t").is_empty());
    drop(node);
    // As if it had been killed after the last row went, and before what was saved did.
    std::fs::write(&before[0], bytes).unwrap();
    let node = Node::open_with(saving(folder.path())).await;
    check(&node, "after a restart").await;
    assert!(saved(folder.path()).is_empty(), "the log that says so goes some day");
}

#[tokio::test]
async fn a_delete_that_is_settled_before_an_older_one_does_not_hide_that_from_last_values() {
    const DAY: i64 = 86_400_000_000_000;
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open_with(saving(folder.path())).await;
    for rows in [[("a", 5, 1.0), ("c", 5, 2.0)], [("b", DAY, 3.0), ("b", DAY + 1, 4.0)]] {
        node.write(&[("t", &rows)]);
        node.engine.flush().await.unwrap();
    }
    check(&node, "before").await;
    node.delete(&["t"], Some("a"), (0, 10));
    node.delete(&["t"], Some("b"), (DAY, DAY + 10));
    // The day of the first cannot be merged: its delete stays, and the later one goes.
    let snapshot = node.engine.snapshot();
    let view = snapshot.table(node.engine.catalog().table("db", "t").unwrap().id).unwrap();
    let file = folder.path().join("tables").join(view.files[0].path.as_ref());
    drop(snapshot);
    let whole = std::fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    std::fs::write(&file, flipped).unwrap();
    node.engine.compact(true).await.unwrap_err();
    std::fs::write(&file, whole).unwrap();
    let left = [("c".to_owned(), (5, 2.0))];
    assert_eq!(last(&node).await, Last::from(left));
}

/// An engine on the third day, and how long it keeps rows of `t` from now on.
fn third_day(folder: &Path) -> EngineConfig {
    let clock = WallClock::of(|| Timestamp::from_nanos(3 * DAY));
    EngineConfig { clock, ..saving(folder) }
}

fn keep(node: &mut Node, retention: Option<Retention>) {
    let (database, table) = (DatabaseName::new("db").unwrap(), TableName::new("t").unwrap());
    let declaration = TableDeclaration { database, table, retention, partition: None, scales: Vec::new() };
    node.engine.catalog().declare_table(&declaration).unwrap();
    node.write(&[]);
}

#[tokio::test]
async fn what_retention_has_dropped_stays_gone_when_rows_are_kept_for_longer_and_its_series_are_forgotten() {
    for late in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut node = Node::open_with(third_day(folder.path())).await;
        node.write(&[("t", &[("a", DAY, 1.0), ("b", DAY, 2.0), ("a", 2 * DAY, 3.0), ("c", i64::MIN, 4.0)])]);
        node.engine.flush().await.unwrap();
        check(&node, "before").await;
        node.engine.close().await.unwrap();
        drop(node);
        assert_eq!(saved(folder.path()).len(), 1);
        let mut node = Node::open_with(third_day(folder.path())).await;
        if late {
            // It has expired, and is in no file that could be dropped.
            node.write(&[("t", &[("b", DAY - 5, 5.0), ("b", DAY + 5, 6.0)])]);
        }
        keep(&mut node, Retention::from_nanos(DAY.cast_unsigned()));
        assert_eq!(node.engine.drop_expired().await.unwrap().files, 2);
        keep(&mut node, None);
        check(&node, "after").await;
        let series = if late { 2 } else { 1 };
        assert_eq!(last(&node).await.len(), series);
        let schema = node.schema("t");
        let view = node.engine.snapshot().table(schema.id).cloned().unwrap();
        let rows = node.engine.last_values(&schema, &view).await.unwrap().unwrap();
        assert_eq!(rows.select(&[]).unwrap().len(), series, "slots");
        drop((rows, view, node));
        let mut node = Node::open_with(third_day(folder.path())).await;
        check(&node, "after a restart").await;
        node.write(&[("t", &[("b", 1, 7.0), ("a", 2 * DAY + 1, 8.0), ("d", 5, 9.0)])]);
        check(&node, "with others in their places").await;
    }
}
