//! Parquet files as they are written, read back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int64Array, StringArray, UInt64Array,
};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::PageIndexPolicy;
use serde_json::{Value, json};

use super::*;
use crate::disk::LocalDisk;
use crate::layout::{logical_batch, physical_batch};
use crate::model::{
    ColumnId, DatabaseName, FieldColumn, FieldSchema, FieldType, PhysicalColumn, TableId, TableName,
    TagSchema,
};

fn schema() -> TableSchema {
    let database = DatabaseName::new("db").unwrap();
    let mut schema = TableSchema::new(TableId::new(1), database, TableName::new("room").unwrap());
    schema.push_tag(TagSchema { name: "device".into(), stored_name: "device".into() });
    schema.push_tag(TagSchema { name: "floor".into(), stored_name: "floor".into() });
    let types = [
        ("t", FieldType::Float),
        ("n", FieldType::Integer),
        ("u", FieldType::Unsigned),
        ("on", FieldType::Boolean),
        ("s", FieldType::Text),
    ];
    for (id, (name, field_type)) in (1..).zip(types) {
        let narrow = PhysicalColumn { id: ColumnId::new(id), field_type, stored_name: name.into() };
        schema.push_field(FieldSchema { name: name.into(), narrow, wide: None });
    }
    schema
}

fn batch(times: &[i64]) -> RecordBatch {
    let rows = times.len();
    let device: DictionaryArray<Int32Type> = (0..rows).map(|i| Some(["a", "b"][i * 2 / rows])).collect();
    let floor: DictionaryArray<Int32Type> = (0..rows).map(|_| None::<&str>).collect();
    let numbers = || (0..rows).map(|i| i64::try_from(i).unwrap());
    let fields: [(u16, ArrayRef); 5] = [
        (
            1,
            Arc::new(
                numbers()
                    .map(|i| (i % 3 != 0).then_some(f64::from(i32::try_from(i % 50).unwrap()) / 10.0))
                    .collect::<Float64Array>(),
            ),
        ),
        (2, Arc::new(numbers().map(|i| Some(-i)).collect::<Int64Array>())),
        (3, Arc::new(numbers().map(|i| Some(u64::MAX - i.unsigned_abs())).collect::<UInt64Array>())),
        (4, Arc::new(numbers().map(|i| Some(i % 2 == 0)).collect::<BooleanArray>())),
        (5, Arc::new(numbers().map(|i| Some(format!("text {i}"))).collect::<StringArray>())),
    ];
    let fields: Vec<_> =
        fields.into_iter().map(|(id, values)| FieldColumn { column: ColumnId::new(id), values }).collect();
    physical_batch(&schema(), vec![Arc::new(device), Arc::new(floor)], times, &fields).unwrap()
}

#[test]
fn a_file_is_read_back_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let times: Vec<i64> = (0..5_000).map(|i| i * 1_000_000_007 - 3).collect();
    let batch = batch(&times);
    let written = write(&LocalDisk, &path, &batch, &Settings::of(&schema())).unwrap();
    let content = fs::read(&path).unwrap();
    assert_eq!((written.bytes, written.rows), (content.len() as u64, 5_000));
    assert_eq!(written.checksum, crc32c::crc32c(&content));
    assert_eq!((written.times.min.nanos(), written.times.max.nanos()), (-3, times[4_999]));
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["x.parquet"]);

    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(&path).unwrap()).unwrap();
    let read: Vec<_> = reader.with_batch_size(1_000).build().unwrap().map(Result::unwrap).collect();
    let read: Vec<_> = read.iter().map(|b| logical_batch(&schema(), b, None).unwrap()).collect();
    let read = arrow::compute::concat_batches(&read[0].schema(), &read).unwrap();
    let logical = logical_batch(&schema(), &batch, None).unwrap();
    for (read, written) in read.columns().iter().zip(logical.columns()) {
        let plain = |column: &ArrayRef| arrow::compute::cast(column, &DataType::Utf8).unwrap();
        assert_eq!(&plain(read), &plain(written));
    }
}

