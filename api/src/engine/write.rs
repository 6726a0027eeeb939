//! The write path as the routes see it.

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use ingest::line_protocol::{Dialect, LineError, Precision};
use storage::model::{DatabaseName, FieldType};

/// Takes lines until they are durable and visible.
pub trait Writer: Send + Sync + 'static {
    /// Ok when every accepted row is durable and visible.
    fn write_lines(&self, request: LinesRequest) -> BoxFuture<'_, Result<Written, WriteError>>;

    /// Ok when the database exists and that is durable; also when it existed before.
    fn create_database(&self, name: DatabaseName) -> BoxFuture<'_, Result<(), WriteError>>;

    /// The names of all databases, sorted.
    fn databases(&self) -> Vec<DatabaseName>;
}

/// A body of line protocol.
#[derive(Debug, Clone)]
pub struct LinesRequest {
    /// Where it goes.
    pub database: DatabaseName,
    /// The lines, decompressed.
    pub body: Bytes,
    /// The unit of their timestamps.
    pub precision: Precision,
    /// What a bad line means for the others.
    pub mode: Mode,
}

/// What a bad line means for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nothing: the good lines are written.
    Partial,
    /// A line that cannot be parsed refuses all; a line that does not fit the schema only itself.
    AllParsed,
    /// Any bad line refuses all.
    AllOrNothing,
}

/// What became of a body.
#[derive(Debug, Clone, Default)]
pub struct Written {
    /// Rows that are durable and visible.
    pub rows: usize,
    /// Lines that held a point, good or bad: neither blank nor comment.
    pub lines: usize,
    /// Lines that were refused.
    pub rejected: Vec<RejectedLine>,
}

/// A line that was refused.
#[derive(Debug, Clone)]
pub struct RejectedLine {
    /// Its number in the body, from 1.
    pub number: usize,
    /// Its text, cut to a bound.
    pub line: String,
    /// Why.
    pub problem: LineProblem,
}

/// Why a line was refused.
#[derive(Debug, Clone)]
pub enum LineProblem {
    /// It is not line protocol.
    Parse(LineError),
    /// A field has a type that does not go with what is stored.
    TypeConflict {
        /// The measurement.
        table: String,
        /// The field.
        field: String,
        /// The type that came.
        is: FieldType,
        /// The type that is stored.
        exists: FieldType,
    },
    /// A field is called `time`.
    ReservedField {
        /// The measurement.
        table: String,
        /// The field.
        field: String,
    },
    /// A limit is reached.
    Limit(String),
    /// A name is refused.
    Name(String),
    /// The time is out of bounds.
    Time(String),
}

/// Why a body was not written.
#[derive(Debug)]
pub enum WriteError {
    /// The mode refused all lines because of these. Nothing was written.
    Rejected(Vec<RejectedLine>),
    /// The database does not exist and may not be made by writing.
    DatabaseNotFound(String),
    /// A budget is full.
    Busy {
        /// When to come again.
        retry_after: Duration,
    },
    /// Nothing can be written now.
    Unavailable {
        /// Why.
        reason: String,
        /// When to come again.
        retry_after: Duration,
    },
    /// The storage failed.
    Storage(storage::Error),
}

impl LineProblem {
    /// The reason in the words of the server that the client believes to talk to.
    #[must_use]
    pub fn reason(&self, dialect: Dialect) -> String {
        match (self, dialect) {
            (Self::Parse(error), _) => error.reason(dialect),
            (Self::TypeConflict { field, is, exists, .. }, Dialect::V3) => {
                let (is, exists) = (v3_type(*is), v3_type(*exists));
                format!(
                    "invalid column type for column '{field}', expected iox::column_type::field::{exists}, \
                     got iox::column_type::field::{is}"
                )
            }
            (Self::TypeConflict { table, field, is, exists }, _) => format!(
                "field type conflict: input field \"{field}\" on measurement \"{table}\" is type {is}, \
                 already exists as type {exists}"
            ),
            (Self::ReservedField { table, field }, Dialect::V1 | Dialect::V2) => format!(
                "invalid field name: input field \"{field}\" on measurement \"{table}\" is invalid. Field \
                 \"{field}\" has been stripped from point."
            ),
            (Self::ReservedField { field, .. }, Dialect::V3) => format!("the field name '{field}' is reserved"),
            (Self::Limit(reason) | Self::Name(reason) | Self::Time(reason), _) => reason.clone(),
        }
    }

    /// Whether the line could not be read, as opposed to read and refused.
    #[must_use]
    pub const fn is_parse_error(&self) -> bool {
        matches!(self, Self::Parse(_))
    }

    /// A short name for metrics.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Parse(_) => "parse",
            Self::TypeConflict { .. } => "type_conflict",
            Self::ReservedField { .. } => "reserved_field",
            Self::Limit(_) => "limit",
            Self::Name(_) => "name",
            Self::Time(_) => "time",
        }
    }
}

/// The names of InfluxDB 3's column types.
const fn v3_type(field_type: FieldType) -> &'static str {
    match field_type {
        FieldType::Float => "float",
        FieldType::Integer => "integer",
        FieldType::Unsigned => "uinteger",
        FieldType::Boolean => "boolean",
        FieldType::Text => "string",
    }
}
