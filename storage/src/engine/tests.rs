//! Tests of the engine as a whole: rows stay readable, each once, through flushes, restarts and crashes.

#![allow(clippy::cast_precision_loss, reason = "test data is small")]

mod compaction;
mod deletes;
mod faults;
mod lost_log;
mod properties;
mod runs;
mod small_tables;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch};
use arrow::datatypes::{Float64Type, Int32Type, TimestampNanosecondType};
use object_store::ObjectStoreExt;
use parking_lot::Mutex;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

pub(crate) mod remote;

use super::{Committer, Engine, EngineConfig, RunsConfig};
use crate::catalog::{Applied, SchemaChange};
use crate::compaction::CompactionConfig;
use crate::layout::{logical_batch, physical_batch};
use crate::log::encode_batch;
use crate::memtable::RowFilter;
use crate::model::{
    DatabaseName, Delete, FieldColumn, FilePlace, FrameNumber, TableBatch, TableName, TableSchema, TagTest,
    TimeRange, Timestamp, WriteBatch,
};
use crate::series::canonical_key;

/// A point of the test tables: host and time; its value.
pub(crate) type Rows = BTreeMap<(String, i64), f64>;

/// Host, time, value.
pub(crate) type Row<'a> = (&'a str, i64, f64);

pub(crate) struct Node {
    pub(crate) engine: Engine,
    pub(crate) committer: Committer,
}

pub(crate) fn config(folder: &Path) -> EngineConfig {
    let compaction = CompactionConfig { enabled: false, ..CompactionConfig::default() };
    EngineConfig { segment_bytes: 64 << 10, compaction, ..EngineConfig::new(folder) }
}

impl Node {
    pub(crate) async fn open(folder: &Path) -> Self {
        Self::open_with(config(folder)).await
    }

    pub(crate) async fn open_with(config: EngineConfig) -> Self {
        let (engine, committer) = Engine::open(config).await.unwrap();
        Self { engine, committer }
    }

    pub(crate) fn schema(&self, table: &str) -> Arc<TableSchema> {
        if let Some(schema) = self.engine.catalog().table("db", table) {
            return schema;
        }
        let change = SchemaChange {
            database: DatabaseName::new("db").unwrap(),
            table: TableName::new(table).unwrap(),
            base: None,
            tags: vec!["host".into()],
            fields: vec![("v".into(), crate::model::FieldType::Float)],
            widen: vec![],
        };
        match self.engine.catalog().apply(&change).unwrap() {
            Applied::Schema(schema) => schema,
            Applied::Stale | Applied::Unborn => panic!("stale"),
        }
    }

    /// Commits one batch with rows of several tables.
    pub(crate) fn write(&mut self, tables: &[(&str, &[Row])]) {
        let tables = tables.iter().map(|(table, rows)| self.batch(table, rows)).collect();
        let encoded = encode_batch(WriteBatch::of(tables)).unwrap();
        let appended = self.committer.append(vec![encoded]).unwrap();
        appended.sync().unwrap().publish();
    }

    pub(crate) fn batch(&self, table: &str, rows: &[Row]) -> TableBatch {
        let schema = self.schema(table);
        let series = |host: &str| {
            let key = canonical_key(std::iter::once((0, host))).unwrap();
            self.engine.series().lookup("b").resolve(schema.id, &key).unwrap().id.get()
        };
        let values: ArrayRef = Arc::new(rows.iter().map(|r| Some(r.2)).collect::<Float64Array>());
        let fields = schema.fields.iter().map(|field| field.narrow.id);
        TableBatch {
            table: schema.id,
            series: rows.iter().map(|r| series(r.0)).collect(),
            times: rows.iter().map(|r| r.1).collect(),
            fields: fields.map(|column| FieldColumn { column, values: Arc::clone(&values) }).collect(),
        }
    }

