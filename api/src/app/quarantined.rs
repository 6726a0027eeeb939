//! `system.quarantine`: the lines that could not be stored, as rows.
//!
//! Invariant: a query that names a database sees only that database's lines.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampNanosecondArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use query::{ExternalError, ExternalTable};
use storage::quarantine::{Filter, KeptLine, LineId, Quarantine};

/// Lines of one batch: DataFusion's own batch size.
const BATCH_LINES: usize = 8_192;

/// Bytes of the lines of one batch, as they are read.
const BATCH_BYTES: u64 = 8 << 20;

/// Bytes of a line that a row shows: what the quarantine keeps must not fill the memory of queries.
const SHOWN_BYTES: usize = 256;

#[derive(Debug)]
pub(super) struct QuarantineTable(pub(super) Arc<Quarantine>);

#[async_trait::async_trait]
impl ExternalTable for QuarantineTable {
    fn schema(&self) -> SchemaRef {
        let text = |name: &str| Field::new(name, DataType::Utf8, false);
        let time = |name: &str, nullable| {
            Field::new(name, DataType::Timestamp(TimeUnit::Nanosecond, None), nullable)
        };
        let count = |name: &str| Field::new(name, DataType::UInt64, false);
        Arc::new(Schema::new(vec![
            count("id"),
            time("received_at", false),
            text("database"),
            Field::new("table", DataType::Utf8, true),
            time("time", true),
            text("reason"),
            text("detail"),
            text("protocol"),
            text("precision"),
            text("form"),
            count("bytes"),
            text("line"),
        ]))
    }

    async fn scan(&self) -> Result<Vec<RecordBatch>, ExternalError> {
        self.scan_of(None).await
    }

    async fn scan_of(&self, database: Option<&str>) -> Result<Vec<RecordBatch>, ExternalError> {
        let filter = Filter { database: database.map(str::to_owned), ..Filter::default() };
        let (mut batches, mut after) = (Vec::new(), None);
        loop {
            let lines = self.0.page(filter.clone(), after, (BATCH_LINES, BATCH_BYTES)).await?;
            let Some((last, _)) = lines.last() else { return Ok(batches) };
            after = Some(*last);
            batches.push(self.batch(&lines)?);
        }
    }
}

impl QuarantineTable {
    fn batch(&self, lines: &[(LineId, KeptLine)]) -> Result<RecordBatch, ExternalError> {
        let text = |get: fn(&KeptLine) -> &str| -> ArrayRef {
            Arc::new(lines.iter().map(|(_, line)| Some(get(line))).collect::<StringArray>())
        };
        let count = |get: fn(&(LineId, KeptLine)) -> u64| -> ArrayRef {
            Arc::new(lines.iter().map(get).collect::<UInt64Array>())
        };
        let time = |get: fn(&KeptLine) -> Option<i64>| -> ArrayRef {
            Arc::new(lines.iter().map(|(_, line)| get(line)).collect::<TimestampNanosecondArray>())
        };
        let shown = lines.iter().map(|(_, line)| {
            let beginning = line.content.get(..SHOWN_BYTES).unwrap_or(&line.content);
            Some(String::from_utf8_lossy(beginning).into_owned())
        });
        let columns = vec![
            count(|(id, _)| id.get()),
            time(|line| Some(line.received_at.nanos())),
            text(|line| &line.database),
            Arc::new(lines.iter().map(|(_, line)| line.table.as_deref()).collect::<StringArray>()),
            time(|line| line.time.map(|time| time.nanos())),
            text(|line| &line.reason),
            text(|line| &line.detail),
            text(|line| &line.protocol),
            text(|line| &line.precision),
            text(|line| &line.form),
            count(|(_, line)| line.content.len() as u64),
            Arc::new(shown.collect::<StringArray>()),
        ];
        Ok(RecordBatch::try_new(self.schema(), columns)?)
    }
}
