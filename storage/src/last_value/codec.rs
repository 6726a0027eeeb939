//! The bytes of a file of last values. All numbers are little-endian; `FORMAT.md` has the layout.
//!
//! The decoder trusts nothing: content that is not understood is an error, never a panic.

use std::sync::Arc;

use super::column::{Column, NO_TIME, Values};
use super::position::Position;
use super::values::TableValues;
use crate::error::{Error, Result};
use crate::log::Epoch;
use crate::model::{FieldType, Sequence, TableSchema};
use crate::series::KeyRef;

const MAGIC: &[u8; 8] = b"BUSLAST1";

/// What stands before the columns, and which columns follow.
pub(super) struct Head {
    pub(super) bytes: Vec<u8>,
    /// Slots of each column.
    pub(super) slots: u32,
    /// Their fields, as positions in the schema.
    pub(super) fields: Vec<usize>,
}

/// Encodes what stands before the columns.
///
/// # Errors
/// [`Error::LimitExceeded`] when there are four billion of anything.
pub(super) fn encode_head(
    epoch: Epoch,
    schema: &TableSchema,
    values: &TableValues,
    position: &Position,
) -> Result<Head> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(epoch.as_bytes());
    bytes.extend_from_slice(&schema.id.get().to_le_bytes());
    bytes.extend_from_slice(&position.files.get().to_le_bytes());
    bytes.extend_from_slice(&position.rows.get().to_le_bytes());
    bytes.extend_from_slice(&position.deleted.get().to_le_bytes());
    bytes.extend_from_slice(&count(position.foreign.len())?.to_le_bytes());
    for (path, upper) in &position.foreign {
        bytes.extend_from_slice(&upper.get().to_le_bytes());
        text(&mut bytes, path.as_ref().as_bytes())?;
    }
    let slots = count(values.keys().len())?;
    bytes.extend_from_slice(&slots.to_le_bytes());
    for key in values.keys() {
        text(&mut bytes, key.as_bytes())?;
    }
    let fields: Vec<usize> =
        (0..schema.fields.len()).filter(|field| values.column(*field).is_some()).collect();
    bytes.extend_from_slice(&count(fields.len())?.to_le_bytes());
    Ok(Head { bytes, slots, fields })
}

/// Decodes a file, all of it or nothing.
///
/// # Errors
/// [`Error::Damaged`] when it is not as it was written, or of another log.
pub(super) fn decode(epoch: Epoch, schema: &TableSchema, bytes: &[u8]) -> Result<(TableValues, Position)> {
    let (content, checksum) = bytes.split_last_chunk::<4>().ok_or_else(|| damaged("is too short"))?;
    if crc32c::crc32c(content) != u32::from_le_bytes(*checksum) {
        return Err(damaged("does not have its checksum"));
    }
    let mut input = Input { rest: content };
    if input.array()? != *MAGIC {
        return Err(damaged("is of another version"));
    }
    if input.array()? != *epoch.as_bytes() || input.u32()? != schema.id.get() {
        return Err(damaged("is of another log"));
    }
    let mut position = Position {
        files: Sequence::new(input.u64()?),
        rows: Sequence::new(input.u64()?),
        deleted: Sequence::new(input.u64()?),
        ..Position::default()
    };
    for _ in 0..input.u32()? {
        let upper = Sequence::new(input.u64()?);
        let path = std::str::from_utf8(input.text()?).map_err(|_| damaged("holds a bad path"))?;
        let path = object_store::path::Path::parse(path).map_err(object_store::Error::from)?;
        position.foreign.insert(path, upper);
    }
    let mut values = TableValues::default();
    let slots = input.u32()?;
    for _ in 0..slots {
        values.slot_of_key(KeyRef::from_bytes(input.text()?))?;
    }
    for _ in 0..input.u32()? {
        let (field, column) = decode_column(schema, &mut input, slots as usize)?;
        values.put_column(field, column);
    }
    Ok((values, position))
}