    /// Commits a delete of the rows of a host, or of all, within some times.
    pub(crate) fn delete(&mut self, tables: &[&str], host: Option<&str>, (min, max): (i64, i64)) {
        let delete = Delete {
            tables: tables.iter().map(|table| self.schema(table).id).collect(),
            times: TimeRange::new(Timestamp::from_nanos(min), Timestamp::from_nanos(max)),
            tags: host.map(|host| TagTest::is("host", host)).into_iter().collect(),
        };
        let encoded = encode_batch(WriteBatch::of_deletes(vec![delete])).unwrap();
        self.committer.append(vec![encoded]).unwrap().sync().unwrap().publish();
    }

    /// Everything that a query sees of a table: files, oldest first, then memory, without what is deleted.
    pub(crate) async fn read(&self, table: &str) -> Rows {
        let Some(schema) = self.engine.catalog().table("db", table) else { return Rows::new() };
        let snapshot = self.engine.snapshot();
        let view = snapshot.table(schema.id).cloned().unwrap_or_default();
        let mut rows = Rows::new();
        for file in &view.files {
            self.engine.expect(file);
            let bytes = self.engine.store(file.place).get(&file.path).await.unwrap().bytes().await.unwrap();
            assert_eq!((bytes.len() as u64, crc32c::crc32c(&bytes)), (file.bytes, file.checksum));
            let mut of_file = Rows::new();
            for batch in ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap() {
                collect(&logical_batch(&schema, &batch.unwrap(), None).unwrap(), &mut of_file);
            }
            for tombstone in view.tombstones_of(file) {
                let is_deleted = |(host, time): &(String, i64)| {
                    tombstone.times.contains(Timestamp::from_nanos(*time))
                        && tombstone.tags.iter().all(|test| test.holds(Some(host)))
                };
                of_file.retain(|point, _| !is_deleted(point));
            }
            rows.extend(of_file);
        }
        for group in view.memtable_groups() {
            let ordered = group.ordered(&schema, self.engine.series(), RowFilter::ALL).unwrap();
            let sorted = ordered.into_rows(&schema).unwrap();
            let tags = sorted.tag_columns(1).unwrap();
            let physical = physical_batch(&schema, tags, &sorted.times, &sorted.fields).unwrap();
            collect(&logical_batch(&schema, &physical, None).unwrap(), &mut rows);
        }
        rows
    }

    pub(crate) fn files(&self, table: &str) -> Vec<(FilePlace, u64)> {
        let id = self.schema(table).id;
        let snapshot = self.engine.snapshot();
        snapshot.table(id).map(|v| v.files.iter().map(|f| (f.place, f.rows)).collect()).unwrap_or_default()
    }
}

fn collect(batch: &RecordBatch, rows: &mut Rows) {
    let hosts =
        batch.column(0).as_dictionary::<Int32Type>().downcast_dict::<arrow::array::StringArray>().unwrap();
    let times = batch.column(1).as_primitive::<TimestampNanosecondType>();
    let values = batch.column(2).as_primitive::<Float64Type>();
    for row in 0..batch.num_rows() {
        let host = arrow::array::ArrayAccessor::value(&hosts, row);
        rows.insert((host.to_owned(), times.value(row)), values.value(row));
    }
}

pub(crate) fn rows(all: &[Row]) -> Rows {
    all.iter().map(|(host, time, value)| (((*host).to_owned(), *time), *value)).collect()
}

pub(crate) const DAY: i64 = 86_400_000_000_000;

#[tokio::test]
async fn rows_move_from_memory_to_table_files_and_stay_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open(folder.path()).await;
    let first = [("a", 1, 1.0), ("b", DAY + 7, 2.0), ("a", -1, 0.5)];
    node.write(&[("t", &first), ("°C", &[("x", 5, 5.0)])]);
    assert_eq!(node.read("t").await, rows(&first));
    node.engine.flush().await.unwrap();
    assert_eq!(node.engine.memory_bytes(), 0);
    assert_eq!(node.files("t"), [(FilePlace::Table, 1), (FilePlace::Table, 1), (FilePlace::Table, 1)]);
    assert_eq!(node.read("t").await, rows(&first));
    assert_eq!(node.read("°C").await, rows(&[("x", 5, 5.0)]));
    // An overwrite of a row in a file, and one within memory.
    node.write(&[("t", &[("a", 1, 10.0)])]);
    node.write(&[("t", &[("a", 1, 11.0), ("c", 2, 3.0)])]);
    let expected = rows(&[("a", 1, 11.0), ("b", DAY + 7, 2.0), ("a", -1, 0.5), ("c", 2, 3.0)]);
    assert_eq!(node.read("t").await, expected);
    node.engine.flush().await.unwrap();
    assert_eq!(node.read("t").await, expected);
    drop(node);
    let node = Node::open(folder.path()).await;
    assert_eq!(node.read("t").await, expected);
    assert_eq!(node.engine.memory_bytes(), 0, "what is in files is not replayed");
}

