//! A device whose values are like nothing else, among others, and a search for them in every byte that is left.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray};
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::catalog::{Applied, SchemaChange};
use crate::engine::EngineConfig;
use crate::engine::tests::{DAY, Node, Rows, config};
use crate::last_value::LastValuesConfig;
use crate::log::encode_batch;
use crate::model::{DatabaseName, FieldColumn, FieldType, TableBatch, TableName, TableSchema, WriteBatch};
use crate::object::{StoreSettings, TableStore};
use crate::series::canonical_key;

/// The device that is deleted; it has three series.
pub(super) const SECRET_HOST: &str = "Xq7-erased-device";
/// The others.
pub(super) const OTHERS: &str = "other-device";
const SECRET_TEXT: &str = "Zw9-erased-text";
const DAYS: i64 = 30;

/// A value of the deleted device: its bits are unlike those of all others.
pub(super) fn secret_value(day: i64) -> f64 {
    f64::from_bits(0x40A7_E5D3_C1B9_8F00 + day.cast_unsigned())
}

/// What must not be found, and what it is.
pub(super) fn needles() -> Vec<(String, Vec<u8>)> {
    let mut needles = vec![
        (SECRET_HOST.to_owned(), SECRET_HOST.as_bytes().to_vec()),
        (SECRET_TEXT.to_owned(), SECRET_TEXT.as_bytes().to_vec()),
        // All but the lowest byte, in both orders.
        ("value".to_owned(), secret_value(0).to_le_bytes()[1..].to_vec()),
        ("value".to_owned(), secret_value(0).to_be_bytes()[..7].to_vec()),
    ];
    // As statistics have it; the last digits differ.
    needles.push(("number".to_owned(), secret_value(0).to_string().as_bytes()[..12].to_vec()));
    needles
}

/// A file or object, and what was read out of it.
pub(super) struct Bytes {
    name: String,
    raw: Vec<u8>,
}

impl Bytes {
    pub(super) fn of(name: &str, raw: Vec<u8>) -> Self {
        Self { name: name.to_owned(), raw }
    }

    /// What is found of the needles, as it lies and as Parquet is read.
    pub(super) fn traces(&self, needles: &[(String, Vec<u8>)]) -> Vec<String> {
        let mut found: Vec<String> = needles
            .iter()
            .filter(|(_, needle)| memchr::memmem::find(&self.raw, needle).is_some())
            .map(|(what, _)| format!("{what} in {}", self.name))
            .collect();
        if self.name.ends_with(".parquet") && self.raw.starts_with(b"PAR1") {
            let text = decoded(self.raw.clone());
            for (what, needle) in needles {
                let needle = String::from_utf8_lossy(needle);
                if text.contains(&*needle) {
                    found.push(format!("{what} as a row in {}", self.name));
                }
            }
        }
        found
    }
}

/// All rows of a Parquet file as text.
fn decoded(bytes: Vec<u8>) -> String {
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap().build().unwrap();
    reader.map(|batch| format!("{:?}", batch.unwrap())).collect()
}

pub(super) struct World {
    pub(super) node: Node,
    /// Rows of the others.
    pub(super) expected: Rows,
    folder: PathBuf,
    store: Option<Arc<InMemory>>,
}

impl World {
    /// An engine on a folder that is there.
    pub(super) async fn of(folder: &Path, expected: Rows) -> Self {
        let node = Node::open_with(settings(folder, None)).await;
        Self { node, expected, folder: folder.to_owned(), store: None }
    }

    /// Thirty days of rows: overwritten, flushed, merged, saved as last values, restarted, and some in memory.
    pub(super) async fn lived_in(folder: &Path, store: Option<Arc<InMemory>>) -> Self {
        let node = Node::open_with(settings(folder, store.as_ref())).await;
        let mut world = Self { node, expected: Rows::new(), folder: folder.to_owned(), store };
        world.schema();
        for day in 0..DAYS {
            world.write_day(day, 1);
            world.write_day(day, 2);
            if day % 3 == 2 {
                world.node.engine.flush().await.unwrap();
            }
            if day == 14 {
                world.node.engine.compact(true).await.unwrap();
            }
        }
        world.node.engine.flush().await.unwrap();
        world.node.engine.close().await.unwrap();
        world.restart().await;
        // Some of it only in files, some in staged ones, some in memory.
        world.write_day(3, 3);
        world.node.engine.flush().await.unwrap();
        world.write_day(DAYS, 1);
        world
    }

    pub(super) async fn restart(&mut self) {
        let folder = self.folder.clone();
        let settings = settings(&folder, self.store.as_ref());
        let aside = tempfile::tempdir().unwrap();
        // The lock of the folder is free when the engine is dropped.
        self.node = Node::open(aside.path()).await;
        self.node = Node::open_with(settings).await;
    }

