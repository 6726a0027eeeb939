//! One row, as a source that knows no line protocol gives it.

use storage::model::{FieldValue, Timestamp};

/// One row on its way to a table. Names are as the source gave them: the intake checks them.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The database.
    pub database: String,
    /// The table.
    pub table: String,
    /// Tag names and values, no name twice, no value empty.
    pub tags: Vec<(String, String)>,
    /// Field names and values, at least one, no name twice; floats are finite.
    pub fields: Vec<(String, FieldValue)>,
    /// When it was measured; `None` if the source did not say, so the time of arrival counts.
    pub time: Option<Timestamp>,
}
