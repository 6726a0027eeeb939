//! The file that a job writes: on the local disk first, as every file of a table.

use object_store::path::Path;

use crate::error::Result;
use crate::flush::StagingArea;
use crate::model::{DataFile, FilePlace, Sequence, SequenceRange, TableSchema};
use crate::parquet_file::{Columns, FileWriter};
use crate::rows::SortedRows;

/// A file in the making.
pub(super) struct Output<'a> {
    name: Path,
    date: i32,
    sequences: SequenceRange,
    deleted_up_to: Sequence,
    file: FileWriter<'a>,
}

impl<'a> Output<'a> {
    /// Begins a file with these columns, for rows of a day and of a range of sequences, without what is deleted up to a
    /// sequence.
    pub(super) fn create(
        area: &'a StagingArea<'_>,
        schema: &TableSchema,
        columns: &Columns,
        date: i32,
        sequences: SequenceRange,
        deleted_up_to: Sequence,
    ) -> Result<Self> {
        let (table, unique) = (schema.id.get(), uuid::Uuid::new_v4().simple());
        let (min, max) = (sequences.min.get(), sequences.max.get());
        let name = format!("{table:08x}-{min:016x}-{max:016x}-{date}-{unique}.parquet");
        let file = FileWriter::create(area.disk(), &area.path_of(&name), schema, columns)?;
        Ok(Self { name: Path::from(name), date, sequences, deleted_up_to, file })
    }

    /// Adds the next rows.
    pub(super) fn write(&mut self, rows: &SortedRows) -> Result<()> {
        self.file.write(rows)
    }

    /// Completes the file, which is durable then; `None` when it has no rows, and then there is no file.
    pub(super) fn finish(self) -> Result<Option<DataFile>> {
        if self.file.rows() == 0 {
            return Ok(None);
        }
        let written = self.file.finish()?;
        Ok(Some(DataFile {
            place: FilePlace::Staged,
            path: self.name,
            date: self.date,
            rows: written.rows,
            bytes: written.bytes,
            checksum: written.checksum,
            times: written.times,
            sequences: self.sequences,
            deleted_up_to: self.deleted_up_to,
            stats: written.stats,
        }))
    }
}