#[tokio::test]
async fn the_log_is_trimmed_after_a_flush_and_definitions_outlive_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open(folder.path()).await;
    let mut expected = Rows::new();
    for round in 0..40_i64 {
        let hosts: Vec<String> = (0..100).map(|h| format!("host-{round}-{h}")).collect();
        let batch: Vec<_> = hosts.iter().map(|h| (h.as_str(), round, round as f64)).collect();
        node.write(&[("t", &batch)]);
        expected.extend(rows(&batch));
        if round % 10 == 9 {
            node.engine.flush().await.unwrap();
        }
    }
    let (segments, first) = node.engine.log_extent();
    assert!(first.get() > 20, "trimmed only up to {first} in {segments} segments");
    node.write(&[("t", &[("host-0-0", 100, 1.0)])]);
    expected.insert(("host-0-0".into(), 100), 1.0);
    drop(node);
    let node = Node::open(folder.path()).await;
    assert_eq!(node.read("t").await, expected);
    assert_eq!(node.engine.series().len(), 4_000);
}

#[tokio::test]
async fn a_consumer_of_the_tap_keeps_the_log_until_its_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open(folder.path()).await;
    let consumer = node.engine.tap().subscribe("rules", FrameNumber::default(), 1 << 20);
    for round in 0..200_i64 {
        let batch: Vec<_> = (0..30).map(|i| ("a", round * 100 + i, 1.0)).collect();
        node.write(&[("t", &batch)]);
    }
    node.engine.flush().await.unwrap();
    assert_eq!(node.engine.log_extent().1, FrameNumber::new(1));
    let mut frames = 0;
    node.engine
        .read_log(FrameNumber::new(50), &mut |group| {
            frames += 1;
            assert_eq!(group.batches[0].rows(), 30);
            Ok(())
        })
        .unwrap();
    assert_eq!(frames, 150);
    consumer.checkpointed(FrameNumber::new(200));
    node.write(&[("t", &[("a", 1, 1.0)])]);
    node.engine.flush().await.unwrap();
    assert!(node.engine.log_extent().1 > FrameNumber::new(100));
}

#[tokio::test]
async fn a_consumer_that_hangs_keeps_the_log_up_to_its_bound_and_learns_of_it_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let config = || EngineConfig { disk_limit: 2 << 20, ..config(folder.path()) };
    let mut node = Node::open_with(config()).await;
    let hanging = node.engine.tap().subscribe("rules", FrameNumber::default(), 1 << 20);
    for round in 0..1_500_i64 {
        let batch: Vec<_> = (0..100).map(|i| ("a", round * 100 + i, 1.0)).collect();
        node.write(&[("t", &batch)]);
        if round % 20 == 19 {
            node.engine.flush().await.unwrap();
            assert_eq!(node.engine.disk_shortage(), None, "round {round}");
        }
    }
    let let_go = node.engine.tap().let_go_up_to();
    assert!(let_go.get() > 0 && let_go < node.engine.durable_frame(), "{let_go}");
    drop(hanging);
    drop(node);
    let node = Node::open_with(config()).await;
    assert_eq!(node.engine.tap().let_go_up_to(), let_go);
    assert_eq!(node.read("t").await.len(), 150_000);
}

