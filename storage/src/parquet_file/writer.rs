//! Writes a file row group by row group, as rows come.

use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, new_null_array};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use parquet::arrow::arrow_writer::compute_leaves;
use parquet::arrow::{ArrowSchemaConverter, add_encoded_arrow_schema_to_metadata};
use parquet::file::properties::WriterPropertiesBuilder;
use parquet::file::writer::SerializedFileWriter;

use super::sink::Sink;
use super::stats::{self, ColumnStats};
use super::tags::TagColumn;
use super::{ROW_GROUP_ROWS, columns, tag_pages};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::layout::{self, REMAINDER_COLUMN, StoredColumn};
use crate::model::{ColumnId, FieldColumn, TIME_COLUMN, TableSchema, TimeRange};
use crate::rows::SortedRows;
use crate::series::SeriesKey;

/// The tag that gets a bloom filter, because files are asked for one device of very many.
const BLOOM_TAG: &str = "device";

/// Bytes of values at which a row group ends, however few its rows are: long texts shall not fill the memory.
const ROW_GROUP_BYTES: usize = 128 << 20;

/// Bytes that are handed to the file system at once.
const WRITE_BYTES: usize = 256 * 1024;

/// Which columns a file has beside the tags and `time`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    /// The physical columns of fields. A column that no row has a value for may be left out.
    pub fields: Vec<ColumnId>,
    /// Whether it has the nanoseconds below the microsecond. Left out, each must be 0.
    pub remainder: bool,
}

impl Columns {
    /// The columns that these rows have values for.
    #[must_use]
    pub fn of(rows: &SortedRows) -> Self {
        Self {
            fields: rows.fields.iter().map(|field| field.column).collect(),
            remainder: rows.times.iter().any(|time| time.rem_euclid(1_000) != 0),
        }
    }

    /// Adds what others have.
    pub fn extend(&mut self, others: Self) {
        self.remainder |= others.remainder;
        self.fields.extend(others.fields);
        self.fields.sort_unstable();
        self.fields.dedup();
    }

    /// All that the table has.
    #[must_use]
    pub fn all(schema: &TableSchema) -> Self {
        let fields = schema.fields.iter().flat_map(|field| field.columns()).map(|column| column.id);
        Self { fields: fields.collect(), remainder: true }
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

/// Writes all of `rows` to `path` of `disk`, whose folder exists, over whatever is there. On return the file is durable under
/// its name. Blocks.
///
/// # Errors
/// Those of [`FileWriter`]; then nothing is at `path` that was not there before.
pub fn write(disk: &dyn Disk, path: &Path, schema: &TableSchema, rows: &SortedRows) -> Result<WrittenFile> {
    let mut writer = FileWriter::create(disk, path, schema, &Columns::of(rows))?;
    writer.write(rows)?;
    writer.finish()
}

/// A file in the making, which takes the memory of one row group. Dropped unfinished, it leaves nothing.
pub struct FileWriter<'a> {
    file: SerializedFileWriter<BufWriter<Sink<'a>>>,
    arrow: SchemaRef,
    properties: WriterPropertiesBuilder,
    /// The position of the tag that gets a bloom filter.
    bloom: Option<usize>,
    remainder: bool,
    /// Its columns of fields, in order.
    fields: Vec<StoredColumn>,
    group: RowGroup,
    last: Option<(SeriesKey, i64)>,
    rows: u64,
    times: Option<TimeRange>,
    remainders: Option<(i16, i16)>,
    /// Of the tags, then of the fields.
    stats: Vec<ColumnStats>,
}

/// The rows of the next row group.
#[derive(Debug, Default)]
struct RowGroup {
    rows: usize,
    bytes: usize,
    tags: Vec<TagColumn>,
    times: Vec<ScalarBuffer<i64>>,
    /// For each field column its values in each part, if the part has any.
    fields: Vec<Vec<Option<ArrayRef>>>,
}

impl<'a> FileWriter<'a> {
    /// Begins the file that will be at `path` of `disk`, whose folder exists, over whatever is there. Blocks, as
    /// all does.
    ///
    /// # Errors
    /// [`Error::Internal`] when a column is not of the table; [`Error::Io`] and [`Error::Parquet`] when the file
    /// cannot be written.
    pub fn create(disk: &'a dyn Disk, path: &Path, schema: &TableSchema, columns: &Columns) -> Result<Self> {
        if let Some(unknown) = columns.fields.iter().find(|id| schema.column(**id).is_none()) {
            return Err(Error::Internal(format!("the table has no column {unknown}")));
        }
        let fields: Vec<StoredColumn> = schema
            .fields
            .iter()
            .flat_map(|field| field.columns())
            .filter(|column| columns.fields.contains(&column.id))
            .flat_map(layout::parts_of)
            .collect();
        let stored = layout::stored_schema(schema);
        let tags = stored.fields().iter().take(schema.tags.len()).cloned();
        let arrow: Vec<FieldRef> = tags
            .chain(
                stored
                    .fields()
                    .iter()
                    .skip(schema.tags.len())
                    .filter(|field| {
                        field.name() == TIME_COLUMN
                            || field.name() == REMAINDER_COLUMN && columns.remainder
                            || fields.iter().any(|stored| stored.field.name() == field.name())
                    })
                    .cloned(),
            )
            .collect();
        let arrow: SchemaRef = Arc::new(Schema::new(arrow));
        let mut sorted_by: Vec<&str> = schema.tags.iter().map(|tag| &*tag.stored_name).collect();
        sorted_by.extend([TIME_COLUMN, REMAINDER_COLUMN]);
        let properties = columns::properties(&arrow, &sorted_by)?;
        let mut of_file = properties.clone().build();
        add_encoded_arrow_schema_to_metadata(&arrow, &mut of_file);
        let root = ArrowSchemaConverter::new().convert(&arrow)?.root_schema_ptr();
        let sink = BufWriter::with_capacity(WRITE_BYTES, Sink::create(disk, path)?);
        Ok(Self {
            file: SerializedFileWriter::new(sink, root, Arc::new(of_file))?,
            arrow,
            properties,
            bloom: schema.tags.iter().position(|tag| &*tag.name == BLOOM_TAG),
            remainder: columns.remainder,
            stats: vec![ColumnStats::default(); schema.tags.len() + fields.len()],
            group: RowGroup::new(schema.tags.len(), fields.len()),
            fields,
            last: None,
            rows: 0,
            times: None,
            remainders: None,
        })
    }

