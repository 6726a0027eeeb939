//! The one mapping from failures to status codes, headers and bodies, in the words of the server that the client
//! believes to talk to. `reference`: InfluxDB's v1, v2 and v3 servers; RFC 9457 for Busbar's own paths.
//!
//! Invariants: every failure has an answer in every dialect; every error body is JSON; a fault of the engine is
//! logged here, once, and answered without its insides.

mod lines;

#[cfg(test)]
mod tests;

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ingest::intake::WriteError;
use ingest::line_protocol::InvalidPrecision;
use serde_json::{Value, json};
use storage::ErrorKind;
use storage::model::NameError;

pub use lines::RefusedLines;
pub(crate) use lines::kept_text;

use lines::Quarantined;

use crate::auth::Refusal;
use crate::doors::{Closed, OPENING_RETRY_AFTER};

/// Whose words an endpoint uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// InfluxDB 1: `/write`, `/query`.
    V1,
    /// InfluxDB 2: below `/api/v2`.
    V2,
    /// InfluxDB 3: below `/api/v3`.
    V3,
    /// Busbar's own paths.
    Native,
}

/// Every reason for which a request is not answered as asked.
#[derive(Debug)]
pub enum Failure {
    /// It may not come in.
    Unauthenticated(Refusal),
    /// There is no such path.
    NoSuchPath,
    /// The path does not take this method.
    WrongMethod,
    /// No database is named.
    DatabaseRequired,
    /// The database cannot be called that.
    DatabaseName(NameError),
    /// The database does not exist.
    DatabaseNotFound(String),
    /// The unit of timestamps is not known.
    Precision(InvalidPrecision),
    /// A parameter is missing or wrong; the text says which and how.
    Parameter(String),
    /// The body, as sent or decompressed, is longer than this many bytes.
    BodyTooLarge(usize),
    /// The body has an encoding that the endpoint does not read.
    BodyEncoding(String),
    /// The body cannot be decompressed.
    BodyCompressed(String),
    /// The body is not text.
    BodyNotUtf8(String),
    /// The client stopped sending.
    BodyLost,
    /// The body holds no line.
    BodyEmpty,
    /// Some or all lines were refused.
    Lines(RefusedLines),
    /// The text is not a statement that `/query` answers.
    Statement(String),
    /// A query has no answer.
    Sql(query::Error),
    /// A budget is full.
    Busy(Duration),
    /// Nothing can be done now.
    Unavailable {
        /// Why.
        reason: String,
        /// When to come again.
        retry_after: Duration,
    },
    /// The request took longer than this.
    Timeout(Duration),
    /// The storage failed.
    Storage(storage::Error),
    /// A handler panicked.
    Panic,
}

/// InfluxDB's limit for the error header, which it repeats the body in.
const HEADER_BYTES: usize = 1_024;

/// How long a client waits after a fault that mends itself, such as a full disk that is being cleaned.
const FAULT_RETRY_AFTER: Duration = Duration::from_secs(5);

/// How long a client waits for the memory of other requests.
pub const BUSY_RETRY_AFTER: Duration = Duration::from_secs(1);

impl Dialect {
    /// Who speaks at a path.
    #[must_use]
    pub fn of_path(path: &str) -> Self {
        if path == "/write" || path == "/query" {
            Self::V1
        } else if path.starts_with("/api/v2/") {
            Self::V2
        } else if path.starts_with("/api/v3/") {
            Self::V3
        } else {
            Self::Native
        }
    }

    /// A short name for metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::V3 => "v3",
            Self::Native => "native",
        }
    }
}

impl From<WriteError> for Failure {
    /// Lines that were refused need the request's context: see [`RefusedLines`].
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Rejected(lines) => Self::Lines(RefusedLines::all(lines)),
            WriteError::DatabaseNotFound(name) => Self::DatabaseNotFound(name),
            WriteError::Busy { retry_after } => Self::Busy(retry_after),
            WriteError::Unavailable { reason, retry_after } => Self::Unavailable { reason, retry_after },
            WriteError::Storage(error) => Self::Storage(error),
        }
    }
}

impl From<query::Error> for Failure {
    fn from(error: query::Error) -> Self {
        match error {
            query::Error::DatabaseNotFound(name) => Self::DatabaseNotFound(name),
            query::Error::Busy { .. } => Self::Busy(BUSY_RETRY_AFTER),
            other => Self::Sql(other),
        }
    }
}

impl From<Closed> for Failure {
    fn from(closed: Closed) -> Self {
        Self::Unavailable { reason: closed.to_string(), retry_after: OPENING_RETRY_AFTER }
    }
}

