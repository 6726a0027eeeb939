//! The file that a job writes: on the local disk first, as every file of a table.

use crate::error::{Error, Result};
use crate::flush::StagingArea;
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
        let columns = parquet_file::Columns::all(self.schema);
        let name = format!(
            "{:08x}-{:016x}-{:016x}-{date}-{}.parquet",
            self.schema.id.get(),
            sequences.min.get(),
            sequences.max.get(),
            uuid::Uuid::new_v4().simple()
        );
        let mut file = parquet_file::FileWriter::create(
            self.area.disk(),
            &self.area.path_of(&name),
            self.schema,
            &columns,
        )?;
        for rows in &self.rows {
            file.write(rows)?;
        }
        let written = file.finish()?;
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