    /// Adds rows that stand after all that were added before: of a later series, or of the same and later.
    ///
    /// # Errors
    /// [`Error::Internal`] when they do not, or have a value for a column that the file was not to have;
    /// [`Error::Io`] and [`Error::Parquet`] when the file cannot be written.
    pub fn write(&mut self, rows: &SortedRows) -> Result<()> {
        self.check(rows)?;
        let mut from = 0;
        while from < rows.rows() {
            let to = rows.rows().min(from + ROW_GROUP_ROWS - self.group.rows);
            self.group.push(rows, from, to, &self.fields)?;
            if self.group.rows >= ROW_GROUP_ROWS || self.group.bytes >= ROW_GROUP_BYTES {
                self.write_group()?;
            }
            from = to;
        }
        Ok(())
    }

    /// Number of rows that were added.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes of rows that wait for their row group to be full, roughly.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.group.bytes + self.group.rows * size_of::<i64>()
    }

    /// Ends the row group with the rows that wait, if there are any: it gives back their memory.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Parquet`] when the file cannot be written.
    pub fn end_row_group(&mut self) -> Result<()> {
        if self.group.rows > 0 { self.write_group() } else { Ok(()) }
    }

    /// Writes what is left, and gives the file its name. On return it is durable.
    ///
    /// # Errors
    /// [`Error::Internal`] when there were no rows; [`Error::Io`] and [`Error::Parquet`] when it cannot be written.
    pub fn finish(mut self) -> Result<WrittenFile> {
        self.end_row_group()?;
        let times = self.times.ok_or_else(|| Error::Internal("a data file needs rows".to_owned()))?;
        let remainders = self.remainders.filter(|_| self.remainder);
        let names = self.arrow.fields().iter().map(|field| field.name().as_str());
        let names = names.filter(|name| *name != TIME_COLUMN && *name != REMAINDER_COLUMN);
        let stats = stats::json(self.rows, times, remainders, names.zip(&self.stats));
        let sink = self.file.into_inner()?.into_inner();
        let sink = sink.map_err(|error| {
            let (error, unwritten) = error.into_parts();
            Error::io("cannot write", unwritten.get_ref().temporary())(error)
        })?;
        let (bytes, checksum) = sink.publish()?;
        Ok(WrittenFile { bytes, rows: self.rows, times, stats, checksum })
    }

    /// Checks what the rows must be, and takes note of their times.
    fn check(&mut self, rows: &SortedRows) -> Result<()> {
        let Some(times) = TimeRange::of(&rows.times) else { return Ok(()) };
        let first = rows.keys.first().zip(rows.times.first());
        if let (Some((key, time)), Some((last_key, last_time))) = (first, &self.last)
            && (key, time) <= (last_key, last_time)
        {
            return Err(Error::Internal("rows of a data file must ascend".to_owned()));
        }
        if let Some(field) =
            rows.fields.iter().find(|field| !self.fields.iter().any(|stored| stored.column == field.column))
        {
            return Err(Error::Internal(format!("the file was not to have column {}", field.column)));
        }
        let remainder = |time: &i64| i16::try_from(time.rem_euclid(1_000)).unwrap_or_default();
        let (low, high) = rows
            .times
            .iter()
            .map(remainder)
            .fold((i16::MAX, 0), |(low, high), remainder| (low.min(remainder), high.max(remainder)));
        if high > 0 && !self.remainder {
            return Err(Error::Internal("the file was not to have nanoseconds".to_owned()));
        }
        self.remainders = Some(self.remainders.map_or((low, high), |(a, b)| (a.min(low), b.max(high))));
        self.times = Some(self.times.map_or(times, |known| known.union(times)));
        self.last = rows.keys.last().cloned().zip(rows.times.last().copied());
        self.rows += rows.rows() as u64;
        Ok(())
    }

