//! Writes Parquet files of sorted rows, durably, with their statistics and checksum.
//!
//! 1. Write `<name>.tmp` ([`UNFINISHED`]) beside the target, with a checksum over every byte on the way ([`sink`]).
//! 2. Rows gather until there is a row group of them, which is then encoded column by column: tags from the runs of
//!    the series ([`tag_pages`]), numbers and booleans from their values ([`number_pages`]), text, unsigned integers
//!    and nanoseconds by the crate's encoders ([`columns`]). Where all rows are known, as in a flush, one column after
//!    the other is encoded for all row groups ([`by_field`]).
//! 3. Sync the file, rename it to its name, sync the folder.
//!
//! Invariants: a file that has its name is complete, and its checksum is [`WrittenFile::checksum`]. Every column has
//! statistics, and a page index with pages of at most [`PAGE_ROWS`] rows, so that a reader can skip within a file.
//! No page has a checksum of its own, because the crate (59) writes none; that of the file stands in for them.

mod by_field;
mod columns;
mod delta_packed;
mod distinct;
mod encoder;
mod hybrid;
mod number_pages;
mod packed;
mod pages;
mod read;
mod row_group;
mod sink;
mod stats;
mod tag_pages;
mod tags;
#[cfg(test)]
pub(crate) mod tests;
mod value_bounds;
mod writer;

pub use self::by_field::write_by_field;
pub use self::read::read_sorted;
pub use self::sink::UNFINISHED;
pub use self::writer::{Columns, FileWriter, WrittenFile};

/// Rows of one row group. Sizes of 16 Ki to 1 Mi differ by 3 % in bytes; this bounds what a reader decodes for
/// one group to some 40 MB with ten columns, and lets a large file be read by several threads.
const ROW_GROUP_ROWS: usize = 256 * 1024;

/// Rows of one page: the default of the crate, 13 pages a row group.
const PAGE_ROWS: usize = 20_000;

/// Level of all compression, with which the encodings were chosen.
const ZSTD_LEVEL: i32 = 1;
