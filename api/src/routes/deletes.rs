//! Deletes of rows.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use ingest::intake::DeleteRequest;
use serde::Deserialize;
use storage::model::{DatabaseName, TagTest};
use utoipa::ToSchema;

use super::body::small;
use super::extract::Path;
use super::time_span;
use crate::problem::Problem;
use crate::surface::Surface;

/// Bytes of a request: some hundred tags.
const REQUEST_BYTES: usize = 64 << 10;

/// Which rows are deleted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteBody {
    /// The table; without it every table of the database.
    #[serde(default)]
    table: Option<String>,
    /// The first time, RFC 3339.
    #[schema(format = DateTime)]
    start: String,
    /// The time before which the last row is.
    #[schema(format = DateTime)]
    stop: String,
    /// The values that tags must have; the empty text stands for none.
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

/// Deletes rows by time and tags. On 204 it is durable, and no query sees them any more.
#[utoipa::path(post, path = "/databases/{database}/delete", operation_id = "delete_rows", tag = "databases",
    params(("database" = String, Path, description = "Name")), request_body = DeleteBody,
    responses((status = 204, description = "The rows are hidden; files lose them when they are merged"),
        (status = 400), (status = 404), (status = 429), (status = 503)))]
pub(super) async fn create(
    State(surface): State<Surface>,
    Path(database): Path<String>,
    body: Body,
) -> Result<StatusCode, Problem> {
    let bytes = small(body, REQUEST_BYTES).await?;
    let invalid = |detail: String| Problem::new(StatusCode::BAD_REQUEST, "invalid", detail);
    let body: DeleteBody = serde_json::from_slice(&bytes)
        .map_err(|error| invalid(format!("the body is not a delete as JSON: {error}")))?;
    let database = DatabaseName::new(&database).map_err(|error| invalid(error.to_string()))?;
    let times = time_span::parse(&body.start, &body.stop).map_err(invalid)?;
    let tags = body.tags.into_iter().map(|(tag, value)| TagTest::is(tag, value)).collect();
    let request = DeleteRequest { database, table: body.table, times, tags };
    surface.doors.intake()?.delete(request).await?;
    Ok(StatusCode::NO_CONTENT)
}
