//! Tests of tables that two nodes share: each has its own data directory, and both one store.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};
use tempfile::TempDir;

use super::{ClusterConfig, Lease, Leases, take_turn};
use crate::catalog::{Applied, SchemaChange, TableDeclaration};
use crate::engine::EngineConfig;
use crate::engine::tests::remote::remote;
use crate::engine::tests::{DAY, Node, Row, Rows, rows};
use crate::layout::table_folder;
use crate::log::Epoch;
use crate::model::{DatabaseName, FieldType, Scale, Sequence, TableId, TableName, TableSchema};
use crate::object::RetryPolicy;
use crate::object::flaky::{FlakyStore, soon};
use crate::vacuum::{self, VacuumConfig, Vacuumed};

const ALL: (i64, i64) = (i64::MIN, i64::MAX);

/// Two nodes of one store.
struct Pair {
    store: FlakyStore,
    folders: [TempDir; 2],
    a: Node,
    b: Node,
}

fn settings(folder: &Path, store: &FlakyStore) -> EngineConfig {
    let cluster = ClusterConfig { shared: true, ..ClusterConfig::default() };
    let vacuum = VacuumConfig { min_age: Duration::ZERO, keep_replaced: Duration::ZERO };
    let retry = RetryPolicy { retries: 2, ..soon() };
    EngineConfig { cluster, vacuum, background: false, ..remote(folder, store, retry) }
}

impl Pair {
    async fn open() -> Self {
        let store = FlakyStore::new(1);
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let a = Node::open_with(settings(folders[0].path(), &store)).await;
        let b = Node::open_with(settings(folders[1].path(), &store)).await;
        Self { store, folders, a, b }
    }

    /// The table `t` with a tag and a float field, born on the first node and known to the second.
    async fn with_table() -> Self {
        let pair = Self::open().await;
        pair.a.engine.bear(&change(None, &["host"], &[("v", FieldType::Float)])).await.unwrap();
        pair.b.engine.refresh().await.unwrap();
        pair
    }

    async fn refresh(&self) {
        self.a.engine.refresh().await.unwrap();
        self.b.engine.refresh().await.unwrap();
    }

    /// The second node again, after a kill.
    async fn reopen_b(self) -> Self {
        let Self { store, folders, a, b } = self;
        drop(b);
        let b = Node::open_with(settings(folders[1].path(), &store)).await;
        Self { store, folders, a, b }
    }

    /// What the first node writes next comes after all that the second has written, also within a millisecond.
    fn after_b(&self) {
        self.a.engine.shared().cluster.raise(self.b.engine.snapshot().sequence());
    }

    async fn objects(&self, part: &str) -> usize {
        let all: Vec<_> = self.store.list(None).try_collect().await.unwrap();
        all.iter().filter(|object| object.location.as_ref().contains(part)).count()
    }
}

fn change(base: Option<Arc<TableSchema>>, tags: &[&str], fields: &[(&str, FieldType)]) -> SchemaChange {
    SchemaChange {
        database: DatabaseName::new("db").unwrap(),
        table: TableName::new("t").unwrap(),
        base,
        tags: tags.iter().map(|tag| Arc::from(*tag)).collect(),
        fields: fields.iter().map(|(name, kind)| (Arc::from(*name), *kind)).collect(),
        widen: vec![],
    }
}

/// What nodes must agree on: names, types and stored names.
fn columns(node: &Node) -> Vec<String> {
    let schema = node.schema("t");
    let tags = schema.tags.iter().map(|tag| format!("{}={}", tag.name, tag.stored_name));
    let fields = schema.fields.iter().flat_map(|field| {
        field
            .columns()
            .map(move |column| format!("{}={}:{:?}", field.name, column.stored_name, column.field_type))
    });
    let mut all: Vec<_> = tags.chain(fields).collect();
    all.sort();
    all
}