impl Failure {
    /// The whole answer.
    #[must_use]
    pub fn answer(&self, dialect: Dialect) -> Response {
        let status = self.status(dialect);
        self.log(status);
        let message = self.message(dialect);
        let mut response = match (self, dialect) {
            (Self::Lines(lines), Dialect::V3) => (status, Json(lines.v3_body())).into_response(),
            (Self::Lines(lines), _) => envelope(status, &message, dialect, &lines.quarantined()),
            _ => envelope(status, &message, dialect, &[]),
        };
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        if status == StatusCode::UNAUTHORIZED {
            let scheme = match dialect {
                Dialect::V1 => HeaderValue::from_static("Basic realm=\"InfluxDB\""),
                _ => HeaderValue::from_static("Bearer realm=\"Busbar\""),
            };
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }

    /// The status code.
    #[must_use]
    pub fn status(&self, dialect: Dialect) -> StatusCode {
        match self {
            Self::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Self::NoSuchPath | Self::DatabaseNotFound(_) => StatusCode::NOT_FOUND,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyEncoding(_) => match dialect {
                Dialect::V2 | Dialect::V3 => StatusCode::BAD_REQUEST,
                Dialect::V1 | Dialect::Native => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            },
            Self::Lines(lines) if dialect == Dialect::V2 && !lines.has_parse_errors() => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::DatabaseRequired
            | Self::DatabaseName(_)
            | Self::Precision(_)
            | Self::Parameter(_)
            | Self::BodyCompressed(_)
            | Self::BodyNotUtf8(_)
            | Self::BodyLost
            | Self::BodyEmpty
            | Self::Lines(_)
            | Self::Statement(_) => StatusCode::BAD_REQUEST,
            Self::Busy(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable { .. } | Self::Timeout(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Sql(error) => sql_status(error),
            Self::Storage(error) => storage_status(error.kind(), dialect),
            Self::Panic => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What is said. Nothing of the engine's insides.
    fn message(&self, dialect: Dialect) -> String {
        match self {
            Self::Unauthenticated(refusal) => unauthenticated(*refusal, dialect).into(),
            Self::NoSuchPath => "path not found".into(),
            Self::WrongMethod => "method not allowed".into(),
            Self::DatabaseRequired => match dialect {
                Dialect::V2 => "bucket is required".into(),
                Dialect::V3 => "missing field `db`".into(),
                Dialect::V1 | Dialect::Native => "database is required".into(),
            },
            Self::DatabaseName(error) => error.to_string(),
            Self::DatabaseNotFound(name) => match dialect {
                Dialect::V2 => format!("bucket {name:?} not found"),
                _ => format!("database not found: {name:?}"),
            },
            Self::Precision(error) => error.to_string(),
            Self::Parameter(text) => text.clone(),
            Self::BodyTooLarge(limit) => match dialect {
                Dialect::V1 => "Request Entity Too Large".into(),
                _ => format!("max request size ({limit} bytes) exceeded"),
            },
            Self::BodyEncoding(name) => format!("unacceptable content-encoding: {name}"),
            Self::BodyCompressed(reason) => format!("error decoding gzip body: {reason}"),
            Self::BodyNotUtf8(reason) => format!("body content is not valid utf8: {reason}"),
            Self::BodyLost => "the body ended before its length".into(),
            Self::BodyEmpty => "incoming write was empty".into(),
            Self::Lines(lines) => lines.message(dialect),
            Self::Statement(text) => format!("error parsing query: {text}"),
            Self::Sql(query::Error::Internal(_)) | Self::Panic => "internal error".into(),
            Self::Sql(query::Error::Damaged(_)) => "stored data is damaged: see the engine's log".into(),
            Self::Sql(error) => error.to_string(),
            Self::Busy(_) => "too many requests at one time: come again after Retry-After".into(),
            Self::Unavailable { reason, .. } => reason.clone(),
            Self::Timeout(limit) => format!("the request took longer than {} s", limit.as_secs()),
            Self::Storage(error) => match error.kind() {
                ErrorKind::Invalid | ErrorKind::LimitExceeded | ErrorKind::NotFound | ErrorKind::Conflict => {
                    error.to_string()
                }
                ErrorKind::Unavailable => "the engine cannot take writes now: see /ready".into(),
                ErrorKind::Damaged | ErrorKind::Internal => "internal error".into(),
            },
        }
    }

    /// When to come again, for failures that pass.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy(wait) | Self::Unavailable { retry_after: wait, .. } => Some(*wait),
            Self::Timeout(_) => Some(FAULT_RETRY_AFTER),
            Self::Sql(query::Error::Memory(_)) => Some(BUSY_RETRY_AFTER),
            Self::Sql(query::Error::StoreUnavailable(_)) => Some(FAULT_RETRY_AFTER),
            Self::Storage(error) if error.kind() == ErrorKind::Unavailable => Some(FAULT_RETRY_AFTER),
            _ => None,
        }
    }

    fn log(&self, status: StatusCode) {
        match self {
            Self::Storage(error) if status.is_server_error() => {
                tracing::error!(error = %error, "the storage failed");
            }
            Self::Sql(query::Error::Internal(error)) => tracing::error!(%error, "a query failed"),
            Self::Sql(query::Error::StoreUnavailable(error)) => {
                tracing::warn!(%error, "a query was not answered by the object store");
            }
            Self::Sql(query::Error::Damaged(what)) => tracing::error!(%what, "stored data is damaged"),
            _ if status.is_server_error() => tracing::warn!(failure = ?self, "a request was not served"),
            _ => tracing::debug!(failure = ?self, "a request was refused"),
        }
    }
}

fn sql_status(error: &query::Error) -> StatusCode {
    match error.kind() {
        query::ErrorKind::NotFound => StatusCode::NOT_FOUND,
        query::ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        query::ErrorKind::Deadline => StatusCode::REQUEST_TIMEOUT,
        query::ErrorKind::Memory | query::ErrorKind::Busy => StatusCode::TOO_MANY_REQUESTS,
        query::ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        query::ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn storage_status(kind: ErrorKind, dialect: Dialect) -> StatusCode {
    match kind {
        ErrorKind::LimitExceeded if dialect == Dialect::V2 => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::Invalid | ErrorKind::LimitExceeded => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Damaged | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn unauthenticated(refusal: Refusal, dialect: Dialect) -> &'static str {
    match (dialect, refusal) {
        (Dialect::V1, Refusal::Missing | Refusal::Malformed) => "unable to parse authentication credentials",
        (Dialect::V1, Refusal::Unknown) => "authorization failed",
        (Dialect::V2, _) => "unauthorized access",
        (Dialect::V3, _) => "the request was not authenticated",
        (Dialect::Native, _) => "a token is needed: send it as `Authorization: Bearer TOKEN`",
    }
}

/// The name of a status in the v2 envelope, and in ours.
fn code(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "unauthorized",
        403 => "forbidden",
        404 => "not found",
        405 => "method not allowed",
        408 => "deadline exceeded",
        413 => "request too large",
        415 => "unsupported media type",
        422 => "unprocessable entity",
        429 => "too many requests",
        503 => "unavailable",
        500..=599 => "internal error",
        _ => "invalid",
    }
}

fn envelope(status: StatusCode, message: &str, dialect: Dialect, kept: &[Quarantined]) -> Response {
    let body = |mut body: Value| {
        if !kept.is_empty()
            && let Some(object) = body.as_object_mut()
        {
            object.insert("quarantined".to_owned(), json!(kept));
        }
        Json(body)
    };
    match dialect {
        Dialect::V1 => {
            let header = (HeaderName::from_static("x-influxdb-error"), header_text(message));
            (status, [header], body(json!({ "error": message }))).into_response()
        }
        Dialect::V2 => {
            let code = code(status);
            let header = (HeaderName::from_static("x-platform-error-code"), HeaderValue::from_static(code));
            (status, [header], body(json!({ "code": code, "message": message }))).into_response()
        }
        Dialect::V3 => (status, Json(json!({ "error": message }))).into_response(),
        Dialect::Native => {
            let body = json!({
                "type": "about:blank",
                "title": status.canonical_reason().unwrap_or_default(),
                "status": status.as_u16(),
                "code": code(status).replace(' ', "_"),
                "detail": message,
            });
            let header = (header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
            (status, [header], body.to_string()).into_response()
        }
    }
}

/// A message as a header: cut, and without what a header cannot hold.
fn header_text(message: &str) -> HeaderValue {
    let end = message.floor_char_boundary(HEADER_BYTES);
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = message.get(..end).unwrap_or_default().chars().map(visible).collect();
    HeaderValue::from_bytes(text.as_bytes()).unwrap_or(HeaderValue::from_static("error"))
}

/// Whole seconds, rounded up and at least one: clients read nothing finer.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1_000).max(1).try_into().unwrap_or(u64::MAX)
}
