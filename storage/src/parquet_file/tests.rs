//! Parquet files as they are written, read back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod extremes;
mod groups;
mod scaled;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, StringArray, UInt64Array,
};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::{Compression, Encoding};
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::disk::{Disk, LocalDisk};
use crate::error::{Error, Result};
use crate::layout::{logical_batch, logical_rows};
use crate::model::{
    ColumnId, DatabaseName, FieldColumn, FieldSchema, FieldType, PhysicalColumn, TableId, TableName,
    TableSchema, TagSchema, TimeRange, Timestamp,
};
use crate::rows::SortedRows;
use crate::series::{KeyRef, SeriesKey, canonical_key};

/// Writes one file of the rows within `times`.
pub(crate) fn write(
    disk: &dyn Disk,
    path: &Path,
    schema: &TableSchema,
    rows: &SortedRows,
    times: TimeRange,
) -> Result<WrittenFile> {
    let (files, columns) = ([(path.to_owned(), times)], Columns::of(rows).fields);
    let written = write_by_field(disk, &files, schema, rows, &columns, |field| Ok(rows.field(field)));
    written.map(|mut written| written.remove(0))
}

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
        let narrow =
            PhysicalColumn { id: ColumnId::new(id), field_type, stored_name: name.into(), scale: None };
        schema.push_field(FieldSchema { name: name.into(), narrow, wide: None });
    }
    schema
}

fn key(device: Option<&str>, floor: Option<&str>) -> SeriesKey {
    let tags = [(0, device), (1, floor)].into_iter().filter_map(|(position, value)| Some((position, value?)));
    SeriesKey::from_bytes(&canonical_key(tags).unwrap())
}

fn fields(rows: usize) -> Vec<FieldColumn> {
    let numbers = || (0..rows).map(|i| i64::try_from(i).unwrap());
    let tenths = |i: i64| f64::from(i32::try_from(i % 50).unwrap()) / 10.0;
    let fields: [(u16, ArrayRef); 5] = [
        (1, Arc::new(numbers().map(|i| (i % 3 != 0).then_some(tenths(i))).collect::<Float64Array>())),
        (2, Arc::new(numbers().map(|i| Some(-i)).collect::<Int64Array>())),
        (3, Arc::new(numbers().map(|i| Some(u64::MAX - i.unsigned_abs())).collect::<UInt64Array>())),
        (4, Arc::new(numbers().map(|i| Some(i % 2 == 0)).collect::<BooleanArray>())),
        (5, Arc::new(numbers().map(|i| Some(format!("text {i}"))).collect::<StringArray>())),
    ];
    fields.into_iter().map(|(id, values)| FieldColumn { column: ColumnId::new(id), values }).collect()
}

/// The first half of these times is of device a, the second of b.
fn rows(times: &[i64]) -> SortedRows {
    let all = u32::try_from(times.len()).unwrap();
    let (keys, ends) = match all {
        1 => (vec![key(Some("a"), None)], vec![1]),
        _ => (vec![key(Some("a"), None), key(Some("b"), None)], vec![all.div_ceil(2), all]),
    };
    let keys = keys.iter().map(SeriesKey::borrowed).collect();
    SortedRows { keys, ends, times: times.to_vec().into(), fields: fields(times.len()) }
}

/// What a file holds, as one batch of logical columns.
fn logical(path: &Path) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap();
    let read: Vec<_> = reader.with_batch_size(1_000).build().unwrap().map(Result::unwrap).collect();
    let read: Vec<_> = read.iter().map(|b| logical_batch(&schema(), b, None).unwrap()).collect();
    arrow::compute::concat_batches(&read[0].schema(), &read).unwrap()
}

fn same(read: &RecordBatch, written: &RecordBatch) {
    for (read, written) in read.columns().iter().zip(written.columns()) {
        let plain = |column: &ArrayRef| arrow::compute::cast(column, &DataType::Utf8).unwrap();
        assert_eq!(&plain(read), &plain(written));
    }
}