/// Encodes the column of a field for so many slots.
///
/// # Errors
/// [`Error::Internal`] when there is none; [`Error::LimitExceeded`] when a text is too long.
pub(super) fn encode_column(
    schema: &TableSchema,
    field: usize,
    column: Option<&Column>,
    slots: u32,
) -> Result<Vec<u8>> {
    let lost = || Error::Internal("a column of last values is gone".into());
    let (column, narrow) = (column.ok_or_else(lost)?, &schema.fields.get(field).ok_or_else(lost)?.narrow);
    let n = slots as usize;
    let mut bytes = Vec::with_capacity(3 + n * 17);
    bytes.extend_from_slice(&narrow.id.get().to_le_bytes());
    bytes.push(column.field_type() as u8);
    bytes.extend((0..slots).map(|slot| u8::from(column.time(slot).is_some())));
    // A column knows the slots up to the last that it got a value for.
    let times = column.times.iter().copied().chain(std::iter::repeat(NO_TIME)).take(n);
    times.for_each(|time| bytes.extend_from_slice(&time.to_le_bytes()));
    match &column.values {
        Values::Float(values) => padded(&mut bytes, values, n, |value| value.to_le_bytes()),
        Values::Integer(values) => padded(&mut bytes, values, n, |value| value.to_le_bytes()),
        Values::Unsigned(values) => padded(&mut bytes, values, n, |value| value.to_le_bytes()),
        Values::Boolean(values) => padded(&mut bytes, values, n, |value| [u8::from(*value)]),
        Values::Text(values, _) => {
            for slot in 0..n {
                text(&mut bytes, values.get(slot).map(|value| value.as_bytes()).unwrap_or_default())?;
            }
        }
    }
    Ok(bytes)
}

fn padded<T: Default + Clone, const N: usize>(
    bytes: &mut Vec<u8>,
    values: &[T],
    slots: usize,
    encode: impl Fn(&T) -> [u8; N],
) {
    let padding = T::default();
    for value in values.iter().chain(std::iter::repeat(&padding)).take(slots) {
        bytes.extend_from_slice(&encode(value));
    }
}

fn decode_column(schema: &TableSchema, input: &mut Input<'_>, slots: usize) -> Result<(usize, Column)> {
    let narrow = u16::from_le_bytes(input.array()?);
    let field = schema.fields.iter().position(|field| field.narrow.id.get() == narrow);
    let field = field.ok_or_else(|| damaged("has a field that the table lacks"))?;
    let [field_type] = input.array()?;
    let field_type = FieldType::from_number(field_type).ok_or_else(|| damaged("has a bad type"))?;
    let has = input.bytes(slots)?.to_vec();
    let mut column = Column::new(field_type);
    column.times = input.numbers(slots, i64::from_le_bytes)?;
    column.values = match field_type {
        FieldType::Float => Values::Float(input.numbers(slots, f64::from_le_bytes)?),
        FieldType::Integer => Values::Integer(input.numbers(slots, i64::from_le_bytes)?),
        FieldType::Unsigned => Values::Unsigned(input.numbers(slots, u64::from_le_bytes)?),
        FieldType::Boolean => Values::Boolean(input.numbers(slots, |[byte]| byte != 0)?),
        FieldType::Text => {
            let (mut values, mut bytes) = (Vec::with_capacity(slots), 0);
            for _ in 0..slots {
                let value =
                    std::str::from_utf8(input.text()?).map_err(|_| damaged("has a text that is none"))?;
                bytes += value.len();
                values.push(if value.is_empty() { Arc::default() } else { Arc::from(value) });
            }
            Values::Text(values, bytes)
        }
    };
    for (slot, (has, time)) in (0_u32..).zip(has.iter().zip(&column.times)) {
        if *has != 0 && *time == NO_TIME {
            column.at_first.insert(slot);
        }
    }
    Ok((field, column))
}

/// What is left of a file that is being read.
struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    fn bytes(&mut self, length: usize) -> Result<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or_else(|| damaged("is too short"))?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| damaged("is too short"))?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<&'a [u8]> {
        let length = self.u32()? as usize;
        self.bytes(length)
    }

    fn numbers<T, const N: usize>(&mut self, slots: usize, from: impl Fn([u8; N]) -> T) -> Result<Vec<T>> {
        let bytes = self.bytes(slots.checked_mul(N).ok_or_else(|| damaged("is too short"))?)?;
        let (chunks, _) = bytes.as_chunks::<N>();
        Ok(chunks.iter().map(|chunk| from(*chunk)).collect())
    }
}

fn text(bytes: &mut Vec<u8>, text: &[u8]) -> Result<()> {
    bytes.extend_from_slice(&count(text.len())?.to_le_bytes());
    bytes.extend_from_slice(text);
    Ok(())
}

fn count(count: usize) -> Result<u32> {
    u32::try_from(count)
        .map_err(|_| Error::LimitExceeded("last values are of 4 billion series at most".into()))
}

fn damaged(what: &str) -> Error {
    Error::Damaged(format!("the file of last values {what}"))
}
