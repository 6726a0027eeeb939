//! How columns other than tags are encoded (bytes per row and CPU time of each were measured, zstd 1).
//!
//! - Time and integers are `DELTA_BINARY_PACKED`, because neighbours of a series are close: 0.01 and 0.5 to 1.2
//!   bytes per row, against 0.26 and 1.3 in a dictionary.
//! - Floats are in a dictionary (1.3 bytes per row at 0.011 CPU s per million rows) unless they hardly repeat: plain
//!   ones are at best as small, cost 0.017 to 0.025, and in short series are 1.7. `BYTE_STREAM_SPLIT` made them 4.2.
//! - Floats with a declared scale are whole numbers, `DELTA_BINARY_PACKED` as well: 0.4 to 1.2 bytes per row.
//! - Booleans are runs. Text and unsigned integers (`DECIMAL(20,0)`) are in a dictionary, which the crate drops for
//!   plain pages when it gets large.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, SchemaRef};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use super::{PAGE_ROWS, ZSTD_LEVEL};
use crate::error::Result;

/// Digits of decimals that Parquet keeps in 64 bits.
const INT64_DIGITS: u8 = 18;

/// Values that are looked at to tell whether a column repeats its values.
const SAMPLE: usize = 4_096;

/// Values that stand side by side in the sample: both neighbours that are equal and values that return are seen.
const SAMPLE_BLOCK: usize = 256;

/// One of so many sampled values must be a repetition for a dictionary to pay. Of 131,072 equally frequent values,
/// with which a dictionary reaches the size at which the crate gives it up, 64 of 4,096 are repetitions.
const REPETITION: usize = 64;

/// What holds for the whole file.
///
/// # Errors
/// [`Error::Parquet`](crate::Error::Parquet) when the level of compression is not one.
pub(super) fn properties(schema: &SchemaRef, sorted_by: &[&str]) -> Result<WriterPropertiesBuilder> {
    let sorting = sorted_by.iter().filter_map(|name| i32::try_from(schema.index_of(name).ok()?).ok());
    let sorting =
        sorting.map(|column_idx| SortingColumn { column_idx, descending: false, nulls_first: false });
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("busbar ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_sorting_columns(Some(sorting.collect()));
    for field in schema.fields() {
        let encoding = match field.data_type() {
            DataType::Int16 | DataType::Int64 | DataType::Timestamp(..) => Encoding::DELTA_BINARY_PACKED,
            DataType::Decimal128(digits, _) if *digits <= INT64_DIGITS => Encoding::DELTA_BINARY_PACKED,
            DataType::Boolean => Encoding::RLE,
            _ => continue,
        };
        let column = ColumnPath::from(vec![field.name().clone()]);
        properties = properties
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_encoding(column, encoding);
    }
    Ok(properties)
}

/// Writers for the columns of one row group, in the order of the schema; those in `plain` get no dictionary.
///
/// # Errors
/// [`Error::Parquet`](crate::Error::Parquet) when a type has no counterpart in Parquet.
pub(super) fn writers(
    schema: &SchemaRef,
    mut properties: WriterPropertiesBuilder,
    plain: &[&str],
    row_group: usize,
) -> Result<Vec<ArrowColumnWriter>> {
    for name in plain {
        let column = ColumnPath::from(vec![(*name).to_owned()]);
        properties = properties.set_column_dictionary_enabled(column, false);
    }
    // The crate has properties per file, and these belong to a row group: it believes in a file of its own.
    let root = ArrowSchemaConverter::new().convert(schema)?.root_schema_ptr();
    let nowhere = SerializedFileWriter::new(io::sink(), root, Arc::new(properties.build()))?;
    Ok(ArrowRowGroupWriterFactory::new(&nowhere, Arc::clone(schema)).create_column_writers(row_group)?)
}

/// Whether the parts of a column hold floats that hardly repeat.
pub(super) fn hardly_repeats<'a>(parts: impl Iterator<Item = &'a ArrayRef> + Clone) -> bool {
    let floats = parts.filter_map(|part| part.as_primitive_opt());
    let rows: usize = floats.clone().map(Float64Array::len).sum();
    // All rows, or blocks of them.
    let (block, step) =
        if rows <= SAMPLE { (rows, rows.max(1)) } else { (SAMPLE_BLOCK, rows / (SAMPLE / SAMPLE_BLOCK)) };
    let (mut seen, mut repeated, mut first) = (HashSet::with_capacity(SAMPLE), 0_usize, 0);
    for part in floats {
        // `first` is the row of the column at which the part begins.
        let end = first + part.len();
        for from in (first / step * step..end).step_by(step) {
            let rows = (from.max(first)..end.min(from + block)).map(|row| row - first);
            for row in rows.filter(|row| part.is_valid(*row)) {
                repeated += usize::from(!seen.insert(part.value(row).to_bits()));
            }
        }
        first = end;
    }
    repeated * REPETITION < seen.len() + repeated
}
