//! Commits to a Delta table: once each, whatever fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod flaky;

use std::fs;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, UInt64Array};
use arrow::datatypes::Float64Type;
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use self::flaky::{Fault, FlakyStore};
use super::*;
use crate::disk::LocalDisk;
use crate::disk::recording::RecordingDisk;
use crate::layout::{date_of, logical_batch, partition_folder, table_folder};
use crate::model::{
    ColumnId, DatabaseName, FieldColumn, FieldSchema, FieldType, FilePlace, PhysicalColumn, SequenceRange,
    TableId, TableName, TagSchema, TimeRange, Timestamp,
};
use crate::object::DurableLocalStore;
use crate::parquet_file;
use crate::rows::SortedRows;
use crate::series::{KeyRef, canonical_key};

const APP: &str = "node-1:epoch";
/// 2026-11-20T00:00:00Z.
const DAY: i64 = 1_795_132_800_000_000_000;

struct Rig {
    root: tempfile::TempDir,
    store: Arc<dyn ObjectStore>,
    schema: TableSchema,
}

impl Rig {
    fn new(database: &str, table: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let store = Arc::new(DurableLocalStore::open(root.path()).unwrap());
        let (database, table) = (DatabaseName::new(database).unwrap(), TableName::new(table).unwrap());
        let mut schema = TableSchema::new(TableId::new(0x2a), database, table);
        schema.push_tag(TagSchema { name: "device".into(), stored_name: "device".into() });
        push_field(&mut schema, 1, FieldType::Float, "°C");
        Self { root, store, schema }
    }

    fn folder(&self) -> Path {
        table_folder(&self.schema)
    }

    async fn create(&self) -> TableLog {
        TableLog::create(self.store.clone(), &self.folder(), &self.schema).await.unwrap()
    }

    async fn open(&self) -> Option<TableLog> {
        TableLog::open(self.store.clone(), &self.folder(), APP).await.unwrap()
    }

    /// Puts a file with `rows` rows, one a second from `start`, as the flush of `sequence`.
    async fn file(&self, start: i64, rows: usize, sequence: u64) -> DataFile {
        let key = canonical_key([(0, "d µ")].into_iter()).unwrap();
        let times: Vec<i64> =
            (0..rows).map(|i| start + i64::try_from(i).unwrap() * 1_000_000_000 + 7).collect();
        let column = |id, values: ArrayRef| FieldColumn { column: ColumnId::new(id), values };
        let mut fields = vec![column(1, Arc::new(Float64Array::from(vec![21.5; rows])))];
        if self.schema.fields.len() > 1 {
            fields.push(column(2, Arc::new(UInt64Array::from(vec![u64::MAX; rows]))));
        }
        let sorted = SortedRows {
            keys: std::iter::once(KeyRef::from_bytes(&key)).collect(),
            ends: vec![u32::try_from(rows).unwrap()],
            times: times.into(),
            fields,
        };
        let staged = self.root.path().join("staged.parquet");
        let written =
            parquet_file::tests::write(&LocalDisk, &staged, &self.schema, &sorted, TimeRange::ALL).unwrap();
        let date = date_of(Timestamp::from_nanos(start));
        let day = partition_folder(date).unwrap();
        let path = Path::parse(format!("{}/{day}/{sequence:016x}.parquet", self.folder())).unwrap();
        self.store.put(&path, fs::read(&staged).unwrap().into()).await.unwrap();
        DataFile {
            place: FilePlace::Table,
            path,
            date,
            rows: written.rows,
            bytes: written.bytes,
            checksum: written.checksum,
            times: written.times,
            sequences: SequenceRange { min: Sequence::new(sequence - 1), max: Sequence::new(sequence) },
            deleted_up_to: Sequence::new(sequence / 2),
            stats: written.stats,
        }
    }
}

fn push_field(schema: &mut TableSchema, id: u16, field_type: FieldType, name: &str) {
    let narrow = PhysicalColumn { id: ColumnId::new(id), field_type, stored_name: name.into(), scale: None };
    schema.push_field(FieldSchema { name: name.into(), narrow, wide: None });
}