    fn schema(&self) -> Arc<TableSchema> {
        if let Some(schema) = self.node.engine.catalog().table("db", "t") {
            return schema;
        }
        let change = SchemaChange {
            database: DatabaseName::new("db").unwrap(),
            table: TableName::new("t").unwrap(),
            base: None,
            tags: vec!["host".into()],
            fields: vec![("v".into(), FieldType::Float), ("note".into(), FieldType::Text)],
            widen: vec![],
        };
        match self.node.engine.catalog().apply(&change).unwrap() {
            Applied::Schema(schema) => schema,
            Applied::Stale | Applied::Unborn => panic!("stale"),
        }
    }

    /// One day of the device and of two others, the `version`th time.
    fn write_day(&mut self, day: i64, version: i64) {
        let mut rows: Vec<(String, i64, f64, String)> = Vec::new();
        for hour in 0..6 {
            let time = day * DAY + hour * 3_600_000_000_000;
            let text = format!("{SECRET_TEXT}-{day}-{hour}-{version}");
            rows.push((SECRET_HOST.into(), time, secret_value(day + version), text));
        }
        self.write(&rows);
        self.write_others_at(day, version);
    }

    /// A day of the others alone.
    pub(super) fn write_others(&mut self, day: i64) {
        self.write_others_at(day, 1);
    }

    fn write_others_at(&mut self, day: i64, version: i64) {
        let mut rows = Vec::new();
        for host in 0..2 {
            for hour in 0..6 {
                let time = day * DAY + hour * 3_600_000_000_000;
                let value = (day * 100 + hour + version) as f64;
                rows.push((format!("{OTHERS}-{host}"), time, value, format!("fine-{version}")));
                self.expected.insert((format!("{OTHERS}-{host}"), time), value);
            }
        }
        self.write(&rows);
    }

    fn write(&mut self, rows: &[(String, i64, f64, String)]) {
        let schema = self.schema();
        let series = |host: &str| {
            let key = canonical_key(std::iter::once((0, host))).unwrap();
            self.node.engine.series().lookup("db").resolve(schema.id, &key).unwrap().id.get()
        };
        let values: Float64Array = rows.iter().map(|row| Some(row.2)).collect();
        let notes: StringArray = rows.iter().map(|row| Some(row.3.as_str())).collect();
        let column =
            |field: usize, values: ArrayRef| FieldColumn { column: schema.fields[field].narrow.id, values };
        let batch = TableBatch {
            table: schema.id,
            series: rows.iter().map(|row| series(&row.0)).collect(),
            times: rows.iter().map(|row| row.1).collect(),
            fields: vec![column(0, Arc::new(values)), column(1, Arc::new(notes))],
        };
        let encoded = encode_batch(WriteBatch::of(vec![batch])).unwrap();
        self.node.committer.append(vec![encoded]).unwrap().sync().unwrap().publish();
        // As the writer does when it has nothing to do.
        self.node.committer.confirm().unwrap();
    }

    /// Deletes the device from all thirty days.
    pub(super) fn delete(&mut self) {
        self.node.delete(&["t"], Some(SECRET_HOST), (0, (DAYS + 1) * DAY));
        self.node.committer.confirm().unwrap();
    }

    /// Reads parts of every file, as queries do.
    pub(super) async fn read_ranges(&self, schema: &TableSchema) {
        let snapshot = self.node.engine.snapshot();
        for file in &snapshot.table(schema.id).unwrap().files {
            let store = self.node.engine.store(file.place);
            store.get_range(&file.path, 0..file.bytes).await.unwrap();
        }
    }

    /// Everything that is left of the device: in files of the data directory, in the store, in the definitions.
    pub(super) async fn traces(&self) -> Vec<String> {
        let mut all = Vec::new();
        files_below(&self.folder, &self.folder, &mut all);
        if let Some(store) = &self.store {
            for object in store.list(None).try_collect::<Vec<_>>().await.unwrap() {
                let bytes = store.get(&object.location).await.unwrap().bytes().await.unwrap();
                all.push(Bytes::of(object.location.as_ref(), bytes.to_vec()));
            }
        }
        assert!(all.len() > 3);
        let needles = needles();
        all.iter().flat_map(|bytes| bytes.traces(&needles)).collect()
    }
}

fn settings(folder: &Path, store: Option<&Arc<InMemory>>) -> EngineConfig {
    let last_values = LastValuesConfig { save_bytes: 1, save_files: 1, ..LastValuesConfig::default() };
    let store = store.map_or_else(StoreSettings::default, |store| StoreSettings {
        tables: TableStore::Given(Arc::clone(store) as Arc<dyn ObjectStore>),
        cache_bytes: 16 << 20,
        ..StoreSettings::default()
    });
    EngineConfig { last_values, store, ..config(folder) }
}

fn files_below(root: &Path, folder: &Path, all: &mut Vec<Bytes>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(root, &path, all);
        } else {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            all.push(Bytes::of(&name, std::fs::read(&path).unwrap()));
        }
    }
}
