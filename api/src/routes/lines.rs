//! What the three write endpoints share: read the body, hand it to the write path, count, answer.

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use ingest::intake::{LinesRequest, Mode, Protocol, RejectedLine, WriteError};
use ingest::line_protocol::Precision;
use storage::model::DatabaseName;

use super::body;
use crate::error::{Dialect, Failure, RefusedLines};
use crate::metrics::{RefusedLabels, SourceLabels};
use crate::surface::Surface;

/// A write, its parameters understood.
#[derive(Debug)]
pub(super) struct Write {
    /// Where it goes.
    pub(super) database: DatabaseName,
    /// InfluxDB 1's retention policy, as the client named it.
    pub(super) policy: Option<String>,
    /// The unit of timestamps.
    pub(super) precision: Precision,
    /// What a bad line means for the others.
    pub(super) mode: Mode,
    /// Whose endpoint it is.
    pub(super) dialect: Dialect,
}

/// The name of a database as a parameter.
///
/// # Errors
/// When it is absent or cannot be a name.
pub(super) fn database(name: &str) -> Result<DatabaseName, Failure> {
    if name.is_empty() {
        return Err(Failure::DatabaseRequired);
    }
    DatabaseName::new(name).map_err(Failure::DatabaseName)
}

/// Writes the lines of a body. On 204 every row is durable and visible.
///
/// # Errors
/// Whatever keeps a line from being written.
pub(super) async fn write(
    surface: &Surface,
    write: Write,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let Write { database, policy, precision, mode, dialect } = write;
    let limit = match dialect {
        Dialect::V2 => surface.limits.v2_body_bytes,
        Dialect::V3 => surface.limits.v3_body_bytes,
        Dialect::V1 | Dialect::Native => surface.limits.v1_body_bytes,
    };
    let rules = body::Rules { limit: limit.0, dialect, budget: &surface.bodies };
    let intake = surface.doors.intake()?;
    // Held until the answer: the write path refers to these bytes.
    let whole = body::read(headers, body, rules).await?;
    if dialect == Dialect::V3 {
        std::str::from_utf8(&whole.bytes).map_err(|error| Failure::BodyNotUtf8(error.to_string()))?;
    }
    let source = SourceLabels { protocol: dialect.name() };
    let received = u64::try_from(whole.bytes.len()).unwrap_or(u64::MAX);
    surface.metrics.ingest_bytes.get_or_create(&source).inc_by(received);
    let started = storage::clock::instant();
    let protocol = match dialect {
        Dialect::V1 | Dialect::Native => Protocol::V1,
        Dialect::V2 => Protocol::V2,
        Dialect::V3 => Protocol::V3,
    };
    let (target, bytes) = (database.clone(), whole.bytes.clone());
    let request = LinesRequest { database: target, body: bytes, precision, mode, protocol };
    let written = match intake.write_lines(request).await {
        Ok(written) => written,
        Err(error) => {
            if let WriteError::Rejected(lines) = &error {
                count_refused(surface, dialect, lines);
            }
            return Err(error.into());
        }
    };
    surface.metrics.ack_seconds.get_or_create(&source).observe(started.elapsed().as_secs_f64());
    surface.metrics.rows.get_or_create(&source).inc_by(u64::try_from(written.rows).unwrap_or(u64::MAX));
    count_refused(surface, dialect, &written.rejected);
    if !written.rejected.is_empty() {
        let lines = RefusedLines::some(written.rejected, written.rows, database.as_str(), policy.as_deref());
        return Err(Failure::Lines(lines));
    }
    if written.lines == 0 && dialect == Dialect::V3 {
        return Err(Failure::BodyEmpty);
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn count_refused(surface: &Surface, dialect: Dialect, lines: &[RejectedLine]) {
    for line in lines {
        let labels = RefusedLabels { protocol: dialect.name(), reason: line.problem.code() };
        surface.metrics.refused_lines.get_or_create(&labels).inc();
    }
}