    fn write_group(&mut self) -> Result<()> {
        let mut group = std::mem::take(&mut self.group);
        let (tags, fields) = (group.tags.len(), self.fields.len());
        self.add_stats(&group);
        let field_names = self.arrow.fields().iter().skip(self.arrow.fields().len() - fields);
        let plain: Vec<&str> = field_names
            .zip(&group.fields)
            .filter(|(field, parts)| {
                *field.data_type() == DataType::Float64 && columns::hardly_repeats(parts.iter().flatten())
            })
            .map(|(field, _)| field.name().as_str())
            .collect();
        let number = self.file.flushed_row_groups().len();
        let writers = columns::writers(&self.arrow, self.properties.clone(), &plain, number)?;
        let schema = self.file.schema_descr().columns().to_vec();
        let mut written = self.file.next_row_group()?;
        for (position, tag) in group.tags.iter().enumerate() {
            let description = schema.get(position).ok_or_else(too_few_columns)?;
            let (bytes, close) = tag_pages::encode(tag, description, self.bloom == Some(position))?;
            written.append_column(&bytes, close)?;
        }
        for (number, mut writer) in writers.into_iter().enumerate().skip(tags) {
            let field = self.arrow.fields().get(number).ok_or_else(too_few_columns)?;
            for part in 0..group.times.len() {
                let values = group.column(number - tags, part, self.remainder, field)?;
                for leaf in compute_leaves(field, &values)? {
                    writer.write(&leaf)?;
                }
            }
            writer.close()?.append_to_row_group(&mut written)?;
        }
        written.close()?;
        group.clear();
        self.group = group;
        Ok(())
    }

    fn add_stats(&mut self, group: &RowGroup) {
        let (tags, fields) = self.stats.split_at_mut(group.tags.len());
        tags.iter_mut().zip(&group.tags).for_each(|(stats, tag)| stats.add_tag(tag));
        for (stats, parts) in fields.iter_mut().zip(&group.fields) {
            for (values, times) in parts.iter().zip(&group.times) {
                match values {
                    Some(values) => stats.add_field(values),
                    None => stats.add_nulls(times.len()),
                }
            }
        }
    }
}

impl RowGroup {
    fn new(tags: usize, fields: usize) -> Self {
        let tags = std::iter::repeat_with(TagColumn::default).take(tags).collect();
        Self { tags, fields: vec![Vec::new(); fields], ..Self::default() }
    }

    /// Empties it, and keeps its memory for the next one.
    fn clear(&mut self) {
        (self.rows, self.bytes) = (0, 0);
        self.tags.iter_mut().for_each(TagColumn::clear);
        self.fields.iter_mut().for_each(Vec::clear);
        self.times.clear();
    }

    /// Adds some of `rows`. Tags are copied, values are shared, but those that are taken apart.
    fn push(&mut self, rows: &SortedRows, from: usize, to: usize, fields: &[StoredColumn]) -> Result<()> {
        let first = rows.ends.partition_point(|end| *end as usize <= from);
        let mut start = from;
        for (key, end) in rows.keys.iter().zip(&rows.ends).skip(first) {
            let end = to.min(*end as usize);
            if start >= end {
                break;
            }
            let mut present = key.tag_bytes().peekable();
            for (position, tag) in self.tags.iter_mut().enumerate() {
                let value = present.next_if(|(tag, _)| *tag == position).map(|(_, value)| value);
                tag.push(value, end - start);
            }
            start = end;
        }
        for (stored, parts) in fields.iter().zip(&mut self.fields) {
            let values = rows.fields.iter().find(|field: &&FieldColumn| field.column == stored.column);
            let values = values.map(|field| stored.part.of(&field.values.slice(from, to - from)));
            let values = values.transpose()?;
            self.bytes += values.as_ref().map_or(0, |v| v.to_data().get_slice_memory_size().unwrap_or(0));
            parts.push(values);
        }
        self.times.push(rows.times.slice(from, to - from));
        self.rows += to - from;
        Ok(())
    }

    /// A part of a column as the file holds it; columns are counted after the tags.
    fn column(&self, number: usize, part: usize, remainder: bool, field: &FieldRef) -> Result<ArrayRef> {
        let times = self.times.get(part).map(|times| &**times).unwrap_or_default();
        match number {
            0 => Ok(layout::stored_times(times)),
            1 if remainder => Ok(layout::stored_remainders(times)),
            _ => {
                let parts = self.fields.get(number - 1 - usize::from(remainder));
                match parts.and_then(|parts| parts.get(part)).and_then(Option::as_ref) {
                    Some(values) => layout::stored_values(values),
                    None => Ok(new_null_array(field.data_type(), times.len())),
                }
            }
        }
    }
}

fn too_few_columns() -> Error {
    Error::Internal("a data file has fewer columns than its schema".to_owned())
}
