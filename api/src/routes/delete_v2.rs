//! `POST /api/v2/delete`, as InfluxDB 2 answers it: rows of a bucket by time and predicate.
//!
//! From `start` up to and without `stop`, so that deletes of neighbouring ranges do not meet.

mod predicate;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use ingest::intake::{DeleteRequest, Deleted};
use serde::Deserialize;

use self::predicate::Predicate;
use super::parameters::Parameters;
use super::{body, deletes, lines, time_span};
use crate::error::{Dialect, Failure};
use crate::surface::Surface;

/// Bytes of a request: some hundred tests.
const REQUEST_BYTES: usize = 64 << 10;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    #[serde(default)]
    start: String,
    #[serde(default)]
    stop: String,
    #[serde(default)]
    predicate: String,
}

/// 204, or an error in InfluxDB 2's words.
pub(super) async fn post(
    State(surface): State<Surface>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let done = run(&surface, &Parameters::of(&uri), &headers, body).await;
    done.map_or_else(|failure| failure.answer(Dialect::V2), |deleted| deletes::done(&deleted))
}

async fn run(
    surface: &Surface,
    parameters: &Parameters,
    headers: &HeaderMap,
    body: Body,
) -> Result<Deleted, Failure> {
    let database = lines::database(parameters.get("bucket"))?;
    let rules = body::Rules { limit: REQUEST_BYTES, dialect: Dialect::V2, budget: &surface.bodies };
    let intake = surface.doors.intake()?;
    let whole = body::read(headers, body, rules).await?;
    let request: Request = serde_json::from_slice(&whole.bytes)
        .map_err(|error| Failure::Parameter(format!("the body is not a delete as JSON: {error}")))?;
    let times = time_span::parse(&request.start, &request.stop).map_err(Failure::Parameter)?;
    let Predicate { table, tags } = predicate::parse(&request.predicate).map_err(Failure::Parameter)?;
    Ok(intake.delete(DeleteRequest { database, table, times, tags }).await?)
}
