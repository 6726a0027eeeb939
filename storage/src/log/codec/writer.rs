//! Encodes definitions and batches.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type, UInt64Type};

use super::{DELETES_FOLLOW, EncodedBatch, definition_kind};
use crate::catalog::Definition;
use crate::error::{Error, Result};
use crate::model::{
    Delete, FieldColumn, FieldType, Partition, PhysicalColumn, Retention, Scale, TableBatch, WriteBatch,
};

/// The definitions section of a frame, to which more can be added: `u32` count, then each definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedDefinitions {
    count: u32,
    bytes: Vec<u8>,
}

impl Default for EncodedDefinitions {
    fn default() -> Self {
        Self { count: 0, bytes: vec![0; COUNT_BYTES] }
    }
}

const COUNT_BYTES: usize = size_of::<u32>();

impl EncodedDefinitions {
    /// The section's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether it has no definition.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a definition.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`] when a count or length does not fit; then nothing is added.
    pub fn push(&mut self, definition: &Definition) -> Result<()> {
        let before = self.bytes.len();
        if let Err(error) = put_definition(&mut self.bytes, definition) {
            self.bytes.truncate(before);
            return Err(error);
        }
        self.set_count(self.count + 1);
        Ok(())
    }

    /// Moves all definitions of another section behind those of this one.
    pub fn append(&mut self, other: &mut Self) {
        let other = std::mem::take(other);
        self.bytes.extend_from_slice(other.bytes.get(COUNT_BYTES..).unwrap_or_default());
        self.set_count(self.count + other.count);
    }

    fn set_count(&mut self, count: u32) {
        self.count = count;
        for (place, byte) in self.bytes.iter_mut().zip(count.to_le_bytes()) {
            *place = byte;
        }
    }
}

/// Encodes the definitions section of a frame.
///
/// # Errors
/// [`Error::LimitExceeded`] when a count or length does not fit.
pub fn encode_definitions(definitions: &[Definition]) -> Result<EncodedDefinitions> {
    let mut section = EncodedDefinitions::default();
    definitions.iter().try_for_each(|definition| section.push(definition))?;
    Ok(section)
}

/// Encodes one batch: its deletes if there are any, `u32` count of tables, then each table's columns.
///
/// # Errors
/// [`Error::LimitExceeded`] when a count or length does not fit; [`Error::Internal`] for a column of a type
/// that the log does not know, or a table with two deletes.
pub fn encode_batch(batch: WriteBatch) -> Result<EncodedBatch> {
    let mut bytes = Vec::with_capacity(batch.memory_bytes() + 64);
    if !batch.deletes.is_empty() {
        let mut tables: Vec<_> = batch.deletes.iter().flat_map(|delete| &delete.tables).collect();
        tables.sort_unstable();
        if tables.windows(2).any(|pair| pair.first() == pair.last()) {
            // A delete of a table is known by its sequence.
            return Err(Error::Internal("a batch deletes twice from one table".into()));
        }
        bytes.extend_from_slice(&DELETES_FOLLOW.to_le_bytes());
        put_u32(&mut bytes, batch.deletes.len())?;
        batch.deletes.iter().try_for_each(|delete| put_delete(&mut bytes, delete))?;
    }
    put_u32(&mut bytes, batch.tables.len())?;
    for table in &batch.tables {
        put_table(&mut bytes, table)?;
    }
    Ok(EncodedBatch { batch: Arc::new(batch), bytes, pin: None })
}

/// Tables, first and last time, tests of tags.
fn put_delete(out: &mut Vec<u8>, delete: &Delete) -> Result<()> {
    put_u32(out, delete.tables.len())?;
    delete.tables.iter().for_each(|table| out.extend_from_slice(&table.get().to_le_bytes()));
    out.extend_from_slice(&delete.times.min.nanos().to_le_bytes());
    out.extend_from_slice(&delete.times.max.nanos().to_le_bytes());
    put_u32(out, delete.tags.len())?;
    for test in &delete.tags {
        out.push(u8::from(test.equal));
        put_text(out, &test.tag)?;
        put_text(out, &test.value)?;
    }
    Ok(())
}

fn put_table(out: &mut Vec<u8>, table: &TableBatch) -> Result<()> {
    out.extend_from_slice(&table.table.get().to_le_bytes());
    put_u32(out, table.rows())?;
    put_u32(out, table.fields.len())?;
    table.series.iter().for_each(|id| out.extend_from_slice(&id.to_le_bytes()));
    table.times.iter().for_each(|time| out.extend_from_slice(&time.to_le_bytes()));
    table.fields.iter().try_for_each(|field| put_field(out, field))
}

/// Column id, type, whether nulls occur, the validity bits if so, the values.
fn put_field(out: &mut Vec<u8>, field: &FieldColumn) -> Result<()> {
    let values = &field.values;
    out.extend_from_slice(&field.column.get().to_le_bytes());
    let field_type = match values.data_type() {
        DataType::Float64 => FieldType::Float,
        DataType::Int64 => FieldType::Integer,
        DataType::UInt64 => FieldType::Unsigned,
        DataType::Boolean => FieldType::Boolean,
        DataType::Utf8 => FieldType::Text,
        other => return Err(Error::Internal(format!("the log does not know columns of type {other}"))),
    };
    out.push(field_type as u8);
    match values.nulls().filter(|nulls| nulls.null_count() > 0) {
        Some(nulls) => {
            out.push(1);
            put_bits(out, nulls.iter());
        }
        None => out.push(0),
    }
    match field_type {
        FieldType::Float => {
            values
                .as_primitive::<Float64Type>()
                .values()
                .iter()
                .for_each(|v| out.extend_from_slice(&v.to_le_bytes()));
        }
        FieldType::Integer => {
            values
                .as_primitive::<Int64Type>()
                .values()
                .iter()
                .for_each(|v| out.extend_from_slice(&v.to_le_bytes()));
        }
        FieldType::Unsigned => {
            values
                .as_primitive::<UInt64Type>()
                .values()
                .iter()
                .for_each(|v| out.extend_from_slice(&v.to_le_bytes()));
        }
        FieldType::Boolean => put_bits(out, values.as_boolean().values().iter()),
        FieldType::Text => {
            for value in values.as_string::<i32>() {
                put_text(out, value.unwrap_or_default())?;
            }
        }
    }
    Ok(())
}

