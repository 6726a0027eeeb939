//! The payload of a frame: definitions, then batches as raw columns.
//!
//! All numbers are little-endian; `FORMAT.md` has the layout. Columns are written raw: compressing costs more
//! than the bytes do. The decoder trusts nothing: a payload whose checksum is right but whose content is not
//! understood is an error, never a panic.

mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::{decode_definitions, decode_group};
pub use writer::{EncodedDefinitions, encode_batch, encode_definitions};

use crate::model::WriteBatch;
use crate::series::SeriesPin;

/// A batch and its bytes in the log, encoded by the source's own task.
#[derive(Debug, Clone)]
pub struct EncodedBatch {
    /// The rows and deletes.
    pub batch: std::sync::Arc<WriteBatch>,
    /// The same as they go to the log.
    pub bytes: Vec<u8>,
    /// Keeps the series of the rows, until they are in memory (KEY-2).
    pub pin: Option<SeriesPin>,
}

/// Stands where a batch counts its tables when deletes come first. No batch has so many tables.
const DELETES_FOLLOW: u32 = u32::MAX;

/// Numbers of the kinds of definitions.
mod definition_kind {
    pub(super) const DATABASE: u8 = 1;
    pub(super) const TABLE: u8 = 2;
    pub(super) const TAG: u8 = 3;
    pub(super) const FIELD: u8 = 4;
    pub(super) const WIDENED: u8 = 5;
    pub(super) const SERIES: u8 = 6;
    pub(super) const GIVEN: u8 = 7;
    pub(super) const GIVEN_COLUMNS: u8 = 8;
    pub(super) const DATABASE_RETENTION: u8 = 9;
    pub(super) const TABLE_RETENTION: u8 = 10;
    pub(super) const TABLE_BY_MONTH: u8 = 11;
    pub(super) const SCALED_FIELD: u8 = 12;
    pub(super) const TABLE_RETENTION_KNOWN: u8 = 13;
    pub(super) const DATABASE_RETENTION_KNOWN: u8 = 14;
    pub(super) const TABLE_FOLDER: u8 = 15;
}
