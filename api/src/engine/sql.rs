//! The SQL service as the routes see it.

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

/// Answers read-only SQL.
pub trait Sql: Send + Sync + 'static {
    /// Plans and starts a query. Dropping the answer's body ends it.
    fn query(&self, request: SqlRequest) -> BoxFuture<'_, Result<SqlAnswer, SqlError>>;
}

/// Values for `$name` in a query.
pub type Parameters = serde_json::Map<String, serde_json::Value>;

/// A query.
#[derive(Debug, Clone)]
pub struct SqlRequest {
    /// The database whose tables need no schema in their names. Not checked yet.
    pub database: String,
    /// One statement.
    pub sql: String,
    /// How the rows are written.
    pub format: Format,
    /// Values for `$name`.
    pub parameters: Parameters,
}

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// One JSON array of objects.
    Json,
    /// One JSON object a line.
    JsonLines,
    /// Comma-separated, with a header line.
    Csv,
    /// A table for people.
    Pretty,
    /// A Parquet file.
    Parquet,
    /// An Arrow IPC stream.
    Arrow,
}

/// The rows of a query, in pieces.
pub struct SqlAnswer {
    /// The pieces. An error ends them, and the connection with them, because the status was sent before.
    pub body: BoxStream<'static, Result<Bytes, SqlError>>,
}

/// Why a query has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SqlError {
    /// The database does not exist.
    #[error("database not found: {0:?}")]
    DatabaseNotFound(String),
    /// The statement is wrong, or is not one that only reads.
    #[error("{0}")]
    Invalid(String),
    /// The query ran too long.
    #[error("the query ran longer than {} s: ask for less, or raise query.deadline", .0.as_secs())]
    Deadline(Duration),
    /// The query needs more memory than it may have.
    #[error("{0}")]
    Memory(String),
    /// Too many queries run.
    #[error("too many queries run: come again later, or raise query.concurrency")]
    Busy {
        /// When to come again.
        retry_after: Duration,
    },
    /// Nothing can be answered now.
    #[error("{reason}")]
    Unavailable {
        /// Why.
        reason: String,
        /// When to come again.
        retry_after: Duration,
    },
    /// A fault of the engine.
    #[error("{0}")]
    Internal(String),
}

impl Format {
    /// The media type of the answer.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::JsonLines => "application/jsonl",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Pretty => "text/plain; charset=utf-8",
            Self::Parquet => "application/vnd.apache.parquet",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}