/// Bits, first row in the lowest bit of the first byte.
fn put_bits(out: &mut Vec<u8>, bits: impl Iterator<Item = bool>) {
    let mut byte = 0_u8;
    let mut filled = 0;
    for bit in bits {
        byte |= u8::from(bit) << filled;
        filled += 1;
        if filled == 8 {
            out.push(byte);
            (byte, filled) = (0, 0);
        }
    }
    if filled > 0 {
        out.push(byte);
    }
}

fn put_definition(out: &mut Vec<u8>, definition: &Definition) -> Result<()> {
    match definition {
        Definition::Database { name } => {
            out.push(definition_kind::DATABASE);
            put_text(out, name.as_str())
        }
        Definition::Table { id, database, name, partition } => {
            out.push(match partition {
                Partition::Day => definition_kind::TABLE,
                Partition::Month => definition_kind::TABLE_BY_MONTH,
            });
            out.extend_from_slice(&id.get().to_le_bytes());
            put_text(out, database.as_str())?;
            put_text(out, name.as_str())
        }
        Definition::Tag { table, tag } => {
            out.push(definition_kind::TAG);
            out.extend_from_slice(&table.get().to_le_bytes());
            put_text(out, &tag.name)?;
            put_text(out, &tag.stored_name)
        }
        Definition::Field { table, name, column } => {
            let kind = column.scale.map_or(definition_kind::FIELD, |_| definition_kind::SCALED_FIELD);
            out.push(kind);
            out.extend_from_slice(&table.get().to_le_bytes());
            put_text(out, name)?;
            put_column(out, column)?;
            out.extend(column.scale.map(Scale::digits));
            Ok(())
        }
        Definition::Widened { table, name, column } => {
            out.push(definition_kind::WIDENED);
            out.extend_from_slice(&table.get().to_le_bytes());
            put_text(out, name)?;
            put_column(out, column)
        }
        Definition::Series { id, table, key } => {
            out.push(definition_kind::SERIES);
            out.extend_from_slice(&id.get().to_le_bytes());
            out.extend_from_slice(&table.get().to_le_bytes());
            put_bytes(out, key.as_bytes())
        }
        Definition::Given { series, table } => {
            put_ids(out, definition_kind::GIVEN, series.get(), table.get());
            Ok(())
        }
        Definition::GivenColumns { table, column } => {
            out.push(definition_kind::GIVEN_COLUMNS);
            out.extend_from_slice(&table.get().to_le_bytes());
            out.extend_from_slice(&column.get().to_le_bytes());
            Ok(())
        }
        Definition::DatabaseRetention { database, retention } => {
            out.push(definition_kind::DATABASE_RETENTION);
            put_text(out, database.as_str())?;
            put_retention(out, *retention);
            Ok(())
        }
        Definition::TableRetention { table, retention } => {
            out.push(definition_kind::TABLE_RETENTION);
            out.extend_from_slice(&table.get().to_le_bytes());
            put_retention(out, *retention);
            Ok(())
        }
        Definition::TableRetentionKnown { table, lost } => {
            put_ids(out, definition_kind::TABLE_RETENTION_KNOWN, table.get(), lost.get());
            Ok(())
        }
        Definition::DatabaseRetentionKnown { database, lost } => {
            out.push(definition_kind::DATABASE_RETENTION_KNOWN);
            put_text(out, database.as_str())?;
            out.extend_from_slice(&lost.get().to_le_bytes());
            Ok(())
        }
        Definition::TableFolder { table, folder } => {
            out.push(definition_kind::TABLE_FOLDER);
            out.extend_from_slice(&table.get().to_le_bytes());
            put_text(out, folder)
        }
    }
}

/// A definition of two ids and nothing else.
fn put_ids(out: &mut Vec<u8>, kind: u8, first: u32, second: u32) {
    out.push(kind);
    out.extend_from_slice(&first.to_le_bytes());
    out.extend_from_slice(&second.to_le_bytes());
}

/// Whether anything is said, and how many nanoseconds.
fn put_retention(out: &mut Vec<u8>, retention: Option<Retention>) {
    out.push(u8::from(retention.is_some()));
    out.extend_from_slice(&retention.unwrap_or(Retention::FOREVER).nanos().to_le_bytes());
}

fn put_column(out: &mut Vec<u8>, column: &PhysicalColumn) -> Result<()> {
    out.extend_from_slice(&column.id.get().to_le_bytes());
    out.push(column.field_type as u8);
    put_text(out, &column.stored_name)
}

fn put_text(out: &mut Vec<u8>, text: &str) -> Result<()> {
    put_bytes(out, text.as_bytes())
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Result<()> {
    put_u32(out, bytes.len())?;
    out.extend_from_slice(bytes);
    Ok(())
}

fn put_u32(out: &mut Vec<u8>, number: usize) -> Result<()> {
    let number = u32::try_from(number)
        .map_err(|_| Error::LimitExceeded("one write is too large for the log".into()))?;
    out.extend_from_slice(&number.to_le_bytes());
    Ok(())
}
