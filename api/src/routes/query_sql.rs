//! `GET` and `POST /api/v3/query_sql`: one read-only SQL statement, its rows in the format that was asked for.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse as _, Response};
use futures::TryStreamExt as _;
use query::QueryResult;
use query::format::{Format, encode};
use serde::Deserialize;

use super::body;
use super::parameters::Parameters;
use crate::error::{Dialect, Failure};
use crate::surface::Surface;

/// Bytes of a statement and its parameters: people and dashboards stay far below.
const REQUEST_BYTES: usize = 1 << 20;

/// The body of a POST. As all fields are optional here, what is missing gets the same answer as with GET.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    #[serde(default)]
    db: String,
    #[serde(default)]
    q: String,
    #[serde(default)]
    format: Option<String>,
    #[serde(default)]
    params: serde_json::Map<String, serde_json::Value>,
}

/// The statement of the address.
pub(super) async fn get(State(surface): State<Surface>, uri: Uri, headers: HeaderMap) -> Response {
    let result = match from_address(&uri) {
        Ok(request) => run(&surface, request, &headers).await,
        Err(failure) => Err(failure),
    };
    result.unwrap_or_else(|failure| failure.answer(Dialect::V3))
}

/// The statement of the body.
pub(super) async fn post(State(surface): State<Surface>, headers: HeaderMap, body: Body) -> Response {
    let rules = body::Rules { limit: REQUEST_BYTES, dialect: Dialect::V3, budget: &surface.bodies };
    let result = match body::read(&headers, body, rules).await.and_then(|whole| from_json(&whole.bytes)) {
        Ok(request) => run(&surface, request, &headers).await,
        Err(failure) => Err(failure),
    };
    result.unwrap_or_else(|failure| failure.answer(Dialect::V3))
}

fn from_address(uri: &Uri) -> Result<Request, Failure> {
    let parameters = Parameters::of(uri);
    let text = |name: &str| Some(parameters.get(name).to_owned()).filter(|text| !text.is_empty());
    let params = text("params").map(|json| serde_json::from_str(&json)).transpose();
    let params =
        params.map_err(|error| Failure::Parameter(format!("params is not a JSON object: {error}")))?;
    let params = params.unwrap_or_default();
    let (db, q) = (parameters.get("db").to_owned(), parameters.get("q").to_owned());
    Ok(Request { db, q, format: text("format"), params })
}

fn from_json(bytes: &[u8]) -> Result<Request, Failure> {
    serde_json::from_slice(bytes)
        .map_err(|error| Failure::Parameter(format!("the body is not a query as JSON: {error}")))
}

async fn run(surface: &Surface, request: Request, headers: &HeaderMap) -> Result<Response, Failure> {
    if request.db.is_empty() {
        return Err(Failure::DatabaseRequired);
    }
    if request.q.trim().is_empty() {
        return Err(Failure::Parameter("missing field `q`".into()));
    }
    let format = match request.format.as_deref() {
        Some(name) => format_of_name(name)?,
        None => format_of_accept(headers),
    };
    if !request.params.is_empty() {
        return Err(Failure::Parameter(
            "params are not supported: write the values into the statement".into(),
        ));
    }
    let result = surface.doors.queries()?.query(Some(&request.db), &request.q).await?;
    let result = QueryResult { batches: result.batches.begun().await?, ..result };
    // The status is sent before the rest of the rows: an error among them cuts the connection, so that no client takes the
    // beginning for the whole.
    let rows = encode(format, result)?.inspect_err(|error| tracing::warn!(%error, "an answer was cut"));
    let body = Body::from_stream(rows);
    let content_type = [(header::CONTENT_TYPE, format.content_type())];
    Ok((content_type, body).into_response())
}

fn format_of_name(name: &str) -> Result<Format, Failure> {
    match name {
        "json" => Ok(Format::Json),
        "jsonl" | "json_lines" => Ok(Format::JsonLines),
        "csv" => Ok(Format::Csv),
        "pretty" => Ok(Format::Pretty),
        "parquet" => Ok(Format::Parquet),
        "arrow" => Ok(Format::Arrow),
        other => {
            let shown: String = other.chars().take(32).collect();
            let known = "json, jsonl, csv, pretty, parquet or arrow";
            Err(Failure::Parameter(format!("invalid format {shown:?} (use {known})")))
        }
    }
}

/// The format that `Accept` asks for first, JSON when it names none that we write.
fn format_of_accept(headers: &HeaderMap) -> Format {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let known = |part: &str| match part.split(';').next().unwrap_or_default().trim() {
        "application/json" => Some(Format::Json),
        "application/jsonl" | "application/x-ndjson" => Some(Format::JsonLines),
        "text/csv" => Some(Format::Csv),
        "text/plain" => Some(Format::Pretty),
        "application/vnd.apache.parquet" => Some(Format::Parquet),
        "application/vnd.apache.arrow.stream" => Some(Format::Arrow),
        _ => None,
    };
    accept.split(',').find_map(known).unwrap_or(Format::Json)
}
