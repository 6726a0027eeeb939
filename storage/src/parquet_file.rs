//! Writes one Parquet file, durably, with its statistics and checksum.
//!
//! 1. Write `<name>.tmp` ([`UNFINISHED`]) beside the target, with a checksum over every byte on the way.
//! 2. Sync it, rename it to its name, sync the folder.
//!
//! Encodings (bytes per row and CPU time of each were measured, zstd 1): time and integers
//! `DELTA_BINARY_PACKED`, because neighbours of a series are close; tags, floats, decimals and text in a
//! dictionary, which the writer drops for plain pages where values do not repeat. `BYTE_STREAM_SPLIT` made
//! floats three times as large. Pages carry statistics (page index), so a reader can skip within a file.
//!
//! Invariant: a file that has its name is complete, and its checksum is [`WrittenFile::checksum`]. The Parquet
//! crate (59) checks page checksums but cannot write them; the checksum of the file stands in for them.

mod read;
mod stats;
#[cfg(test)]
mod tests;

use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Int16Type, Int32Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

pub use self::read::read_sorted;
use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Result};
use crate::layout::REMAINDER_COLUMN;
use crate::model::{TIME_COLUMN, TableSchema, TimeRange, Timestamp};

/// Rows of one row group. Sizes of 16 Ki to 1 Mi differ by 3 % in bytes; this bounds what a reader decodes for
/// one group to some 40 MB with ten columns, and lets a large file be read by several threads.
const ROW_GROUP_ROWS: usize = 256 * 1024;

/// The tag that gets a bloom filter, because files are asked for one device of very many.
const BLOOM_TAG: &str = "device";

/// Wrong answers of the bloom filter: 1 % costs about 10 bits per device.
const BLOOM_FALSE_POSITIVES: f64 = 0.01;

/// Bytes that are handed to the file system at once.
const WRITE_BYTES: usize = 256 * 1024;

/// The end of the name of a file that is being written. After a crash such files may be removed.
pub const UNFINISHED: &str = ".tmp";

/// What depends on the table in how its files are written.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The stored names of the columns that the rows are sorted by, ascending, missing last.
    pub sorted_by: Vec<String>,
    /// The stored name of the column that gets a bloom filter.
    pub bloom: Option<String>,
}

impl Settings {
    /// The settings for files of a table: sorted by all tags, then time; a bloom filter on `device`.
    #[must_use]
    pub fn of(schema: &TableSchema) -> Self {
        let mut sorted_by: Vec<String> = schema.tags.iter().map(|tag| tag.stored_name.to_string()).collect();
        sorted_by.extend([TIME_COLUMN.to_owned(), REMAINDER_COLUMN.to_owned()]);
        let device = schema.tags.iter().find(|tag| &*tag.name == BLOOM_TAG);
        Self { sorted_by, bloom: device.map(|tag| tag.stored_name.to_string()) }
    }
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenFile {
    /// Its size in bytes.
    pub bytes: u64,
    /// Number of rows.
    pub rows: u64,
    /// The times of its rows, exact to the nanosecond.
    pub times: TimeRange,
    /// Per-column statistics as Delta Lake's `stats` JSON.
    pub stats: String,
    /// CRC-32C of the whole file.
    pub checksum: u32,
}

/// Writes `batch`, as [`physical_batch`](crate::layout::physical_batch) made it and sorted as `settings` say,
/// to `path` of `disk`, whose folder exists, over whatever is there. On return the file is durable under its name.
/// Blocks.
///
/// # Errors
/// [`Error::Internal`] when there are no rows; [`Error::Io`] and [`Error::Parquet`] when it cannot be written:
/// then nothing is at `path` that was not there before.
pub fn write(disk: &dyn Disk, path: &Path, batch: &RecordBatch, settings: &Settings) -> Result<WrittenFile> {
    let times = time_range(batch)?;
    let folder = path.parent().ok_or_else(|| Error::Internal("a data file lies in no folder".to_owned()))?;
    let temporary = temporary_path(path);
    let written = encode(disk, &temporary, batch, settings);
    let (bytes, checksum) = match written {
        Ok(written) => written,
        Err(error) => {
            if let Err(error) = disk.remove(&temporary) {
                tracing::debug!(%error, path = %temporary.display(), "the unfinished file stays");
            }
            return Err(error);
        }
    };
    fail::fail_point!("parquet-written");
    disk.rename(&temporary, path)?;
    disk.sync_folder(folder)?;
    Ok(WrittenFile { bytes, rows: batch.num_rows() as u64, times, stats: stats::json(batch)?, checksum })
}

/// The name that a file has while it is being written.
fn temporary_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED);
    name.into()
}

