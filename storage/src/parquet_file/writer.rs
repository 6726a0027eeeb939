//! Writes a file row group by row group, as rows come.

use std::io::BufWriter;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use parquet::arrow::{ArrowSchemaConverter, add_encoded_arrow_schema_to_metadata};
use parquet::file::writer::SerializedFileWriter;

use super::encoder::{EncodedGroup, Encoder, Workspace};
use super::row_group::RowGroup;
use super::sink::Sink;
use super::{ROW_GROUP_ROWS, columns, stats};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::layout::{self, REMAINDER_COLUMN, StoredColumn};
use crate::model::{ColumnId, TIME_COLUMN, TableSchema, TimeRange, Timestamp};
use crate::rows::SortedRows;
use crate::series::SeriesKey;

/// The tag that gets a bloom filter, because files are asked for one device of very many.
const BLOOM_TAG: &str = "device";

/// Bytes of values at which a row group of rows that come in batches ends, however few its rows are: long texts shall
/// not fill the memory.
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
            remainder: has_remainder(&rows.times),
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

/// A file in the making, which takes the memory of one row group. Dropped unfinished, it leaves nothing.
pub struct FileWriter<'a> {
    file: SerializedFileWriter<BufWriter<Sink<'a>>>,
    pub(super) encoder: Encoder,
    /// None where another is used, or nothing was encoded yet.
    work: Option<Workspace>,
    remainder: bool,
    group: RowGroup,
    last: Option<(SeriesKey, i64)>,
    rows: u64,
    times: Option<TimeRange>,
    remainders: Option<(i16, i16)>,
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
        let mut properties = columns::properties(&arrow, &sorted_by)?;
        add_encoded_arrow_schema_to_metadata(&arrow, &mut properties);
        let parquet = Arc::new(ArrowSchemaConverter::new().convert(&arrow)?);
        let sink = BufWriter::with_capacity(WRITE_BYTES, Sink::create(disk, path)?);
        let file = SerializedFileWriter::new(sink, parquet.root_schema_ptr(), Arc::new(properties))?;
        let bloom = schema.tags.iter().position(|tag| &*tag.name == BLOOM_TAG);
        Ok(Self {
            encoder: Encoder::new(arrow, parquet, schema.tags.len(), fields, bloom),
            work: None,
            file,
            remainder: columns.remainder,
            group: RowGroup::new(schema.tags.len()),
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
        self.add(rows, TimeRange::ALL, &mut Self::write_group)?;
        if self.group.bytes() >= ROW_GROUP_BYTES { self.write_group() } else { Ok(()) }
    }

    /// Adds those of such rows that are within `times`, none with nanoseconds that the file is not to have, and ends each
    /// row group that they fill.
    pub(super) fn add(
        &mut self,
        rows: &SortedRows,
        times: TimeRange,
        end_group: &mut dyn FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let mut last = None;
        for (key, run) in rows.runs() {
            let mut run = within(rows, run, times);
            let of_run = rows.times.get(run.clone()).unwrap_or_default();
            let (Some(first), Some(time)) = (of_run.first(), of_run.last()) else { continue };
            // Within a batch they ascend.
            let is_not_later = |(last, before): &(SeriesKey, i64)| (key, first) <= (last.borrowed(), before);
            if last.is_none() && self.last.as_ref().is_some_and(is_not_later) {
                return Err(Error::Internal("rows of a data file must ascend".to_owned()));
            }
            last = Some((key, *time));
            self.note(*first, *time, of_run);
            while !run.is_empty() {
                let taken = run.len().min(ROW_GROUP_ROWS - self.group.rows());
                let (now, later) = (run.start..run.start + taken, run.start + taken..run.end);
                self.group.push(key, now);
                if self.group.rows() >= ROW_GROUP_ROWS {
                    self.group.end_batch(rows);
                    end_group(self)?;
                }
                run = later;
            }
        }
        if let Some((key, time)) = last {
            self.last = Some((SeriesKey::from_bytes(key.as_bytes()), time));
        }
        self.group.end_batch(rows);
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
        self.group.bytes()
    }

    /// Ends the row group with the rows that wait, if there are any: it gives back their memory.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Parquet`] when the file cannot be written.
    pub fn end_row_group(&mut self) -> Result<()> {
        if self.has_rows_left() { self.write_group() } else { Ok(()) }
    }

    /// Writes what is left, and gives the file its name. On return it is durable.
    ///
    /// # Errors
    /// [`Error::Internal`] when there were no rows; [`Error::Io`] and [`Error::Parquet`] when it cannot be written.
    pub fn finish(mut self) -> Result<WrittenFile> {
        self.end_row_group()?;
        let times = self.times.ok_or_else(|| Error::Internal("a data file needs rows".to_owned()))?;
        let names = self.encoder.arrow.fields().iter().map(|field| field.name().as_str());
        let names = names.filter(|name| *name != TIME_COLUMN && *name != REMAINDER_COLUMN);
        let stats = stats::json(self.rows, times, self.remainders, names.zip(&self.encoder.stats));
        let sink = self.file.into_inner()?.into_inner();
        let sink = sink.map_err(|error| {
            let (error, unwritten) = error.into_parts();
            Error::io("cannot write", unwritten.get_ref().temporary())(error)
        })?;
        let (bytes, checksum) = sink.publish()?;
        Ok(WrittenFile { bytes, rows: self.rows, times, stats, checksum })
    }

    /// Checks that the file was to have what the rows have.
    fn check(&self, rows: &SortedRows) -> Result<()> {
        if let Some(field) = rows.fields.iter().find(|field| !self.encoder.has(field.column)) {
            return Err(Error::Internal(format!("the file was not to have column {}", field.column)));
        }
        if !self.remainder && has_remainder(&rows.times) {
            return Err(Error::Internal("the file was not to have nanoseconds".to_owned()));
        }
        Ok(())
    }

    /// Takes note of the times of rows of a series, from the first to the last.
    fn note(&mut self, first: i64, last: i64, times: &[i64]) {
        let range = TimeRange::new(Timestamp::from_nanos(first), Timestamp::from_nanos(last));
        self.times = Some(self.times.map_or(range, |known| known.union(range)));
        if self.remainder {
            for time in times {
                let remainder = i16::try_from(time.rem_euclid(1_000)).unwrap_or_default();
                let (low, high) = self.remainders.get_or_insert((remainder, remainder));
                (*low, *high) = (remainder.min(*low), remainder.max(*high));
            }
        }
        self.rows += times.len() as u64;
    }

    fn write_group(&mut self) -> Result<()> {
        let number = self.file.flushed_row_groups().len();
        let work = match &mut self.work {
            Some(work) => work,
            none => none.insert(Workspace::new()?),
        };
        let mut group = self.encoder.begin(work, &mut self.group, number, &self.file)?;
        self.encoder.encode_all(work, &mut group)?;
        self.append(group)
    }

    /// Whether rows wait for their row group to end.
    pub(super) fn has_rows_left(&self) -> bool {
        self.group.rows() > 0
    }

    /// Ends the row group of this number with the rows that wait, and encodes their tags and times.
    pub(super) fn begin_group(&mut self, work: &mut Workspace, number: usize) -> Result<EncodedGroup> {
        self.encoder.begin(work, &mut self.group, number, &self.file)
    }

    /// No more rows will be added: gives back the memory in which they gathered.
    pub(super) fn end_rows(&mut self) {
        self.group = RowGroup::default();
    }

    /// Writes a row group whose columns are all encoded.
    pub(super) fn append(&mut self, group: EncodedGroup) -> Result<()> {
        let mut written = self.file.next_row_group()?;
        group.append_to(&mut written)?;
        written.close()?;
        Ok(())
    }
}

/// Where the rows of a series that are within `times` stand.
fn within(rows: &SortedRows, run: Range<usize>, times: TimeRange) -> Range<usize> {
    if times == TimeRange::ALL {
        return run;
    }
    let of_run = rows.times.get(run.clone()).unwrap_or_default();
    let from = of_run.partition_point(|time| *time < times.min.nanos());
    let to = of_run.partition_point(|time| *time <= times.max.nanos());
    run.start + from..run.start + to
}

/// Whether a time has nanoseconds below the microsecond.
fn has_remainder(times: &[i64]) -> bool {
    // Compared with zero, a remainder needs no division.
    times.iter().any(|time| time % 1_000 != 0)
}