#[tokio::test]
async fn a_node_sees_rows_tables_and_columns_of_another_after_a_refresh() {
    let mut pair = Pair::with_table().await;
    let (of_a, of_b): ([Row; 2], [Row; 1]) = ([("a", 1, 1.0), ("a", 2, 2.0)], [("b", 1, 3.0)]);
    pair.a.write(&[("t", &of_a)]);
    pair.b.write(&[("t", &of_b)]);
    pair.a.engine.flush().await.unwrap();
    assert_eq!(pair.b.read("t").await, rows(&of_b));
    pair.b.engine.refresh().await.unwrap();
    let mut expected = rows(&of_a);
    expected.extend(rows(&of_b));
    assert_eq!(pair.b.read("t").await, expected);
    // Its own flush shows what came before it.
    pair.a.engine.bear(&change(Some(pair.a.schema("t")), &[], &[("w", FieldType::Text)])).await.unwrap();
    pair.b.engine.flush().await.unwrap();
    assert_eq!(columns(&pair.b), columns(&pair.a));
    pair.a.engine.refresh().await.unwrap();
    assert_eq!(pair.a.read("t").await, expected);
    let pair = pair.reopen_b().await;
    assert_eq!(pair.b.read("t").await, expected);
    assert_eq!(table_folder(&pair.b.schema("t")), table_folder(&pair.a.schema("t")));
}

#[tokio::test]
async fn a_table_of_before_is_found_where_its_first_node_has_put_it() {
    let store = FlakyStore::new(1);
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let alone = EngineConfig { cluster: ClusterConfig::default(), ..settings(folders[0].path(), &store) };
    let mut a = Node::open_with(alone).await;
    a.write(&[("other", &[("a", 1, 1.0)])]);
    a.write(&[("t", &[("a", 1, 1.0)])]);
    a.engine.flush().await.unwrap();
    drop(a);
    let b = Node::open_with(settings(folders[1].path(), &store)).await;
    assert_eq!(b.read("t").await, rows(&[("a", 1, 1.0)]));
    b.engine.bear(&change(Some(b.schema("t")), &[], &[("w", FieldType::Integer)])).await.unwrap();
    let a = Node::open_with(settings(folders[0].path(), &store)).await;
    assert_eq!(columns(&a), columns(&b));
}

#[tokio::test]
async fn the_clock_is_raised_above_what_another_node_has_written() {
    let mut pair = Pair::with_table().await;
    let ahead = Sequence::ZERO.next(4_000_000_000_000);
    pair.a.engine.shared().cluster.raise(ahead);
    pair.a.write(&[("t", &[("a", 1, 1.0)])]);
    pair.a.engine.flush().await.unwrap();
    pair.b.engine.refresh().await.unwrap();
    // The later write wins, though the clock of its machine is behind.
    pair.b.write(&[("t", &[("a", 1, 2.0)])]);
    pair.b.engine.flush().await.unwrap();
    pair.refresh().await;
    assert_eq!(pair.a.read("t").await, rows(&[("a", 1, 2.0)]));
    assert_eq!(pair.b.read("t").await, rows(&[("a", 1, 2.0)]));
}