#[tokio::test]
async fn a_flush_before_an_expected_consumer_came_trims_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = EngineConfig { consumers: vec!["rules"], ..config(folder.path()) };
    let (engine, committer) = Engine::open(config).await.unwrap();
    let mut node = Node { engine, committer };
    for round in 0..200_i64 {
        let batch: Vec<_> = (0..30).map(|i| ("a", round * 100 + i, 1.0)).collect();
        node.write(&[("t", &batch)]);
    }
    node.engine.flush().await.unwrap();
    assert_eq!(node.engine.log_extent().1, FrameNumber::new(1));
    let consumer = node.engine.tap().subscribe("rules", FrameNumber::default(), 1 << 20);
    consumer.checkpointed(FrameNumber::new(150));
    node.engine.flush().await.unwrap();
    assert!(node.engine.log_extent().1 > FrameNumber::new(1));
}

#[tokio::test]
async fn a_data_directory_is_opened_by_one_engine_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    let second = Engine::open(config(folder.path())).await;
    assert!(second.unwrap_err().to_string().contains("in use"));
    drop(node);
}

#[tokio::test]
async fn a_store_that_is_down_costs_no_row_and_no_memory_and_is_caught_up_with() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open(folder.path()).await;
    // A file where the database's folder would be: every put and commit fails.
    let obstacle = folder.path().join("tables").join("db");
    std::fs::write(&obstacle, "in the way").unwrap();
    let mut expected = Rows::new();
    for round in 0..3_i64 {
        let batch: Vec<_> = (0..500).map(|i| ("a", i + round * 250, round as f64)).collect();
        node.write(&[("t", &batch)]);
        expected.extend(rows(&batch));
        node.engine.flush().await.unwrap_err();
        assert_eq!(node.engine.memory_bytes(), 0, "staged files free the memory");
        assert_eq!(node.read("t").await, expected);
        assert_eq!(node.engine.log_extent().1, FrameNumber::new(1), "TXN-2: staged is not in files");
    }
    assert!(node.files("t").iter().all(|(place, _)| *place == FilePlace::Staged));
    // The store is back after a restart, which adopts what is staged.
    drop(node);
    std::fs::remove_file(&obstacle).unwrap();
    let node = Node::open(folder.path()).await;
    assert_eq!(node.read("t").await, expected);
    assert_eq!(node.engine.memory_bytes(), 0, "what is staged is not replayed");
    node.engine.flush().await.unwrap();
    assert_eq!(node.files("t").iter().map(|(place, _)| *place).collect::<Vec<_>>(), [FilePlace::Table; 3]);
    assert_eq!(node.read("t").await, expected);
}

/// Every place at which a crash of a flush or a compaction is interesting.
const CRASH_POINTS: [&str; 15] = [
    "log-before-sync",
    "log-after-sync",
    "staged-before-manifest",
    "staged-after-manifest",
    "gathered-before-manifest",
    "gathered-after-manifest",
    "published-after-put",
    "published-before-commit",
    "delta-before-commit",
    "published-after-commit",
    "tombstone-after-put",
    "log-before-trim",
    "compacted-before-commit",
    "delta-before-replace",
    "compacted-after-commit",
];

/// Copies the data directory at each crash point of a run, as a `kill -9` there would leave it, and opens each
/// copy: every acknowledged row is there once, before and after a flush.
#[test]
fn a_crash_at_any_step_of_a_flush_or_compaction_loses_and_doubles_nothing() {
    // The stops are those of the process: engines of other tests come by, too.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).thread_name(CRASHING).enable_all().build().unwrap();
    let crash = || runtime.block_on(crash_at_every_step());
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(CRASHING.into());
        thread.spawn_scoped(scope, crash).unwrap().join().unwrap();
    });
}

/// The name of all threads of the engine whose crashes are looked at.
const CRASHING: &str = "crashing";

