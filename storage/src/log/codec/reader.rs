//! Decodes the payload of a frame.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, UInt64Array};
use arrow::buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};

use super::{DELETES_FOLLOW, definition_kind};
use crate::catalog::Definition;
use crate::error::{Error, Result};
use crate::model::{
    ColumnId, DatabaseName, Delete, FieldColumn, FieldType, Partition, PhysicalColumn, Retention, Scale,
    SeriesId, TableBatch, TableId, TableName, TagSchema, TagTest, TimeRange, Timestamp, WriteBatch,
};
use crate::series::SeriesKey;

/// Decodes a frame's payload into its definitions and batches. An empty payload holds neither.
///
/// # Errors
/// [`Error::Damaged`] when the bytes are not what [`super::encode_definitions`] and [`super::encode_batch`] write.
pub fn decode_group(payload: &[u8]) -> Result<(Vec<Definition>, Vec<WriteBatch>)> {
    let mut cursor = Cursor { rest: payload };
    if payload.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let definitions = definitions(&mut cursor)?;
    let mut batches = Vec::new();
    while !cursor.rest.is_empty() {
        batches.push(batch(&mut cursor)?);
    }
    Ok((definitions, batches))
}

/// Decodes only the definitions of a frame's payload.
///
/// # Errors
/// As [`decode_group`].
pub fn decode_definitions(payload: &[u8]) -> Result<Vec<Definition>> {
    let mut cursor = Cursor { rest: payload };
    if payload.is_empty() {
        return Ok(Vec::new());
    }
    definitions(&mut cursor)
}

fn definitions(cursor: &mut Cursor<'_>) -> Result<Vec<Definition>> {
    let count = cursor.count(1)?;
    (0..count).map(|_| definition(cursor)).collect()
}

fn damaged(what: &str) -> Error {
    Error::Damaged(format!("a frame of the log holds {what}: was it written by a newer version?"))
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn bytes(&mut self, length: usize) -> Result<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or_else(|| damaged("less than it says"))?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| damaged("less than it says"))?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u8(&mut self) -> Result<u8> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    /// A count of things of which each takes at least `least` bytes, so that a wrong one cannot ask for memory
    /// that the payload does not have.
    fn count(&mut self, least: usize) -> Result<usize> {
        let count = self.u32()? as usize;
        if count.saturating_mul(least) > self.rest.len() { Err(damaged("a wrong count")) } else { Ok(count) }
    }

    fn text(&mut self) -> Result<&'a str> {
        let length = self.count(1)?;
        std::str::from_utf8(self.bytes(length)?).map_err(|_| damaged("text that is not UTF-8"))
    }

    /// Bits of `rows` rows, first row in the lowest bit.
    fn bits(&mut self, rows: usize) -> Result<BooleanBuffer> {
        let bytes = self.bytes(rows.div_ceil(8))?;
        Ok(BooleanBuffer::new(bytes.into(), 0, rows))
    }

    /// `rows` numbers of `N` bytes.
    fn numbers<T, const N: usize>(&mut self, rows: usize, from: impl Fn([u8; N]) -> T) -> Result<Vec<T>> {
        let bytes = self.bytes(rows.checked_mul(N).ok_or_else(|| damaged("a wrong count"))?)?;
        let (chunks, _) = bytes.as_chunks::<N>();
        Ok(chunks.iter().map(|chunk| from(*chunk)).collect())
    }
}

fn batch(cursor: &mut Cursor<'_>) -> Result<WriteBatch> {
    let mut deletes = Vec::new();
    if let Some(rest) = cursor.rest.strip_prefix(&DELETES_FOLLOW.to_le_bytes()) {
        cursor.rest = rest;
        let count = cursor.count(24)?;
        deletes = (0..count).map(|_| delete(cursor)).collect::<Result<_>>()?;
    }
    let tables = cursor.count(12)?;
    let tables = (0..tables).map(|_| table(cursor)).collect::<Result<_>>()?;
    Ok(WriteBatch { tables, deletes })
}

fn delete(cursor: &mut Cursor<'_>) -> Result<Delete> {
    let tables = cursor.count(4)?;
    let tables = cursor.numbers(tables, |id| TableId::new(u32::from_le_bytes(id)))?;
    let mut time = || Ok::<_, Error>(Timestamp::from_nanos(i64::from_le_bytes(cursor.array()?)));
    let times = TimeRange::new(time()?, time()?);
    let tests = cursor.count(9)?;
    let tags = (0..tests).map(|_| tag_test(cursor)).collect::<Result<_>>()?;
    Ok(Delete { tables, times, tags })
}

fn tag_test(cursor: &mut Cursor<'_>) -> Result<TagTest> {
    let equal = match cursor.u8()? {
        0 => false,
        1 => true,
        _ => return Err(damaged("an unknown test of a tag")),
    };
    Ok(TagTest { tag: cursor.text()?.into(), value: cursor.text()?.into(), equal })
}

fn table(cursor: &mut Cursor<'_>) -> Result<TableBatch> {
    let table = TableId::new(cursor.u32()?);
    let rows = cursor.u32()? as usize;
    let fields = cursor.u32()? as usize;
    let series = ScalarBuffer::from(cursor.numbers(rows, u32::from_le_bytes)?);
    let times = ScalarBuffer::from(cursor.numbers(rows, i64::from_le_bytes)?);
    let fields = (0..fields).map(|_| field(cursor, rows)).collect::<Result<_>>()?;
    Ok(TableBatch { table, series, times, fields })
}