#[tokio::test]
async fn the_loser_of_a_birth_validates_again() {
    let pair = Pair::with_table().await;
    let base = pair.b.schema("t");
    let by_a = change(Some(pair.a.schema("t")), &[], &[("x", FieldType::Integer)]);
    let by_b = change(Some(base.clone()), &[], &[("x", FieldType::Float)]);
    assert!(matches!(pair.b.engine.catalog().apply(&by_b).unwrap(), Applied::Unborn));
    pair.a.engine.bear(&by_a).await.unwrap();
    pair.b.engine.bear(&by_b).await.unwrap();
    assert!(matches!(pair.b.engine.catalog().apply(&by_b).unwrap(), Applied::Stale));
    let now = pair.b.schema("t");
    assert_eq!(now.fields[now.field("x").unwrap()].logical_type(), FieldType::Integer);
    // Its float is a second column now (or, for another type, an error).
    let widen = SchemaChange { widen: vec![now.field("x").unwrap()], ..change(Some(now.clone()), &[], &[]) };
    pair.b.engine.bear(&widen).await.unwrap();
    pair.a.engine.refresh().await.unwrap();
    assert_eq!(columns(&pair.a), columns(&pair.b));
    assert!(columns(&pair.a).contains(&"x=busbar_f64_x:Float".to_owned()), "{:?}", columns(&pair.a));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn births_at_one_time_leave_one_schema_however_requests_fail() {
    for seed in 0..4 {
        let pair = Pair::open().await;
        let store = &pair.store;
        let patient = |folder: &Path| EngineConfig {
            cluster: ClusterConfig { shared: true, ..ClusterConfig::default() },
            background: false,
            ..remote(folder, store, soon())
        };
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let nodes = [
            Node::open_with(patient(folders[0].path())).await,
            Node::open_with(patient(folders[1].path())).await,
        ];
        pair.store.fail_percent(10 * seed);
        let types = [FieldType::Integer, FieldType::Text];
        let births = nodes.iter().zip(types).map(|(node, kind)| async move {
            node.engine.bear(&change(None, &["host"], &[("x", kind)])).await.unwrap();
        });
        futures::future::join_all(births).await;
        pair.store.fail_percent(0);
        for node in &nodes {
            node.engine.refresh().await.unwrap();
        }
        assert_eq!(columns(&nodes[0]), columns(&nodes[1]), "seed {seed}");
        assert_eq!(columns(&nodes[0]).len(), 2, "one of the two: {:?}", columns(&nodes[0]));
    }
}

#[tokio::test]
async fn without_the_store_nothing_new_is_born_and_what_is_known_is_taken() {
    let mut pair = Pair::with_table().await;
    pair.store.set_down(true);
    let new = change(Some(pair.a.schema("t")), &[], &[("x", FieldType::Integer)]);
    let error = pair.a.engine.bear(&new).await.unwrap_err();
    assert!(crate::delta::is_unanswered(&error), "{error}");
    assert!(pair.a.schema("t").field("x").is_none());
    pair.a.write(&[("t", &[("a", 1, 1.0)])]);
    assert_eq!(pair.a.read("t").await, rows(&[("a", 1, 1.0)]));
    pair.store.set_down(false);
    pair.a.engine.bear(&new).await.unwrap();
    assert!(pair.a.schema("t").field("x").is_some());
}

#[tokio::test]
async fn a_field_that_was_declared_with_a_scale_has_it_on_every_node() {
    let pair = Pair::open().await;
    let declared = TableDeclaration {
        database: DatabaseName::new("db").unwrap(),
        table: TableName::new("t").unwrap(),
        retention: None,
        partition: Some(crate::model::Partition::Month),
        scales: vec![("x".into(), Scale::new(2).unwrap())],
    };
    pair.a.engine.bear_declared(&declared).await.unwrap();
    pair.b.engine.refresh().await.unwrap();
    let schema = pair.b.schema("t");
    assert_eq!(schema.partition, crate::model::Partition::Month);
    assert_eq!(schema.fields[0].narrow.scale, Some(Scale::new(2).unwrap()));
    assert!(schema.fields[0].wide.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_compact_at_one_time_take_turns() {
    let mut pair = Pair::with_table().await;
    let mut expected = Rows::new();
    for round in 0..4_i64 {
        let (of_a, of_b) = ([("a", round, 1.0)], [("b", round, 2.0)]);
        pair.a.write(&[("t", &of_a)]);
        pair.b.write(&[("t", &of_b)]);
        pair.a.engine.flush().await.unwrap();
        pair.b.engine.flush().await.unwrap();
        expected.extend(rows(&of_a));
        expected.extend(rows(&of_b));
    }
    pair.refresh().await;
    let (by_a, by_b) = tokio::join!(pair.a.engine.compact(true), pair.b.engine.compact(true));
    assert_eq!(by_a.unwrap() + by_b.unwrap(), 1);
    pair.refresh().await;
    for node in [&pair.a, &pair.b] {
        assert_eq!(node.files("t").len(), 1);
        assert_eq!(node.read("t").await, expected);
    }
    let pair = pair.reopen_b().await;
    assert_eq!(pair.b.read("t").await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_commits_while_another_merges_a_backlog_of_the_table() {
    const DAYS: i64 = 20;
    let mut pair = Pair::with_table().await;
    let mut expected = Rows::new();
    for round in 0..2 {
        let of_days: Vec<Row> = (0..DAYS).map(|day| ("a", day * DAY + round, 1.0)).collect();
        pair.a.write(&[("t", &of_days)]);
        pair.a.engine.flush().await.unwrap();
        expected.extend(rows(&of_days));
    }
    pair.store.set_latency(Duration::from_millis(5));
    let Pair { a, mut b, store, .. } = pair;
    let mut flushes = Vec::new();
    let mut merging = pin!(a.engine.compact(true));
    let merged = loop {
        let of_b = [("b", flushes.len() as i64, 2.0)];
        b.write(&[("t", &of_b)]);
        expected.extend(rows(&of_b));
        let flush = async {
            tokio::time::sleep(Duration::from_millis(250)).await;
            b.engine.flush().await
        };
        tokio::select! {
            merged = &mut merging => break merged.unwrap(),
            flushed = flush => flushes.push(flushed),
        }
    };
    store.set_latency(Duration::ZERO);
    assert_eq!(i64::try_from(merged).unwrap(), DAYS);
    assert!(flushes.len() > 5 && flushes.iter().all(Result::is_ok), "{flushes:?}");
    b.engine.flush().await.unwrap();
    for node in [&a, &b] {
        node.engine.refresh().await.unwrap();
        assert_eq!(node.read("t").await, expected);
    }
}

#[tokio::test]
async fn last_values_know_rows_of_the_other_node_also_after_a_merge_of_them() {
    let mut pair = Pair::with_table().await;
    pair.b.write(&[("t", &[("b", 1, 1.0)])]);
    pair.b.engine.flush().await.unwrap();
    pair.a.write(&[("t", &[("a", 7, 7.0)])]);
    pair.a.engine.flush().await.unwrap();
    pair.b.engine.refresh().await.unwrap();
    assert_eq!(pair.b.engine.compact(true).await.unwrap(), 1);
    let schema = pair.b.schema("t");
    let view = pair.b.engine.snapshot().table(schema.id).cloned().unwrap();
    assert!(pair.b.engine.last_values(&schema, &view).await.unwrap().is_some());
    let own = format!("{}-", pair.b.engine.shared().epoch);
    let names: Vec<_> = view.files.iter().filter_map(|file| file.path.filename()).collect();
    assert!(names.iter().all(|name| !name.starts_with(&own)), "they are not of this log alone: {names:?}");
}

fn leases(store: &FlakyStore) -> Leases {
    Leases::new(Arc::new(store.clone()), Epoch::from_uuid(uuid::Uuid::new_v4()), Duration::from_secs(1))
}

fn table() -> TableSchema {
    TableSchema::new(TableId::new(0), DatabaseName::new("db").unwrap(), TableName::new("t").unwrap())
}

#[tokio::test]
async fn a_lease_is_of_one_node_until_it_is_released() {
    let store = FlakyStore::new(1);
    let (a, b) = (leases(&store), leases(&store));
    let lease = a.acquire(&table()).await.unwrap().unwrap();
    assert!(lease.is_held());
    assert!(b.acquire(&table()).await.unwrap().is_none());
    assert!(a.acquire(&table()).await.unwrap().is_none(), "another task of the same node");
    lease.release().await;
    assert!(b.acquire(&table()).await.unwrap().is_some());
}

#[tokio::test]
async fn a_lease_whose_holder_is_gone_is_taken_over_and_one_that_is_renewed_is_not() {
    let store = FlakyStore::new(1);
    let (a, b) = (leases(&store), leases(&store));
    let lease = a.acquire(&table()).await.unwrap().unwrap();
    for _ in 0..15 {
        assert!(b.acquire(&table()).await.unwrap().is_none());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(lease);
    let taken: Lease = loop {
        match b.acquire(&table()).await.unwrap() {
            Some(lease) => break lease,
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    assert!(taken.is_held());
}

#[tokio::test]
async fn a_holder_that_has_lost_its_lease_removes_nothing() {
    let mut pair = Pair::with_table().await;
    for round in 0..2 {
        pair.a.write(&[("t", &[("a", round, 1.0)])]);
        pair.a.engine.flush().await.unwrap();
    }
    let shared = pair.a.engine.shared();
    let schema = pair.a.schema("t");
    let leftover = format!("{}/busbar_date=1970-01-01/leftover.parquet", table_folder(&schema));
    pair.store.put(&leftover.as_str().into(), "x".into()).await.unwrap();
    let lease = take_turn(shared, schema.id).await.unwrap().unwrap();
    lease.lose();
    let mut removed = Vacuumed::default();
    vacuum::of_table(shared, &schema, &lease, &mut removed).await.unwrap();
    assert_eq!((removed.objects, pair.objects("leftover").await), (0, 1));
    drop(lease);
    let lease = take_turn(shared, schema.id).await.unwrap().unwrap();
    vacuum::of_table(shared, &schema, &lease, &mut removed).await.unwrap();
    assert_eq!((removed.objects, pair.objects("leftover").await), (1, 0));
}

#[tokio::test]
async fn a_delete_on_one_node_hides_rows_of_the_other_and_its_flush_does_not_bring_them_back() {
    for restart in [false, true] {
        let mut pair = Pair::with_table().await;
        pair.b.write(&[("t", &[("x", 1, 1.0), ("y", 1, 1.0)])]);
        pair.b.engine.flush().await.unwrap();
        pair.b.write(&[("t", &[("x", 2, 2.0), ("y", 2, 2.0)])]);
        // The deleter has no row of them.
        pair.after_b();
        pair.a.delete(&["t"], Some("x"), ALL);
        pair.refresh().await;
        let mut expected = rows(&[("y", 1, 1.0), ("y", 2, 2.0)]);
        assert_eq!(pair.b.read("t").await, expected);
        if restart {
            pair = pair.reopen_b().await;
            assert_eq!(pair.b.read("t").await, expected, "after a restart");
        }
        pair.b.write(&[("t", &[("x", 3, 3.0)])]);
        expected.extend(rows(&[("x", 3, 3.0)]));
        for _ in 0..2 {
            pair.b.engine.flush().await.unwrap();
            pair.refresh().await;
            assert_eq!(pair.a.read("t").await, expected);
            assert_eq!(pair.b.read("t").await, expected);
            pair.b.engine.compact(true).await.unwrap();
        }
        let pair = pair.reopen_b().await;
        assert_eq!(pair.b.read("t").await, expected);
    }
}

#[tokio::test]
async fn the_object_of_a_delete_stays_until_no_node_has_older_rows_in_its_log() {
    let mut pair = Pair::with_table().await;
    pair.b.write(&[("t", &[("x", 1, 1.0)])]);
    pair.a.write(&[("t", &[("x", 2, 1.0)])]);
    pair.a.engine.flush().await.unwrap();
    pair.after_b();
    pair.a.delete(&["t"], Some("x"), ALL);
    pair.a.engine.refresh().await.unwrap();
    pair.a.engine.compact(true).await.unwrap();
    pair.a.engine.refresh().await.unwrap();
    pair.a.engine.vacuum().await.unwrap();
    assert_eq!(
        pair.objects("_busbar/deletes").await,
        1,
        "the other node may have older rows, and has not heard of it"
    );
    let mut pair = pair.reopen_b().await;
    assert_eq!(pair.b.read("t").await, Rows::new());
    pair.b.engine.flush().await.unwrap();
    pair.refresh().await;
    pair.a.engine.compact(true).await.unwrap();
    pair.refresh().await;
    pair.a.engine.vacuum().await.unwrap();
    assert_eq!(pair.objects("_busbar/deletes").await, 0);
    pair.b.write(&[("t", &[("x", 1, 2.0)])]);
    pair.b.engine.flush().await.unwrap();
    pair.refresh().await;
    assert_eq!(pair.a.read("t").await, rows(&[("x", 1, 2.0)]));
}
