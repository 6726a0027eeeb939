//! Encodes the columns of row groups: all of one group, or one column of all groups after the other.

use std::io::Write;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, SchemaRef};
use bytes::Bytes;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
};
use parquet::column::writer::ColumnCloseResult;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::SchemaDescPtr;
use zstd::bulk::Compressor;

use super::number_pages::{self, NumberPages};
use super::row_group::{Batch, RowGroup, parts};
use super::stats::ColumnStats;
use super::tags::Finder;
use super::{pages, tag_pages};
use crate::error::{Error, Result};
use crate::layout::StoredColumn;
use crate::model::{ColumnId, FieldColumn};

/// Memory in which one column after the other is encoded, of any files.
pub(super) struct Workspace {
    zstd: Compressor<'static>,
    finder: Finder,
    numbers: NumberPages,
}

/// The columns of a file, in order.
pub(super) struct Encoder {
    /// The tags, the time, its remainder if it has one, and the fields.
    pub(super) arrow: SchemaRef,
    schema: SchemaDescPtr,
    tags: usize,
    fields: Vec<StoredColumn>,
    /// The position of the tag that gets a bloom filter.
    bloom: Option<usize>,
    /// Of the tags, then of the fields.
    pub(super) stats: Vec<ColumnStats>,
}

/// The column chunks of a row group, as far as they are encoded, and the rows of the others.
pub(super) struct EncodedGroup {
    batches: Vec<Batch>,
    /// The crate's writers, by the positions of the columns that they are for.
    writers: Vec<Option<ArrowColumnWriter>>,
    chunks: Vec<EncodedColumn>,
}

enum EncodedColumn {
    Own(Bytes, ColumnCloseResult),
    Crate(ArrowColumnChunk),
}

impl Workspace {
    /// # Errors
    /// [`Error::Internal`] when there is no compressor.
    pub(super) fn new() -> Result<Self> {
        Ok(Self { zstd: pages::compressor()?, finder: Finder::default(), numbers: NumberPages::default() })
    }
}

impl Encoder {
    pub(super) fn new(
        arrow: SchemaRef,
        schema: SchemaDescPtr,
        tags: usize,
        fields: Vec<StoredColumn>,
        bloom: Option<usize>,
    ) -> Self {
        let stats = vec![ColumnStats::default(); tags + fields.len()];
        Self { arrow, schema, tags, fields, bloom, stats }
    }

    /// Whether there is a column for these values.
    pub(super) fn has(&self, column: ColumnId) -> bool {
        self.fields.iter().any(|stored| stored.column == column)
    }

    /// Encodes the tags and times of the rows that have gathered.
    ///
    /// # Errors
    /// [`Error::Parquet`] when a chunk cannot be made.
    pub(super) fn begin<W: Write + Send>(
        &mut self,
        work: &mut Workspace,
        group: &mut RowGroup,
        number: usize,
        file: &SerializedFileWriter<W>,
    ) -> Result<EncodedGroup> {
        let mut encoded = EncodedGroup {
            batches: group.take_batches(),
            writers: self.crate_writers(number, file)?,
            chunks: Vec::with_capacity(self.arrow.fields().len()),
        };
        for (position, tag) in group.end_tags(&mut work.finder).iter().enumerate() {
            let description = self.schema.column(position);
            let bloom = self.bloom == Some(position);
            let tag = tag_pages::encode(tag, &description, bloom, &mut work.zstd)?;
            if let Some(stats) = self.stats.get_mut(position) {
                stats.add_tag(tag.bounds, tag.nulls);
            }
            encoded.chunks.push(EncodedColumn::Own(tag.bytes, tag.close));
        }
        group.clear();
        while encoded.chunks.len() < self.first_field() {
            self.encode_next(work, &mut encoded)?;
        }
        Ok(encoded)
    }

    /// Encodes the next columns, which hold the values of these physical ones.
    ///
    /// # Errors
    /// [`Error::Internal`] when values are not of their column's type; [`Error::Parquet`] when a chunk cannot be made.
    pub(super) fn encode(
        &mut self,
        work: &mut Workspace,
        group: &mut EncodedGroup,
        columns: &[ColumnId],
    ) -> Result<()> {
        while let Some(next) = self.fields.get(group.chunks.len() - self.first_field())
            && columns.contains(&next.column)
        {
            self.encode_next(work, group)?;
        }
        Ok(())
    }