fn field(cursor: &mut Cursor<'_>, rows: usize) -> Result<FieldColumn> {
    let column = ColumnId::new(cursor.u16()?);
    let field_type = field_type(cursor)?;
    let nulls = match cursor.u8()? {
        0 => None,
        _ => Some(NullBuffer::new(cursor.bits(rows)?)),
    };
    let values: ArrayRef = match field_type {
        FieldType::Float => {
            Arc::new(Float64Array::new(cursor.numbers(rows, f64::from_le_bytes)?.into(), nulls))
        }
        FieldType::Integer => {
            Arc::new(Int64Array::new(cursor.numbers(rows, i64::from_le_bytes)?.into(), nulls))
        }
        FieldType::Unsigned => {
            Arc::new(UInt64Array::new(cursor.numbers(rows, u64::from_le_bytes)?.into(), nulls))
        }
        FieldType::Boolean => Arc::new(BooleanArray::new(cursor.bits(rows)?, nulls)),
        FieldType::Text => Arc::new(texts(cursor, rows, nulls.as_ref())?),
    };
    Ok(FieldColumn { column, values })
}

fn texts(cursor: &mut Cursor<'_>, rows: usize, nulls: Option<&NullBuffer>) -> Result<StringArray> {
    (0..rows)
        .map(|row| {
            let text = cursor.text()?;
            Ok(nulls.is_none_or(|nulls| nulls.is_valid(row)).then_some(text))
        })
        .collect()
}

fn field_type(cursor: &mut Cursor<'_>) -> Result<FieldType> {
    FieldType::from_number(cursor.u8()?).ok_or_else(|| damaged("an unknown column type"))
}

fn definition(cursor: &mut Cursor<'_>) -> Result<Definition> {
    Ok(match cursor.u8()? {
        definition_kind::DATABASE => Definition::Database { name: DatabaseName::new(cursor.text()?)? },
        definition_kind::TABLE => table_definition(cursor, Partition::Day)?,
        definition_kind::TABLE_BY_MONTH => table_definition(cursor, Partition::Month)?,
        definition_kind::TAG => Definition::Tag {
            table: TableId::new(cursor.u32()?),
            tag: TagSchema { name: cursor.text()?.into(), stored_name: cursor.text()?.into() },
        },
        definition_kind::FIELD => Definition::Field {
            table: TableId::new(cursor.u32()?),
            name: cursor.text()?.into(),
            column: column(cursor)?,
        },
        definition_kind::WIDENED => Definition::Widened {
            table: TableId::new(cursor.u32()?),
            name: cursor.text()?.into(),
            column: column(cursor)?,
        },
        definition_kind::SERIES => {
            let (id, table) = (SeriesId::new(cursor.u32()?), TableId::new(cursor.u32()?));
            let length = cursor.count(1)?;
            Definition::Series { id, table, key: SeriesKey::from_bytes(cursor.bytes(length)?) }
        }
        definition_kind::GIVEN => {
            Definition::Given { series: SeriesId::new(cursor.u32()?), table: TableId::new(cursor.u32()?) }
        }
        definition_kind::GIVEN_COLUMNS => Definition::GivenColumns {
            table: TableId::new(cursor.u32()?),
            column: ColumnId::new(cursor.u16()?),
        },
        definition_kind::DATABASE_RETENTION => Definition::DatabaseRetention {
            database: DatabaseName::new(cursor.text()?)?,
            retention: retention(cursor)?,
        },
        definition_kind::TABLE_RETENTION => {
            Definition::TableRetention { table: TableId::new(cursor.u32()?), retention: retention(cursor)? }
        }
        definition_kind::TABLE_RETENTION_KNOWN => Definition::TableRetentionKnown {
            table: TableId::new(cursor.u32()?),
            lost: SeriesId::new(cursor.u32()?),
        },
        definition_kind::DATABASE_RETENTION_KNOWN => Definition::DatabaseRetentionKnown {
            database: DatabaseName::new(cursor.text()?)?,
            lost: SeriesId::new(cursor.u32()?),
        },
        definition_kind::TABLE_FOLDER => {
            Definition::TableFolder { table: TableId::new(cursor.u32()?), folder: cursor.text()?.into() }
        }
        definition_kind::SCALED_FIELD => {
            let (table, name) = (TableId::new(cursor.u32()?), cursor.text()?.into());
            let column = column(cursor)?;
            let scale = Some(Scale::new(cursor.u8()?.into())?);
            Definition::Field { table, name, column: PhysicalColumn { scale, ..column } }
        }
        _ => return Err(damaged("an unknown definition")),
    })
}

fn table_definition(cursor: &mut Cursor<'_>, partition: Partition) -> Result<Definition> {
    Ok(Definition::Table {
        id: TableId::new(cursor.u32()?),
        database: DatabaseName::new(cursor.text()?)?,
        name: TableName::new(cursor.text()?)?,
        partition,
    })
}

fn column(cursor: &mut Cursor<'_>) -> Result<PhysicalColumn> {
    Ok(PhysicalColumn {
        id: ColumnId::new(cursor.u16()?),
        field_type: field_type(cursor)?,
        stored_name: cursor.text()?.into(),
        scale: None,
    })
}

fn retention(cursor: &mut Cursor<'_>) -> Result<Option<Retention>> {
    let is_said = cursor.u8()? != 0;
    let nanos = u64::from_le_bytes(cursor.array()?);
    let retention = Retention::from_nanos(nanos).ok_or_else(|| damaged("an unknown retention"))?;
    Ok(is_said.then_some(retention))
}
