//! `system.tables` and `system.files`: what the snapshot of this query holds; `system.memory`: what the engine takes.
//!
//! Invariant: a query that names a database sees only that database's tables here; one that names none sees
//! all of them.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampNanosecondArray, UInt32Array, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use storage::model::{DataFile, FilePlace, TableSchema, TimeRange};
use storage::view::{Snapshot, TableView};

use super::external::{ExternalError, ExternalSchema, ExternalTable};
use crate::source::Source;

/// The tables of the schema `system`.
pub(super) fn tables(source: &Source, snapshot: &Snapshot, database: Option<&str>) -> ExternalSchema {
    let scope =
        Scope { source: source.clone(), snapshot: snapshot.clone(), database: database.map(str::to_owned) };
    let mut schema = ExternalSchema::default();
    schema.add("tables", Arc::new(Tables(scope.clone())));
    schema.add("files", Arc::new(Files(scope)));
    schema.add("memory", Arc::new(Memory(source.clone())));
    schema
}

#[derive(Debug, Clone)]
struct Scope {
    source: Source,
    snapshot: Snapshot,
    database: Option<String>,
}

impl Scope {
    /// The tables that this query may see, by database and name, each with its view if it has rows.
    fn tables(&self) -> Vec<(Arc<TableSchema>, Arc<TableView>)> {
        let catalog = self.source.engine.catalog();
        let databases = catalog.databases();
        let wanted = databases
            .iter()
            .filter(|name| self.database.as_deref().is_none_or(|database| database == name.as_str()));
        let schemas = wanted.flat_map(|name| catalog.tables(name.as_str()));
        schemas
            .map(|schema| {
                let view = self.snapshot.table(schema.id).cloned().unwrap_or_default();
                (schema, view)
            })
            .collect()
    }
}

#[derive(Debug)]
struct Tables(Scope);

#[async_trait]
impl ExternalTable for Tables {
    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![
            text("database"),
            text("table"),
            Field::new("id", DataType::UInt32, false),
            count("columns"),
            count("rows_in_memory"),
            count("files"),
            count("file_rows"),
            count("bytes"),
            time("min_time"),
            time("max_time"),
        ]))
    }

    async fn scan(&self) -> Result<Vec<RecordBatch>, ExternalError> {
        let tables = self.0.tables();
        let times: Vec<_> = tables.iter().map(|(_, view)| view_times(view)).collect();
        let sum = |of: fn(&DataFile) -> u64| counts(&tables, |(_, v)| v.files.iter().map(|f| of(f)).sum());
        let columns: Vec<ArrayRef> = vec![
            texts(&tables, |(schema, _)| schema.database.to_string()),
            texts(&tables, |(schema, _)| schema.name.to_string()),
            Arc::new(tables.iter().map(|(schema, _)| Some(schema.id.get())).collect::<UInt32Array>()),
            counts(&tables, |(schema, _)| 1 + (schema.tags.len() + schema.fields.len()) as u64),
            counts(&tables, |(_, view)| view.memory_rows() as u64),
            counts(&tables, |(_, view)| view.files.len() as u64),
            sum(|file| file.rows),
            sum(|file| file.bytes),
            nanos(times.iter().map(|times| times.map(|t| t.min.nanos()))),
            nanos(times.iter().map(|times| times.map(|t| t.max.nanos()))),
        ];
        Ok(vec![RecordBatch::try_new(self.schema(), columns)?])
    }
}

#[derive(Debug)]
struct Files(Scope);

#[async_trait]
impl ExternalTable for Files {
    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![
            text("database"),
            text("table"),
            text("place"),
            text("path"),
            count("rows"),
            count("bytes"),
            time("min_time"),
            time("max_time"),
            count("min_sequence"),
            count("max_sequence"),
        ]))
    }

    async fn scan(&self) -> Result<Vec<RecordBatch>, ExternalError> {
        let tables = self.0.tables();
        let files: Vec<(&TableSchema, &DataFile)> = tables
            .iter()
            .flat_map(|(schema, view)| view.files.iter().map(move |file| (schema.as_ref(), file.as_ref())))
            .collect();
        let columns: Vec<ArrayRef> = vec![
            texts(&files, |(schema, _)| schema.database.to_string()),
            texts(&files, |(schema, _)| schema.name.to_string()),
            texts(&files, |(_, file)| place_name(file.place).to_owned()),
            texts(&files, |(_, file)| file.path.to_string()),
            counts(&files, |(_, file)| file.rows),
            counts(&files, |(_, file)| file.bytes),
            nanos(files.iter().map(|(_, file)| Some(file.times.min.nanos()))),
            nanos(files.iter().map(|(_, file)| Some(file.times.max.nanos()))),
            counts(&files, |(_, file)| file.sequences.min.get()),
            counts(&files, |(_, file)| file.sequences.max.get()),
        ];
        Ok(vec![RecordBatch::try_new(self.schema(), columns)?])
    }
}

/// What each part of the engine takes of memory, and may take (MEM-1).
#[derive(Debug)]
struct Memory(Source);

#[async_trait]
impl ExternalTable for Memory {
    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![text("part"), count("bytes"), count("limit_bytes")]))
    }

    async fn scan(&self) -> Result<Vec<RecordBatch>, ExternalError> {
        let parts = self.0.engine.memory_use();
        let columns = vec![
            texts(&parts, |part| part.part.to_owned()),
            counts(&parts, |part| part.bytes as u64),
            counts(&parts, |part| part.limit as u64),
        ];
        Ok(vec![RecordBatch::try_new(self.schema(), columns)?])
    }
}

/// The times of all rows, in memory and in files.
fn view_times(view: &TableView) -> Option<TimeRange> {
    view.files.iter().map(|file| file.times).chain(view.memory_times()).reduce(TimeRange::union)
}

fn place_name(place: FilePlace) -> &'static str {
    match place {
        FilePlace::Staged => "staged",
        FilePlace::Table => "table",
    }
}

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, false)
}

fn count(name: &str) -> Field {
    Field::new(name, DataType::UInt64, false)
}

fn time(name: &str) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Nanosecond, None), true)
}

fn texts<T>(rows: &[T], value: impl Fn(&T) -> String) -> ArrayRef {
    Arc::new(rows.iter().map(|row| Some(value(row))).collect::<StringArray>())
}

fn counts<T>(rows: &[T], value: impl Fn(&T) -> u64) -> ArrayRef {
    Arc::new(rows.iter().map(|row| Some(value(row))).collect::<UInt64Array>())
}

fn nanos(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<TimestampNanosecondArray>())
}
