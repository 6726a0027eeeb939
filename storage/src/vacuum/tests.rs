//! Tests of the vacuum: what is wanted stays, what is not goes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::VacuumConfig;
use crate::catalog::{Applied, SchemaChange};
use crate::compaction::CompactionConfig;
use crate::engine::{Committer, Engine, EngineConfig};
use crate::log::encode_batch;
use crate::model::{DatabaseName, FieldColumn, FieldType, TableBatch, TableName, TableSchema, WriteBatch};
use crate::series::canonical_key;

async fn open(folder: &Path, vacuum: VacuumConfig) -> (Engine, Committer, Arc<TableSchema>) {
    let compaction = CompactionConfig { enabled: false, ..CompactionConfig::default() };
    let config = EngineConfig { compaction, vacuum, ..EngineConfig::new(folder) };
    let (engine, committer) = Engine::open(config).await.unwrap();
    let change = SchemaChange {
        database: DatabaseName::new("db").unwrap(),
        table: TableName::new("t").unwrap(),
        base: engine.catalog().table("db", "t"),
        tags: vec!["host".into()],
        fields: vec![("v".into(), FieldType::Float)],
        widen: vec![],
    };
    let known = engine.catalog().table("db", "t");
    let schema = known.unwrap_or_else(|| match engine.catalog().apply(&change).unwrap() {
        Applied::Schema(schema) => schema,
        Applied::Stale | Applied::Unborn => panic!("stale"),
    });
    (engine, committer, schema)
}

/// Writes and flushes one row.
async fn flush_row(engine: &Engine, committer: &mut Committer, schema: &TableSchema, time: i64) {
    let key = canonical_key(std::iter::once((0, "a"))).unwrap();
    let series = engine.series().lookup("b").resolve(schema.id, &key).unwrap().id.get();
    let values = Arc::new(arrow::array::Float64Array::from(vec![1.0]));
    let batch = TableBatch {
        table: schema.id,
        series: vec![series].into(),
        times: vec![time].into(),
        fields: vec![FieldColumn { column: schema.fields[0].narrow.id, values }],
    };
    let encoded = encode_batch(WriteBatch::of(vec![batch])).unwrap();
    committer.append(vec![encoded]).unwrap().sync().unwrap().publish();
    engine.flush().await.unwrap();
}

/// The Parquet files in the folders of all tables.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.join("tables")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "parquet")
                && !path.to_string_lossy().contains("_delta_log")
            {
                found.push(path);
            }
        }
    }
    found
}

const NOTHING_KEPT: VacuumConfig = VacuumConfig { min_age: Duration::ZERO, keep_replaced: Duration::ZERO };

#[tokio::test]
async fn what_compaction_replaced_and_what_nobody_committed_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, mut committer, schema) = open(folder.path(), NOTHING_KEPT).await;
    for time in 0..4 {
        flush_row(&engine, &mut committer, &schema, time).await;
    }
    assert_eq!(engine.vacuum().await.unwrap().objects, 0, "every file is wanted");
    assert_eq!(engine.compact(true).await.unwrap(), 1);
    let orphan = files(folder.path())[0].with_file_name("left-by-a-crash.parquet");
    std::fs::write(&orphan, "bytes").unwrap();
    assert_eq!(files(folder.path()).len(), 6);
    let removed = engine.vacuum().await.unwrap();
    assert_eq!(removed.objects, 5);
    assert!(removed.bytes > 5);
    let snapshot = engine.snapshot();
    let live = &snapshot.table(schema.id).unwrap().files;
    assert_eq!((live.len(), files(folder.path()).len()), (1, 1));
    assert!(files(folder.path())[0].ends_with(live[0].path.filename().unwrap()));
    assert_eq!(engine.vacuum().await.unwrap().objects, 0);
}

#[tokio::test]
async fn what_is_young_or_was_replaced_lately_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, mut committer, schema) = open(folder.path(), VacuumConfig::default()).await;
    for time in 0..3 {
        flush_row(&engine, &mut committer, &schema, time).await;
    }
    engine.compact(true).await.unwrap();
    let orphan = files(folder.path())[0].with_file_name("on-its-way.parquet");
    std::fs::write(&orphan, "bytes").unwrap();
    assert_eq!(engine.vacuum().await.unwrap().objects, 0);
    drop((engine, committer));
    // Old enough, yet old versions of the table are still kept.
    let config = VacuumConfig { min_age: Duration::ZERO, ..VacuumConfig::default() };
    let (engine, _committer, _) = open(folder.path(), config).await;
    assert_eq!(engine.vacuum().await.unwrap().objects, 1, "the orphan goes");
    assert_eq!(files(folder.path()).len(), 4, "what was replaced today stays");
}
