//! Deletes of rows.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use ingest::intake::{DeleteRequest, Deleted};
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

/// Says what the operator should know of a request that is done.
const WARNING: HeaderName = HeaderName::from_static("x-busbar-warning");

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

/// Deletes rows by time and tags. On 204 it is durable, and no query sees them any more. A header `x-busbar-warning` says
/// if lines of such rows could not be erased from the quarantine yet.
#[utoipa::path(post, path = "/databases/{database}/delete", operation_id = "delete_rows", tag = "databases",
    params(("database" = String, Path, description = "Name")), request_body = DeleteBody,
    responses((status = 204, description = "The rows are hidden; files lose them when they are merged"),
        (status = 400), (status = 404), (status = 429), (status = 503)))]
pub(super) async fn create(
    State(surface): State<Surface>,
    Path(database): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = small(body, REQUEST_BYTES).await?;
    let invalid = |detail: String| Problem::new(StatusCode::BAD_REQUEST, "invalid", detail);
    let body: DeleteBody = serde_json::from_slice(&bytes)
        .map_err(|error| invalid(format!("the body is not a delete as JSON: {error}")))?;
    let database = DatabaseName::new(&database).map_err(|error| invalid(error.to_string()))?;
    let times = time_span::parse(&body.start, &body.stop).map_err(invalid)?;
    let tags = body.tags.into_iter().map(|(tag, value)| TagTest::is(tag, value)).collect();
    let request = DeleteRequest { database, table: body.table, times, tags };
    Ok(done(&surface.doors.intake()?.delete(request).await?))
}

/// The answer to a delete that is done. What a 204 cannot say in a body stands in a header.
pub(super) fn done(deleted: &Deleted) -> Response {
    let mut answer = StatusCode::NO_CONTENT.into_response();
    if let Some(why) = &deleted.lines_left {
        let text =
            format!("lines of deleted rows are in the quarantine still, and go before it is replayed: {why}");
        let text: String = text.chars().map(|c| if c.is_ascii_graphic() { c } else { ' ' }).collect();
        answer.headers_mut().extend(HeaderValue::try_from(text).ok().map(|text| (WARNING, text)));
    }
    answer
}
