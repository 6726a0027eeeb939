//! How columns other than tags are encoded (bytes per row and CPU time of each were measured, zstd 1).
//!
//! - Time and integers are `DELTA_BINARY_PACKED`, because neighbours of a series are close: 0.01 and 0.5 to 1.2
//!   bytes per row, against 0.26 and 1.3 in a dictionary.
//! - Floats are in a dictionary (1.3 bytes per row at 0.011 CPU s per million rows) unless they hardly repeat: plain
//!   ones are at best as small, cost 0.017 to 0.025, and in short series are 1.7. `BYTE_STREAM_SPLIT` made them 4.2.
//! - Floats with a declared scale are whole numbers, `DELTA_BINARY_PACKED` as well: 0.4 to 1.2 bytes per row.
//! - Booleans are runs. Text and unsigned integers (`DECIMAL(20,0)`) are in a dictionary, which the crate drops for
//!   plain pages when it gets large.

use arrow::datatypes::{DataType, SchemaRef};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::{PAGE_ROWS, ZSTD_LEVEL};
use crate::error::Result;

/// Digits of decimals that Parquet keeps in 64 bits.
pub(super) const INT64_DIGITS: u8 = 18;

/// What holds for the whole file.
///
/// # Errors
/// [`Error::Parquet`](crate::Error::Parquet) when the level of compression is not one.
pub(super) fn properties(schema: &SchemaRef, sorted_by: &[&str]) -> Result<WriterProperties> {
    let sorting = sorted_by.iter().filter_map(|name| i32::try_from(schema.index_of(name).ok()?).ok());
    let sorting =
        sorting.map(|column_idx| SortingColumn { column_idx, descending: false, nulls_first: false });
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("busbar ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_sorting_columns(Some(sorting.collect()));
    // Other columns of numbers are not written by the crate.
    for field in schema.fields().iter().filter(|field| *field.data_type() == DataType::Int16) {
        let column = ColumnPath::from(vec![field.name().clone()]);
        properties = properties
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
    }
    Ok(properties.build())
}
