//! One encoder per format, each a writer into a buffer that is emptied after every batch.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::StreamWriter;
use arrow::json::writer::{JsonArray, LineDelimited, Writer as JsonWriter};
use arrow::util::pretty::pretty_format_batches;
use bytes::Bytes;
use parking_lot::Mutex;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::Format;
use crate::error::{Error, Result};
use crate::limits;

/// Writes batches in one format.
pub(super) struct Encoder {
    writer: Writer,
    buffer: Buffer,
}

enum Writer {
    Json(Box<JsonWriter<Buffer, JsonArray>>),
    JsonLines(Box<JsonWriter<Buffer, LineDelimited>>),
    Csv(Box<arrow::csv::Writer<Buffer>>),
    Pretty(Pretty),
    Parquet(Box<ArrowWriter<Buffer>>),
    Arrow(Box<StreamWriter<Buffer>>),
}

/// The rows of a table that is laid out at the end.
struct Pretty {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    bytes: usize,
}

impl Encoder {
    /// An encoder of batches with these columns.
    pub(super) fn new(format: Format, schema: &SchemaRef) -> Result<Self> {
        let buffer = Buffer::default();
        let out = buffer.clone();
        let writer = match format {
            Format::Json => Writer::Json(Box::new(JsonWriter::<_, JsonArray>::new(out))),
            Format::JsonLines => Writer::JsonLines(Box::new(JsonWriter::<_, LineDelimited>::new(out))),
            Format::Csv => {
                let mut writer = arrow::csv::Writer::new(out);
                // The header comes with the first batch, so an empty one makes it come always.
                writer.write(&RecordBatch::new_empty(Arc::clone(schema)))?;
                Writer::Csv(Box::new(writer))
            }
            Format::Pretty => {
                Writer::Pretty(Pretty { schema: Arc::clone(schema), batches: Vec::new(), bytes: 0 })
            }
            Format::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
                    .set_max_row_group_row_count(Some(limits::PARQUET_GROUP_ROWS))
                    .build();
                let writer = ArrowWriter::try_new(out, Arc::clone(schema), Some(properties))?;
                Writer::Parquet(Box::new(writer))
            }
            Format::Arrow => Writer::Arrow(Box::new(StreamWriter::try_new(out, schema)?)),
        };
        Ok(Self { writer, buffer })
    }

    /// Writes a batch; the bytes that came of it, which may be none yet.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<Bytes> {
        match &mut self.writer {
            Writer::Json(writer) => writer.write(batch)?,
            Writer::JsonLines(writer) => writer.write(batch)?,
            Writer::Csv(writer) => writer.write(batch)?,
            Writer::Pretty(pretty) => pretty.write(batch)?,
            Writer::Parquet(writer) => writer.write(batch)?,
            Writer::Arrow(writer) => writer.write(batch)?,
        }
        Ok(self.buffer.take())
    }

    /// Writes what ends an answer.
    pub(super) fn finish(self) -> Result<Bytes> {
        match self.writer {
            Writer::Json(mut writer) => writer.finish()?,
            Writer::JsonLines(mut writer) => writer.finish()?,
            Writer::Csv(_) => {}
            Writer::Pretty(pretty) => return pretty.finish(),
            Writer::Parquet(writer) => {
                writer.close()?;
            }
            Writer::Arrow(mut writer) => writer.finish()?,
        }
        Ok(self.buffer.take())
    }
}

impl Pretty {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.bytes += batch.get_array_memory_size();
        if self.bytes > limits::PRETTY_BYTES {
            let limit = limits::PRETTY_BYTES;
            return Err(Error::Invalid(format!(
                "an answer of more than {limit} bytes is too large for `pretty`: use csv or jsonl, or a LIMIT"
            )));
        }
        self.batches.push(batch.clone());
        Ok(())
    }

    fn finish(mut self) -> Result<Bytes> {
        if self.batches.is_empty() {
            self.batches.push(RecordBatch::new_empty(self.schema));
        }
        Ok(Bytes::from(format!("{}\n", pretty_format_batches(&self.batches)?)))
    }
}

/// A buffer that a writer owns and that can be emptied meanwhile.
#[derive(Debug, Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn take(&self) -> Bytes {
        Bytes::from(std::mem::take(&mut *self.0.lock()))
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
