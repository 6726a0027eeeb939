//! How rows lie in files: names, types and folders, and the way there and back.
//!
//! A file holds, in this order: the tags (text), `time` (microseconds, UTC), `busbar_time_ns` (the nanoseconds
//! that `time` cannot hold, only when some row has any), and the physical columns of the fields that some row
//! has a value for. Unsigned integers are `DECIMAL(20,0)`, because Delta Lake has no unsigned type. Floats of a field
//! whose scale was declared are in two columns: see [`scaled`].
//!
//! Invariants: `time` is rounded down, also before 1970, so the remainder is 0 to 999 and the order by
//! (`time`, remainder) is the order by nanoseconds. A column that a file lacks is null in each of its rows.
//! What [`physical_batch`] made, [`logical_batch`] gives back exactly.

mod described;
mod logical;
mod partition;
mod physical;
mod scaled;
mod sorted;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use chrono::NaiveDate;
use deltalake_core::kernel::{DataType as DeltaType, StructField, StructType};
use object_store::path::Path;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use self::described::Meaning;
pub(crate) use self::described::{Described, described, is_described};
pub use self::logical::{logical_batch, stored_columns};
pub use self::partition::{partition_of, partition_times, span_of, span_times};
pub use self::physical::{physical_batch, stored_remainders, stored_times, stored_values};
pub(crate) use self::scaled::{Part, StoredColumn, parts_of, whole_number};
pub use self::sorted::{logical_rows, sorted_rows};
use crate::error::{Error, Result};
use crate::model::{FieldType, PhysicalColumn, TIME_COLUMN, TableSchema, TagSchema, TimeRange, Timestamp};

/// The column with the nanoseconds below the microsecond, 0 to 999. A file without it has only zeros.
pub const REMAINDER_COLUMN: &str = "busbar_time_ns";

/// The partition column of the Delta table: the first UTC day of the partition of `time`. It is not in the files.
pub const DATE_COLUMN: &str = "busbar_date";

/// Digits of the decimal that holds every unsigned 64-bit integer.
const UNSIGNED_DIGITS: u8 = 20;

/// Bytes of an encoded name that its folder keeps. A file name may have 255; the id takes up to 9 and
/// some object stores' tools add their own suffix.
const FOLDER_NAME_BYTES: usize = 180;

const NANOS_PER_DAY: i64 = 86_400_000_000_000;

const FOLDER_ESCAPES: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// The Arrow schema that every file of the table fits into: a file may lack nullable columns.
#[must_use]
pub fn stored_schema(schema: &TableSchema) -> SchemaRef {
    let columns = schema.fields.iter().flat_map(|field| field.columns());
    let fields = columns.flat_map(parts_of).map(|stored| stored.field);
    let times = [time_field(), remainder_field()];
    Arc::new(Schema::new(schema.tags.iter().map(tag_field).chain(times).chain(fields).collect::<Vec<_>>()))
}

/// The schema of the table in its Delta log, with the partition column last.
///
/// # Errors
/// [`Error::Delta`] when Delta Lake refuses it, which would be a fault of the stored names.
pub fn delta_schema(schema: &TableSchema) -> Result<StructType> {
    let tags = schema.tags.iter();
    let mut columns: Vec<StructField> = tags
        .map(|tag| Meaning::Tag.of(&tag.name, StructField::nullable(&*tag.stored_name, DeltaType::STRING)))
        .collect();
    columns.push(StructField::not_null(TIME_COLUMN, DeltaType::TIMESTAMP));
    columns.push(StructField::nullable(REMAINDER_COLUMN, DeltaType::SHORT));
    for (field, column) in schema.fields.iter().flat_map(|field| field.columns().map(move |it| (field, it))) {
        for stored in parts_of(column) {
            let delta_type = match stored.part {
                Part::Exact(scale) => {
                    DeltaType::decimal(scaled::DECIMAL_DIGITS, scale.digits()).map_err(refused)?
                }
                Part::All | Part::Other(_) => delta_type(column.field_type)?,
            };
            let meaning = match stored.part {
                Part::Other(_) => Meaning::Rest,
                Part::All | Part::Exact(_) if column.id == field.narrow.id => Meaning::Field,
                Part::All | Part::Exact(_) => Meaning::Wide,
            };
            columns.push(meaning.of(&field.name, StructField::nullable(stored.field.name(), delta_type)));
        }
    }
    columns.push(StructField::nullable(DATE_COLUMN, DeltaType::DATE));
    StructType::try_new(columns).map_err(refused)
}