#[test]
fn a_file_is_read_back_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let times: Vec<i64> = (0..5_000).map(|i| i * 1_000_000_007 - 3).collect();
    let rows = rows(&times);
    let written = write(&LocalDisk, &path, &schema(), &rows, TimeRange::ALL).unwrap();
    let content = fs::read(&path).unwrap();
    assert_eq!((written.bytes, written.rows), (content.len() as u64, 5_000));
    assert_eq!(written.checksum, crc32c::crc32c(&content));
    assert_eq!((written.times.min.nanos(), written.times.max.nanos()), (-3, times[4_999]));
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["x.parquet"]);

    same(&logical(&path), &logical_rows(&schema(), &rows, None).unwrap());
}

#[test]
fn pages_are_indexed_encoded_and_declared_sorted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let times: Vec<i64> = (0..300_000).map(|i| i * 1_000_000_000).collect();
    write(&LocalDisk, &path, &schema(), &rows(&times), TimeRange::ALL).unwrap();

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
    assert!(column("on").encodings().any(|e| e == Encoding::RLE));
    for dictionary in ["device", "t"] {
        assert!(column(dictionary).dictionary_page_offset().is_some(), "{dictionary}");
    }
    assert!(group.columns().iter().all(|column| matches!(column.compression(), Compression::ZSTD(_))));
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
        write(&LocalDisk, &folder.path().join("x"), &schema(), &rows(&times), TimeRange::ALL).unwrap();
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
    let write_to = |name: &str, rows: &SortedRows| {
        write(&LocalDisk, &folder.path().join(name), &schema(), rows, TimeRange::ALL)
    };
    assert!(write_to("x", &SortedRows::default()).is_err());
    assert!(write_to("no/x", &rows(&[1])).is_err());
    let path = folder.path().join("y");
    let mut writer = FileWriter::create(&LocalDisk, &path, &schema(), &Columns::all(&schema())).unwrap();
    writer.write(&rows(&[5, 6])).unwrap();
    assert!(writer.write(&rows(&[5, 6])).is_err(), "rows must ascend");
    drop(writer);
    let mut writer = FileWriter::create(&LocalDisk, &path, &schema(), &Columns::default()).unwrap();
    assert!(writer.write(&rows(&[5_000, 6_000])).is_err(), "columns were not declared");
    drop(writer);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_file_has_its_name_only_after_its_sync_and_the_folder_is_synced_last() {
    use crate::disk::recording::{Call, RecordingDisk};
    let folder = tempfile::tempdir().unwrap();
    let (path, temporary) = (folder.path().join("x"), folder.path().join("x.tmp"));
    let disk = RecordingDisk::default();
    let write_on = |path: &Path, times: &[i64]| {
        let mut writer = FileWriter::create(&disk, path, &schema(), &Columns::all(&schema()))?;
        writer.write(&rows(times))?;
        writer.finish()
    };
    write_on(&path, &[1, 2]).unwrap();
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
    let again = write_on(&folder.path().join("y"), &[1]);
    assert!(matches!(again, Err(Error::Io { .. })));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// Series in order: device and floor, and how many rows each has.
fn series() -> impl Strategy<Value = Vec<(Option<u16>, Option<u16>, usize)>> {
    let tag = || proptest::option::weighted(0.8, 0_u16..300);
    let rows = prop_oneof![4 => 1..20_usize, 1 => 20_usize..30_000];
    proptest::collection::vec((tag(), tag(), rows), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn rows_come_back_however_they_are_cut(series in series(), cuts in proptest::collection::vec(0.0..1.0, 0..4)) {
        let name = |tag: Option<u16>| tag.map(|tag| format!("{tag}µ{}", "x".repeat(usize::from(tag) / 3)));
        let mut keys: Vec<_> = series
            .iter()
            .map(|(device, floor, rows)| (key(name(*device).as_deref(), name(*floor).as_deref()), *rows))
            .collect();
        keys.sort_by(|(a, _), (b, _)| a.borrowed().cmp(&b.borrowed()));
        keys.dedup_by(|a, b| a.0 == b.0);
        let mut all = SortedRows::default();
        let mut times = Vec::new();
        all.keys = keys.iter().map(|(key, _)| key.borrowed()).collect();
        for (_, rows) in keys {
            times.extend((0..rows).map(|row| i64::try_from(row).unwrap() * 1_000 - 7));
            all.ends.push(u32::try_from(times.len()).unwrap());
        }
        all.fields = fields(times.len());
        all.times = times.into();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let mut writer = FileWriter::create(&LocalDisk, &path, &schema(), &Columns::of(&all)).unwrap();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a part of the rows")]
        let mut cuts: Vec<usize> = cuts.iter().map(|cut: &f64| (cut * all.rows() as f64) as usize).collect();
        cuts.extend([0, all.rows()]);
        cuts.sort_unstable();
        for cut in cuts.windows(2) {
            writer.write(&part(&all, cut[0], cut[1])).unwrap();
        }
        prop_assert_eq!(writer.finish().unwrap().rows, all.rows() as u64);
        same(&logical(&path), &logical_rows(&schema(), &all, None).unwrap());
        tags_are_described(&path);

        let nanos = Timestamp::from_nanos;
        let times = TimeRange::new(nanos(2_500), nanos(9_000));
        let some = all.within(times).unwrap();
        let written = write(&LocalDisk, &path, &schema(), &all, times);
        if some.rows() == 0 {
            prop_assert!(written.is_err());
        } else {
            let written = written.unwrap();
            prop_assert_eq!(written.rows, some.rows() as u64);
            prop_assert_eq!(Some(written.times), TimeRange::of(&some.times));
            same(&logical(&path), &logical_rows(&schema(), &some, None).unwrap());
        }
    }
}

fn part(all: &SortedRows, from: usize, to: usize) -> SortedRows {
    let mut part = SortedRows { times: all.times.slice(from, to - from), ..SortedRows::default() };
    for (series, (_, run)) in all.runs().enumerate() {
        let end = run.end.clamp(from, to) - from;
        if end > run.start.clamp(from, to) - from {
            part.keys.push_from(&all.keys, series);
            part.ends.push(u32::try_from(end).unwrap());
        }
    }
    // A column without values in this part is not in it.
    for (number, field) in all.fields.iter().enumerate() {
        let values = field.values.slice(from, to - from);
        if values.null_count() < values.len() || number % 2 == 0 && to - from > 9 {
            part.fields.push(FieldColumn { column: field.column, values });
        }
    }
    part
}

/// Statistics, page index and bloom filter of the tags say what a reader finds in their pages.
fn tags_are_described(path: &Path) {
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
    let metadata = ArrowReaderMetadata::load(&fs::File::open(path).unwrap(), options.clone()).unwrap();
    let metadata = metadata.metadata();
    for (number, group) in metadata.row_groups().iter().enumerate() {
        let read = ParquetRecordBatchReaderBuilder::try_new_with_options(
            fs::File::open(path).unwrap(),
            options.clone(),
        );
        let read = read.unwrap();
        let bloom = read.get_row_group_column_bloom_filter(number, 0).unwrap().unwrap();
        let rows = usize::try_from(group.num_rows()).unwrap();
        let batch = read
            .with_row_groups(vec![number])
            .with_batch_size(rows)
            .build()
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        for tag in 0..2 {
            let text = arrow::compute::cast(batch.column(tag), &DataType::Utf8).unwrap();
            let text = text.as_string::<i32>();
            let statistics = group.column(tag).statistics().unwrap();
            assert_eq!(statistics.null_count_opt(), Some(text.null_count() as u64));
            let bytes = text.iter().flatten().map(str::as_bytes);
            assert!(bytes.clone().all(|v| statistics.min_bytes_opt().unwrap() <= v));
            assert!(bytes.clone().all(|v| statistics.max_bytes_opt().unwrap() >= v));
            assert!(tag > 0 || bytes.clone().all(|v| bloom.check(v)));
            let pages = metadata.offset_index().unwrap()[number][tag].page_locations();
            let ColumnIndexMetaData::BYTE_ARRAY(index) = &metadata.column_index().unwrap()[number][tag]
            else {
                panic!("a tag has an index of text")
            };
            for (page, location) in pages.iter().enumerate() {
                let from = usize::try_from(location.first_row_index).unwrap();
                let to =
                    pages.get(page + 1).map_or(rows, |next| usize::try_from(next.first_row_index).unwrap());
                let values = text.slice(from, to - from);
                assert_eq!(index.null_count(page), Some(i64::try_from(values.null_count()).unwrap()));
                for value in values.iter().flatten().map(str::as_bytes) {
                    assert!(
                        index.min_value(page).unwrap() <= value && value <= index.max_value(page).unwrap()
                    );
                }
            }
        }
    }
}