/// Writes and syncs the file. Returns its size and checksum.
fn encode(disk: &dyn Disk, path: &Path, batch: &RecordBatch, settings: &Settings) -> Result<(u64, u32)> {
    match disk.remove(path) {
        Err(error) if error.io_kind() != Some(ErrorKind::NotFound) => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let sink = Sink { file: disk.create_new(path)?, bytes: 0, checksum: 0 };
    let mut sink = BufWriter::with_capacity(WRITE_BYTES, sink);
    let mut writer = ArrowWriter::try_new(&mut sink, batch.schema(), Some(properties(batch, settings)?))?;
    writer.write(batch)?;
    writer.close()?;
    let sink = sink.into_inner().map_err(|error| Error::io("cannot write", path)(error.into_error()))?;
    sink.file.sync_all()?;
    Ok((sink.bytes, sink.checksum))
}

/// A file that counts and checks what is written to it.
struct Sink {
    file: Box<dyn DiskFile>,
    bytes: u64,
    checksum: u32,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(self.bytes, bytes).map_err(io_error)?;
        self.checksum = crc32c::crc32c_append(self.checksum, bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The error as the Parquet writer passes it on: its kind stays.
fn io_error(error: Error) -> io::Error {
    match error {
        Error::Io { source, .. } => source,
        other => io::Error::other(other),
    }
}

fn properties(batch: &RecordBatch, settings: &Settings) -> Result<WriterProperties> {
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("busbar ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_sorting_columns(Some(sorting_columns(batch, settings)));
    for field in batch.schema().fields() {
        if matches!(field.data_type(), DataType::Int16 | DataType::Int64 | DataType::Timestamp(..)) {
            let column = ColumnPath::from(field.name().as_str());
            properties = properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
        }
    }
    Ok(bloom_filter(properties, batch, settings).build())
}

fn sorting_columns(batch: &RecordBatch, settings: &Settings) -> Vec<SortingColumn> {
    let positions = settings.sorted_by.iter().filter_map(|name| batch.schema().index_of(name).ok());
    positions
        .filter_map(|position| i32::try_from(position).ok())
        .map(|column_idx| SortingColumn { column_idx, descending: false, nulls_first: false })
        .collect()
}

fn bloom_filter(
    properties: WriterPropertiesBuilder,
    batch: &RecordBatch,
    settings: &Settings,
) -> WriterPropertiesBuilder {
    let Some(name) = &settings.bloom else { return properties };
    let Some(column) = batch.column_by_name(name) else { return properties };
    let distinct = match column.as_dictionary_opt::<Int32Type>() {
        Some(dictionary) => dictionary.values().len(),
        None => column.len(),
    };
    let column = ColumnPath::from(name.as_str());
    properties
        .set_column_bloom_filter_enabled(column.clone(), true)
        .set_column_bloom_filter_fpp(column.clone(), BLOOM_FALSE_POSITIVES)
        .set_column_bloom_filter_max_ndv(column, distinct.max(1) as u64)
}

/// The first and the last time of the rows, in nanoseconds.
fn time_range(batch: &RecordBatch) -> Result<TimeRange> {
    let micros = batch
        .column_by_name(TIME_COLUMN)
        .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>())
        .ok_or_else(|| Error::Internal("a data file needs a time column".to_owned()))?;
    let remainders = batch.column_by_name(REMAINDER_COLUMN);
    let remainders = remainders.and_then(|column| column.as_primitive_opt::<Int16Type>());
    // Wrapping, because the product alone may lie below the first nanosecond; with its remainder it does not.
    let nanos = |row: usize| {
        let remainder = remainders.map_or(0, |remainders| remainders.value(row));
        micros.value(row).wrapping_mul(1_000).wrapping_add(i64::from(remainder))
    };
    let times = (0..batch.num_rows()).map(nanos);
    let (min, max) = (times.clone().min(), times.max());
    let range =
        min.zip(max).map(|(min, max)| TimeRange::new(Timestamp::from_nanos(min), Timestamp::from_nanos(max)));
    range.ok_or_else(|| Error::Internal("a data file needs rows".to_owned()))
}