#[test]
fn pages_are_indexed_encoded_and_declared_sorted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let times: Vec<i64> = (0..300_000).map(|i| i * 1_000_000_000).collect();
    write(&LocalDisk, &path, &batch(&times), &Settings::of(&schema())).unwrap();

    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
    let metadata = ArrowReaderMetadata::load(&fs::File::open(&path).unwrap(), options).unwrap();
    let metadata = metadata.metadata();
    assert!(metadata.column_index().is_some() && metadata.offset_index().is_some());
    let rows: Vec<_> = metadata.row_groups().iter().map(|group| group.num_rows()).collect();
    assert_eq!(rows, [262_144, 37_856]);
    let group = metadata.row_group(0);
    let sorted: Vec<_> =
        group.sorting_columns().unwrap().iter().map(|c| (c.column_idx, c.nulls_first)).collect();
    assert_eq!(sorted, [(0, false), (1, false), (2, false)]);
    let column = |name: &str| {
        group.columns().iter().find(|column| column.column_path().string() == name).unwrap().clone()
    };
    for delta in ["time", "n"] {
        assert!(column(delta).encodings().any(|e| e == Encoding::DELTA_BINARY_PACKED), "{delta}");
        assert!(column(delta).dictionary_page_offset().is_none(), "{delta}");
    }
    for dictionary in ["device", "t"] {
        assert!(column(dictionary).dictionary_page_offset().is_some(), "{dictionary}");
    }
    assert!(matches!(column("t").compression(), Compression::ZSTD(_)));
    assert_eq!(
        group.columns().iter().filter(|c| c.bloom_filter_offset().is_some()).count(),
        1,
        "only the device has a bloom filter"
    );

    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(&path).unwrap()).unwrap();
    let bloom = reader.get_row_group_column_bloom_filter(0, 0).unwrap().unwrap();
    assert!(bloom.check(&"a") && bloom.check(&"b"));
}

#[test]
fn statistics_bound_the_values() {
    let folder = tempfile::tempdir().unwrap();
    let times = [-1_500, 1_000, 2_001];
    let written =
        write(&LocalDisk, &folder.path().join("x"), &batch(&times), &Settings::of(&schema())).unwrap();
    let stats: Value = serde_json::from_str(&written.stats).unwrap();
    let expected = json!({
        "numRecords": 3,
        "minValues": {
            "device": "a", "time": "1969-12-31T23:59:59.999998Z", "busbar_time_ns": 0,
            "t": 0.1, "n": -2, "u": u64::MAX - 2,
        },
        "maxValues": {
            "device": "b", "time": "1970-01-01T00:00:00.000003Z", "busbar_time_ns": 500,
            "t": 0.2, "n": 0, "u": u64::MAX,
        },
        "nullCount": {
            "device": 0, "floor": 3, "time": 0, "busbar_time_ns": 0, "t": 1, "n": 0, "u": 0, "on": 0, "s": 0,
        },
    });
    assert_eq!(stats, expected);
}

#[test]
fn no_rows_or_no_folder_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let empty = batch(&[1]).slice(0, 0);
    assert!(write(&LocalDisk, &folder.path().join("x"), &empty, &Settings::default()).is_err());
    assert!(write(&LocalDisk, &folder.path().join("no/x"), &batch(&[1]), &Settings::default()).is_err());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_file_has_its_name_only_after_its_sync_and_the_folder_is_synced_last() {
    use crate::disk::recording::{Call, RecordingDisk};
    let folder = tempfile::tempdir().unwrap();
    let (path, temporary) = (folder.path().join("x"), folder.path().join("x.tmp"));
    let disk = RecordingDisk::default();
    write(&disk, &path, &batch(&[1, 2]), &Settings::default()).unwrap();
    let calls = disk.calls();
    let end = [
        Call::Write(temporary.clone()),
        Call::SyncFile(temporary.clone()),
        Call::Rename(temporary, path.clone()),
        Call::SyncFolder(folder.path().into()),
    ];
    assert!(calls.ends_with(&end), "{calls:?}");
    assert!(disk.survives(folder.path(), &path));

    disk.fail_next(|call| matches!(call, Call::SyncFile(_)));
    let again = write(&disk, &folder.path().join("y"), &batch(&[1]), &Settings::default());
    assert!(matches!(again, Err(Error::Io { .. })));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
