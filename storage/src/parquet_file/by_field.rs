//! Writes files of rows whose fields come one after the other, as a flush does.
//!
//! A row group needs all of its columns before the next one begins, so what is encoded waits for the end: a tenth of
//! what the values take. Written group by group, as what comes in batches is, all values would have to be there at once.

use std::path::PathBuf;

use super::encoder::{EncodedGroup, Workspace};
use super::writer::{Columns, FileWriter, WrittenFile};
use crate::disk::Disk;
use crate::error::Result;
use crate::model::{ColumnId, FieldColumn, FieldSchema, TableSchema, TimeRange};
use crate::rows::SortedRows;

/// Writes rows to several files at once, each with those of its times: the series and times of `rows`, and the physical
/// columns `fields`, which `field_of` gives field by field, so that one field is in memory at a time. They go to paths of
/// `disk` whose folders exist, over whatever is there, and are durable under their names on return. Blocks.
///
/// # Errors
/// Those of [`FileWriter`] and of `field_of`; then some of the files may be there.
pub fn write_by_field(
    disk: &dyn Disk,
    files: &[(PathBuf, TimeRange)],
    schema: &TableSchema,
    rows: &SortedRows,
    fields: &[ColumnId],
    mut field_of: impl FnMut(&FieldSchema) -> Result<Vec<FieldColumn>>,
) -> Result<Vec<WrittenFile>> {
    let columns = &Columns { fields: fields.to_vec(), ..Columns::of(rows) };
    let mut work = Workspace::new()?;
    let mut begun = Vec::with_capacity(files.len());
    for (path, times) in files {
        let mut file = Begun { writer: FileWriter::create(disk, path, schema, columns)?, groups: Vec::new() };
        file.add(&mut work, rows, *times)?;
        begun.push(file);
    }
    for field in &schema.fields {
        if field.columns().any(|column| fields.contains(&column.id)) {
            let values = field_of(field)?;
            for file in &mut begun {
                file.encode(&mut work, field, &values)?;
            }
        }
    }
    begun.into_iter().map(Begun::finish).collect()
}

/// A file of which all rows are known, and some columns are encoded.
struct Begun<'a> {
    writer: FileWriter<'a>,
    groups: Vec<EncodedGroup>,
}

impl Begun<'_> {
    /// Adds those rows of `rows` that are within `times`, all in one.
    fn add(&mut self, work: &mut Workspace, rows: &SortedRows, times: TimeRange) -> Result<()> {
        let Self { writer, groups } = self;
        writer.add(rows, times, &mut |writer| {
            groups.push(writer.begin_group(work, groups.len())?);
            Ok(())
        })?;
        if writer.has_rows_left() {
            groups.push(writer.begin_group(work, groups.len())?);
        }
        writer.end_rows();
        Ok(())
    }

    /// Encodes the columns of the next field.
    fn encode(&mut self, work: &mut Workspace, field: &FieldSchema, values: &[FieldColumn]) -> Result<()> {
        let columns: Vec<ColumnId> = field.columns().map(|column| column.id).collect();
        for group in &mut self.groups {
            group.set_fields(values);
            self.writer.encoder.encode(work, group, &columns)?;
            // Its memory may be needed for the next one.
            group.set_fields(&[]);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<WrittenFile> {
        for group in self.groups {
            self.writer.append(group)?;
        }
        self.writer.finish()
    }
}
