//! A row that a mapping made from a message.

use storage::model::{FieldValue, Timestamp};

/// One row on its way to the intake.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The database.
    pub database: String,
    /// The table.
    pub table: String,
    /// Tags: name and value.
    pub tags: Vec<(String, String)>,
    /// Fields: name and value.
    pub fields: Vec<(String, FieldValue)>,
    /// The time; the time of arrival if the message has none.
    pub time: Option<Timestamp>,
}