    /// Encodes all columns that are left.
    ///
    /// # Errors
    /// Those of [`encode`](Self::encode).
    pub(super) fn encode_all(&mut self, work: &mut Workspace, group: &mut EncodedGroup) -> Result<()> {
        while group.chunks.len() < self.arrow.fields().len() {
            self.encode_next(work, group)?;
        }
        Ok(())
    }

    fn encode_next(&mut self, work: &mut Workspace, group: &mut EncodedGroup) -> Result<()> {
        let number = group.chunks.len();
        let field = self.arrow.fields().get(number).ok_or_else(too_few_columns)?;
        let of_field = number.checked_sub(self.first_field());
        let stored = of_field.and_then(|of_field| self.fields.get(of_field));
        let stats = of_field.and_then(|of_field| self.stats.get_mut(self.tags + of_field));
        let parts = parts(&group.batches, stored);
        if let Some(kind) = number_pages::kind_of(field.data_type()) {
            let encoded = work.numbers.encode(kind, parts, &self.schema.column(number), &mut work.zstd)?;
            if let Some(stats) = stats {
                stats.add_numbers(encoded.bounds.delta(field.data_type()), encoded.nulls);
            }
            group.chunks.push(EncodedColumn::Own(encoded.bytes, encoded.close));
            return Ok(());
        }
        let writer = group.writers.get_mut(number).and_then(Option::take);
        let (mut writer, mut stats) = (writer.ok_or_else(too_few_columns)?, stats);
        for part in parts {
            let values = part.column(field)?;
            if let Some(stats) = &mut stats {
                stats.add_stored(&values);
            }
            for leaf in compute_leaves(field, &values)? {
                writer.write(&leaf)?;
            }
        }
        group.chunks.push(EncodedColumn::Crate(writer.close()?));
        Ok(())
    }

    /// The position of the first field, behind the times.
    fn first_field(&self) -> usize {
        self.arrow.fields().len() - self.fields.len()
    }

    /// The crate's writers for all columns of a row group, of which those of text, unsigned integers and nanoseconds
    /// are needed; none when there is no such column.
    fn crate_writers<W: Write + Send>(
        &self,
        number: usize,
        file: &SerializedFileWriter<W>,
    ) -> Result<Vec<Option<ArrowColumnWriter>>> {
        let mut columns = self.arrow.fields().iter().skip(self.tags);
        if columns.all(|field| number_pages::kind_of(field.data_type()).is_some()) {
            return Ok(Vec::new());
        }
        let factory = ArrowRowGroupWriterFactory::new(file, Arc::clone(&self.arrow));
        let writers = self.arrow.fields().iter().zip(factory.create_column_writers(number)?).enumerate();
        // They take memory before they are used, and those of a whole flush are there at once.
        let is_needed = |position: usize, field: &FieldRef| {
            position >= self.tags && number_pages::kind_of(field.data_type()).is_none()
        };
        Ok(writers.map(|(position, (field, writer))| is_needed(position, field).then_some(writer)).collect())
    }
}

impl EncodedGroup {
    /// Gives the rows, all of which stand in one batch, these fields of it.
    pub(super) fn set_fields(&mut self, fields: &[FieldColumn]) {
        for batch in &mut self.batches {
            batch.set_fields(fields);
        }
    }

    /// Appends the columns, all of which are encoded.
    ///
    /// # Errors
    /// [`Error::Parquet`] when the file cannot be written.
    pub(super) fn append_to<W: Write + Send>(
        self,
        group: &mut SerializedRowGroupWriter<'_, W>,
    ) -> Result<()> {
        for chunk in self.chunks {
            match chunk {
                EncodedColumn::Own(bytes, close) => group.append_column(&bytes, close)?,
                EncodedColumn::Crate(chunk) => chunk.append_to_row_group(group)?,
            }
        }
        Ok(())
    }
}

fn too_few_columns() -> Error {
    Error::Internal("a data file has fewer columns than its schema".to_owned())
}