/// The folder of a table, below the root of the object store: `database/table.id`, both names encoded and cut
/// where they are too long for a folder, the id (hexadecimal) making it unique (KEY-2).
///
/// Encoded means that each byte which is not an ASCII letter, digit, `-` or `_` is `!` and two hexadecimal
/// digits: `°C` is `!C2!B0C`. It is not `%`, because readers of Delta Lake (the Python `deltalake` 1.6.6 among
/// them) decode a `%` in a table's path once too often and then do not find the table.
#[must_use]
pub fn table_folder(schema: &TableSchema) -> Path {
    if let Some(folder) = &schema.folder {
        return Path::from(&**folder);
    }
    let (database, table) = (folder_name(schema.database.as_str()), folder_name(schema.name.as_str()));
    Path::from(format!("{database}/{table}.{:x}", schema.id.get()))
}

/// The folder of a table that is born shared: every node that knows its names finds it. Names that are cut to the same
/// text are kept apart by the checksum of both.
pub(crate) fn shared_folder(database: &str, table: &str) -> Path {
    let checksum = crc32c::crc32c(format!("{database}\0{table}").as_bytes());
    Path::from(format!("{}/{}.s{checksum:08x}", folder_name(database), folder_name(table)))
}

fn folder_name(name: &str) -> String {
    let mut folder = String::new();
    // A part is a run of plain characters or one escape, which must not be cut.
    for part in utf8_percent_encode(name, FOLDER_ESCAPES) {
        match part.get(..FOLDER_NAME_BYTES - folder.len()) {
            None => folder.push_str(part),
            Some(room) if room.len() == part.len() || !part.starts_with('%') => folder.push_str(room),
            Some(_) => break,
        }
    }
    folder.replace('%', "!")
}

/// The folder of a partition within its table's folder.
///
/// # Errors
/// [`Error::Internal`] when no calendar has that day.
pub fn partition_folder(date: i32) -> Result<String> {
    Ok(format!("{DATE_COLUMN}={}", date_text(date)?))
}

/// The day of a time: days since 1970-01-01 UTC.
#[must_use]
pub fn date_of(time: Timestamp) -> i32 {
    // i64 nanoseconds are at most 106,752 days.
    i32::try_from(time.nanos().div_euclid(NANOS_PER_DAY)).unwrap_or_default()
}

/// The times of a day.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "clamped")]
pub fn day(date: i32) -> TimeRange {
    // The first and the last day are cut by what 64 bits of nanoseconds can say.
    let at = |days: i64| i128::from(days) * i128::from(NANOS_PER_DAY);
    let clamp = |nanos: i128| nanos.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
    let (first, last) = (clamp(at(date.into())), clamp(at(i64::from(date) + 1) - 1));
    TimeRange::new(Timestamp::from_nanos(first), Timestamp::from_nanos(last))
}

/// The day as Delta Lake writes it, `2026-11-20`.
pub(crate) fn date_text(date: i32) -> Result<String> {
    let day = NaiveDate::from_epoch_days(date);
    Ok(day.ok_or_else(|| Error::Internal(format!("there is no day {date}")))?.to_string())
}

/// The day that Delta Lake wrote so.
pub(crate) fn parse_date(text: &str) -> Option<i32> {
    text.parse::<NaiveDate>().ok().map(|day| day.to_epoch_days())
}

fn tag_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

fn tag_field(tag: &TagSchema) -> Field {
    Field::new(tag.stored_name.as_ref(), tag_type(), true)
}

fn time_field() -> Field {
    Field::new(TIME_COLUMN, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false)
}

fn remainder_field() -> Field {
    Field::new(REMAINDER_COLUMN, DataType::Int16, true)
}

/// A physical column as one column of all its values.
fn field_field(column: &PhysicalColumn) -> Field {
    let stored_type = match column.field_type {
        FieldType::Float => DataType::Float64,
        FieldType::Integer => DataType::Int64,
        FieldType::Unsigned => DataType::Decimal128(UNSIGNED_DIGITS, 0),
        FieldType::Boolean => DataType::Boolean,
        FieldType::Text => DataType::Utf8,
    };
    Field::new(column.stored_name.as_ref(), stored_type, true)
}

fn delta_type(field_type: FieldType) -> Result<DeltaType> {
    Ok(match field_type {
        FieldType::Float => DeltaType::DOUBLE,
        FieldType::Integer => DeltaType::LONG,
        FieldType::Unsigned => DeltaType::decimal(UNSIGNED_DIGITS, 0).map_err(refused)?,
        FieldType::Boolean => DeltaType::BOOLEAN,
        FieldType::Text => DeltaType::STRING,
    })
}

fn refused(error: impl Into<deltalake_core::DeltaTableError>) -> Error {
    error.into().into()
}