fn sorted(mut files: Vec<DataFile>) -> Vec<DataFile> {
    files.sort_by_key(|file| file.sequences.max);
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn committed_files_are_there_after_a_reopen_as_they_were_given() {
    for table in ["°C", "a b", "µg/m³", "plain"] {
        let rig = Rig::new("db/rp", table);
        assert!(rig.open().await.is_none());
        let mut log = rig.create().await;
        let files = [rig.file(DAY, 10, 5).await, rig.file(DAY + 86_400_000_000_000, 3, 6).await];
        assert_eq!(log.commit(&files, APP, 6, None).await.unwrap(), 1);
        let third = rig.file(-5_000_000_000, 2, 9).await;
        assert_eq!(log.commit(std::slice::from_ref(&third), APP, 9, Some(&rig.schema)).await.unwrap(), 2);
        let wanted = [files[0].clone(), files[1].clone(), third];
        let again = rig.open().await.unwrap();
        for log in [&log, &again] {
            assert_eq!(sorted(log.files().unwrap()), wanted);
            assert_eq!(log.transaction_version(APP), Some(9));
            assert_eq!((log.version(), log.max_sequence().unwrap()), (2, Sequence::new(9)));
        }
        // Each file is where it says, and nothing else is in the table's folder.
        for file in again.files().unwrap() {
            let path = rig.root.path().join(file.path.as_ref());
            let content = fs::read(&path).unwrap();
            assert_eq!((content.len() as u64, crc32c::crc32c(&content)), (file.bytes, file.checksum));
        }
    }
}

#[tokio::test]
async fn a_version_that_was_committed_is_not_committed_again() {
    let rig = Rig::new("db", "room");
    let mut log = rig.create().await;
    let file = rig.file(DAY, 10, 5).await;
    log.commit(std::slice::from_ref(&file), APP, 5, None).await.unwrap();
    for version in [5, 4] {
        assert_eq!(log.commit(std::slice::from_ref(&file), APP, version, None).await.unwrap(), 1);
    }
    let mut again = rig.open().await.unwrap();
    assert_eq!(again.commit(std::slice::from_ref(&file), APP, 5, None).await.unwrap(), 1);
    assert_eq!(again.files().unwrap().len(), 1);
    // Another log's numbers are its own; a commit may carry no files.
    assert_eq!(again.commit(&[], "node-2:epoch", 1, None).await.unwrap(), 2);
    assert_eq!(again.transaction_version("node-2:epoch"), Some(1));
    assert_eq!(rig.create().await.version(), 2);
}

#[tokio::test]
async fn a_commit_happens_once_whatever_the_store_answers() {
    for fault in [Fault::FailBefore, Fault::FailAfter, Fault::ExistsAfter] {
        let mut rig = Rig::new("db", "room");
        let mut log = rig.create().await;
        let flaky = Arc::new(FlakyStore::new(rig.store.clone()));
        rig.store = flaky.clone();
        drop(log);
        log = rig.open().await.unwrap();
        let file = rig.file(DAY, 10, 5).await;
        flaky.fail_next(fault);
        assert_eq!(log.commit(std::slice::from_ref(&file), APP, 5, None).await.unwrap(), 1, "{fault:?}");
        assert!(!flaky.is_armed(), "{fault:?}");
        assert_eq!(log.files().unwrap(), [file]);
        assert_eq!(log.transaction_version(APP), Some(5));
    }
}

#[tokio::test]
async fn a_commit_after_a_stranger_s_commit_takes_the_next_version() {
    let rig = Rig::new("db", "room");
    let (mut first, mut second) = (rig.create().await, rig.open().await.unwrap());
    let (a, b) = (rig.file(DAY, 1, 5).await, rig.file(DAY, 1, 7).await);
    first.commit(std::slice::from_ref(&a), "other", 5, None).await.unwrap();
    assert_eq!(second.commit(std::slice::from_ref(&b), APP, 7, None).await.unwrap(), 2);
    assert_eq!(sorted(second.files().unwrap()), [a, b]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_lost_race_only_newer_entries_are_read() {
    let mut rig = Rig::new("db", "room");
    let mut first = rig.create().await;
    let mut wanted = Vec::new();
    for sequence in 1..=40 {
        let file = rig.file(DAY, 1, sequence).await;
        let version = i64::try_from(sequence).unwrap();
        first.commit(std::slice::from_ref(&file), "other", version, None).await.unwrap();
        wanted.push(file);
    }
    let counting = Arc::new(FlakyStore::new(rig.store.clone()));
    rig.store = counting.clone();
    let mut second = rig.open().await.unwrap();
    let (a, b, c) = (rig.file(DAY, 1, 41).await, rig.file(DAY, 1, 42).await, rig.file(DAY, 1, 43).await);
    first.commit(std::slice::from_ref(&a), "other", 41, None).await.unwrap();
    counting.take_reads();
    assert_eq!(second.commit(std::slice::from_ref(&b), APP, 42, None).await.unwrap(), 42);
    first.retire(&[Arc::new(a)], "other").await.unwrap();
    let merged = [Arc::new(wanted.remove(0)), Arc::new(wanted.remove(0))];
    assert!(second.replace(&merged, std::slice::from_ref(&c), Rows::Same, APP).await.unwrap());
    let reads = counting.take_reads();
    assert!(reads < 15, "{reads} requests for two entries and two commits");
    wanted.extend([b, c]);
    assert_eq!(sorted(second.files().unwrap()), wanted);
    assert_eq!(sorted(rig.open().await.unwrap().files().unwrap()), wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_columns_come_with_the_commit_that_first_has_them() {
    let mut rig = Rig::new("db", "room");
    let mut log = rig.create().await;
    let old = rig.file(DAY, 2, 5).await;
    log.commit(&[old], APP, 5, Some(&rig.schema)).await.unwrap();
    let before = rig.schema.clone();
    push_field(&mut rig.schema, 2, FieldType::Unsigned, "a%20b.c");
    let new = rig.file(DAY, 2, 8).await;
    log.commit(&[new], APP, 8, Some(&rig.schema)).await.unwrap();
    let log = rig.open().await.unwrap();
    let names: Vec<_> = log.state.schema().fields().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["device", "time", "busbar_time_ns", "°C", "busbar_date", "a%20b.c"]);
    let properties = log.state.metadata().configuration();
    assert_eq!(properties[SCHEMA_VERSION], rig.schema.version.to_string());
    assert_eq!(log.grown(&rig.schema).unwrap(), None);
    assert_eq!(log.grown(&before).unwrap(), None);

    // The older file has no such column: SQL sees nulls.
    let mut counts = Vec::new();
    for file in sorted(log.files().unwrap()) {
        let file = fs::File::open(rig.root.path().join(file.path.as_ref())).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
        for batch in reader {
            let batch = logical_batch(&rig.schema, &batch.unwrap(), None).unwrap();
            assert_eq!(batch.column(2).as_primitive::<Float64Type>().value(0), 21.5);
            counts.push(batch.column(3).null_count());
        }
    }
    assert_eq!(counts, [2, 0]);

    let mut changed = before;
    push_field(&mut changed, 2, FieldType::Text, "a%20b.c");
    assert!(matches!(log.grown(&changed), Err(Error::Internal(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_commits_with_checkpoints_keep_every_file_and_number() {
    let rig = Rig::new("db", "°C");
    let mut log = rig.create().await;
    log.checkpoint_commits = 10;
    let mut wanted = Vec::new();
    for number in 1..=30_u64 {
        let file = rig.file(DAY, 3, number).await;
        log.commit(std::slice::from_ref(&file), APP, i64::try_from(number).unwrap(), None).await.unwrap();
        wanted.push(file);
    }
    let folder = rig.root.path().join(rig.folder().as_ref()).join("_delta_log");
    let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut checkpoints: Vec<_> = names.filter(|name| name.contains("checkpoint")).collect();
    checkpoints.sort();
    let checkpoint = |version: u32| format!("{version:020}.checkpoint.parquet");
    assert_eq!(checkpoints, [checkpoint(9), checkpoint(19), checkpoint(29), "_last_checkpoint".to_owned()]);
    // The checkpoint alone must do.
    for version in 0..29 {
        fs::remove_file(folder.join(format!("{version:020}.json"))).unwrap();
    }
    let mut again = rig.open().await.unwrap();
    assert_eq!(sorted(again.files().unwrap()), wanted);
    assert_eq!((again.version(), again.transaction_version(APP)), (30, Some(30)));
    let next = rig.file(DAY, 3, 31).await;
    assert_eq!(again.commit(&[next], APP, 31, None).await.unwrap(), 31);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_returned_commit_and_its_checkpoint_survive_a_power_cut() {
    let mut rig = Rig::new("db", "°C");
    let disk = RecordingDisk::default();
    rig.store = Arc::new(DurableLocalStore::open_on(rig.root.path(), Arc::new(disk.clone())).unwrap());
    let mut log = rig.create().await;
    log.checkpoint_commits = 2;
    let file = rig.file(DAY, 1, 5).await;
    log.commit(std::slice::from_ref(&file), APP, 5, None).await.unwrap();
    let root = rig.root.path().canonicalize().unwrap();
    let entries = ["00000000000000000000.json", "00000000000000000001.json", "_last_checkpoint"];
    let folder = root.join(rig.folder().as_ref()).join("_delta_log");
    for entry in entries.into_iter().chain(["00000000000000000001.checkpoint.parquet"]) {
        assert!(disk.survives(&root, &folder.join(entry)), "{entry}");
    }
    assert!(disk.survives(&root, &root.join(file.path.as_ref())));
}

#[tokio::test]
async fn a_file_that_is_not_in_the_table_is_not_committed() {
    let rig = Rig::new("db", "room");
    let mut log = rig.create().await;
    let mut file = rig.file(DAY, 1, 5).await;
    file.place = FilePlace::Staged;
    assert!(matches!(log.commit(&[file.clone()], APP, 5, None).await, Err(Error::Internal(_))));
    file.place = FilePlace::Table;
    file.path = Path::from("elsewhere/x.parquet");
    assert!(matches!(log.commit(&[file], APP, 5, None).await, Err(Error::Internal(_))));
    assert_eq!(rig.open().await.unwrap().version(), 0);
}