async fn crash_at_every_step() {
    let scenario = fail::FailScenario::setup();
    let (folder, images) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let acknowledged = Arc::new(Mutex::new(Rows::new()));
    let taken: Arc<Mutex<Vec<(String, Rows)>>> = Arc::default();
    // What falls on two days becomes a run.
    let runs = RunsConfig { min_partitions: 2, ..RunsConfig::default() };
    let mut node =
        Node::open_with(EngineConfig { runs, small_table_bytes: 0, ..config(folder.path()) }).await;
    for point in CRASH_POINTS {
        let (from, to) = (folder.path().to_owned(), images.path().to_owned());
        let (acknowledged, taken) = (Arc::clone(&acknowledged), Arc::clone(&taken));
        let image = move || {
            if std::thread::current().name() != Some(CRASHING) {
                return;
            }
            let mut taken = taken.lock();
            if taken.iter().filter(|(name, _)| name.starts_with(point)).count() < 4 {
                let name = format!("{point}-{}", taken.len());
                copy_folder(&from, &to.join(&name));
                let rows = acknowledged.lock().clone();
                taken.push((name, rows));
            }
        };
        fail::cfg_callback(point, image).unwrap();
    }
    for round in 0..3_i64 {
        for step in 0..120 {
            // Two days, so that seals become two files in the end; half of the rows overwrite earlier ones.
            let batch: Vec<_> = (0..20)
                .map(|i| ("a", (i % 2) * DAY + (step % 60) * 100 + i, (round * 1_000 + step) as f64))
                .collect();
            node.write(&[("t", &batch), ("u", &batch)]);
            acknowledged.lock().extend(rows(&batch));
            if step == 60 {
                node.engine.flush_due().await.unwrap();
            }
        }
        // One that hides rows of files and of memory; what is deleted stays so in every image that is taken later.
        let deleted = 1_000 * round;
        node.delete(&["t", "u"], None, (deleted, deleted + 700));
        acknowledged.lock().retain(|(_, time), _| !(deleted..=deleted + 700).contains(time));
        node.engine.flush().await.unwrap();
        node.engine.compact(true).await.unwrap();
    }
    drop(node);
    scenario.teardown();
    let taken = taken.lock().clone();
    for point in CRASH_POINTS {
        assert!(taken.iter().any(|(name, _)| name.starts_with(point)), "{point} was never reached");
    }
    for (name, expected) in taken {
        let mut node = Node::open(&images.path().join(&name)).await;
        for table in ["t", "u"] {
            check(&node, &name, table, &expected).await;
        }
        node.write(&[("t", &[("new", 1, 1.0)])]);
        node.engine.flush().await.unwrap();
        let mut after = expected.clone();
        after.insert(("new".into(), 1), 1.0);
        check(&node, &name, "t", &after).await;
        assert!(node.files("t").iter().all(|(place, _)| *place == FilePlace::Table), "{name}");
        // What follows the last values may still read a staged file: it goes when nobody does.
        node.engine.close().await.unwrap();
        assert!(std::fs::read_dir(images.path().join(&name).join("staged")).unwrap().count() == 0, "{name}");
    }
}

/// All acknowledged rows are there; at most the one write that was in flight is there as well.
async fn check(node: &Node, image: &str, table: &str, expected: &Rows) {
    let found = node.read(table).await;
    let older: Vec<_> =
        expected.iter().filter(|(key, value)| found.get(*key).is_none_or(|v| v < *value)).collect();
    assert!(
        older.is_empty(),
        "{image}: {} rows of {table} are missing or old: {:?}",
        older.len(),
        older.first()
    );
    let unknown = found.iter().filter(|(key, value)| expected.get(*key) != Some(value)).count();
    assert!(unknown <= 20, "{image}: {unknown} rows of {table} were never written");
    let snapshot = node.engine.snapshot();
    let view = snapshot.table(node.schema(table).id).cloned().unwrap_or_default();
    let mut paths: Vec<_> = view.files.iter().map(|f| f.path.to_string()).collect();
    paths.sort();
    let all = paths.len();
    paths.dedup();
    assert_eq!(paths.len(), all, "{image}: a file of {table} is there twice");
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_batch_without_rows_takes_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open(folder.path()).await;
    node.write(&[("t", &[("a", 1, 1.0)])]);
    let before = node.engine.memory_bytes();
    node.write(&[("t", &[]), ("u", &[])]);
    assert_eq!(node.engine.memory_bytes(), before);
    node.engine.flush().await.unwrap();
    assert_eq!(node.engine.memory_bytes(), 0);
}
