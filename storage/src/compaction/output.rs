//! The file that a job writes: on the local disk first, as every file of a table.

use arrow::compute::concat_batches;

use crate::error::{Error, Result};
use crate::flush::StagingArea;
use crate::layout;
use crate::model::{DataFile, FilePlace, SequenceRange, TableSchema};
use crate::parquet_file;
use crate::rows::SortedRows;

/// A file in the making.
pub(super) struct Output<'a> {
    area: StagingArea<'a>,
    schema: &'a TableSchema,
    rows: Vec<SortedRows>,
}

impl<'a> Output<'a> {
    pub(super) fn new(area: StagingArea<'a>, schema: &'a TableSchema) -> Self {
        Self { area, schema, rows: Vec::new() }
    }

    pub(super) fn write(&mut self, rows: SortedRows) -> Result<()> {
        self.rows.push(rows);
        Ok(())
    }

    pub(super) fn finish(self, date: i32, sequences: SequenceRange) -> Result<DataFile> {
        let mut batches = Vec::new();
        let stored = layout::stored_schema(self.schema);
        for rows in &self.rows {
            let tags = rows.tag_columns(self.schema.tags.len())?;
            let batch = layout::physical_batch(self.schema, tags, &rows.times, &rows.fields)?;
            let columns = stored.fields().iter().map(|field| {
                batch
                    .column_by_name(field.name())
                    .cloned()
                    .unwrap_or_else(|| arrow::array::new_null_array(field.data_type(), batch.num_rows()))
            });
            batches.push(arrow::array::RecordBatch::try_new(stored.clone(), columns.collect())?);
        }
        let batch = concat_batches(&stored, &batches)?;
        let name = format!(
            "{:08x}-{:016x}-{:016x}-{date}-{}.parquet",
            self.schema.id.get(),
            sequences.min.get(),
            sequences.max.get(),
            uuid::Uuid::new_v4().simple()
        );
        let settings = parquet_file::Settings::of(self.schema);
        let written = parquet_file::write(self.area.disk(), &self.area.path_of(&name), &batch, &settings)?;
        Ok(DataFile {
            place: FilePlace::Staged,
            path: object_store::path::Path::parse(&name)
                .map_err(|error| Error::Internal(error.to_string()))?,
            date,
            rows: written.rows,
            bytes: written.bytes,
            checksum: written.checksum,
            times: written.times,
            sequences,
            stats: written.stats,
        })
    }
}
