//! Databases: which there are, and how long their rows are kept.

use axum::Json;
use axum::body::Body;
use axum::extract::{OriginalUri, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use storage::engine::Engine;
use storage::model::{DatabaseName, Retention};
use utoipa::ToSchema;

use super::body::small;
use super::extract::{Path, Query};
use super::page::{self, Page, Wanted};
use crate::config::Period;
use crate::problem::Problem;
use crate::surface::Surface;

/// Bytes of a declaration: 500 fields of names as long as people write them.
const DECLARATION_BYTES: usize = 1 << 20;

/// What a client may say of a database.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DatabaseBody {
    /// How long rows are kept whose table says nothing: a span such as `30days`, at least an hour, or `forever`.
    /// Null or nothing: as the configuration says.
    retention: Option<String>,
}

/// A database, as a client gets it.
#[derive(Serialize, ToSchema)]
pub(super) struct DatabaseView {
    /// Its name.
    name: String,
    /// What was declared.
    retention: Option<String>,
    /// How long its rows are kept whose table says nothing.
    effective_retention: String,
    /// Number of its tables.
    tables: usize,
}

fn view(engine: &Engine, name: &DatabaseName) -> DatabaseView {
    let retention = engine.catalog().database_retention(name.as_str()).flatten();
    DatabaseView {
        name: name.to_string(),
        retention: retention.map(retention_text),
        effective_retention: retention_text(retention.unwrap_or(engine.config().retention)),
        tables: engine.catalog().table_count(name.as_str()),
    }
}

/// Lists databases by name.
#[utoipa::path(get, path = "/databases", operation_id = "list_databases", tag = "databases",
    params(("limit" = Option<usize>, Query, description = "1 to 1000, 100 if not given"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before")),
    responses((status = 200, body = Page<DatabaseView>), (status = 400)))]
pub(super) async fn list(
    State(surface): State<Surface>,
    OriginalUri(uri): OriginalUri,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let engine = surface.doors.intake()?.engine();
    page::answer(&uri, &wanted, engine.catalog().databases(), DatabaseName::as_str, |name| view(engine, name))
}

/// Reads a database.
#[utoipa::path(get, path = "/databases/{database}", operation_id = "read_database", tag = "databases",
    params(("database" = String, Path, description = "Its name; `/` is written `%2F`")),
    responses((status = 200, body = DatabaseView), (status = 404)))]
pub(super) async fn read(
    State(surface): State<Surface>,
    Path(database): Path<String>,
) -> Result<Response, Problem> {
    let engine = surface.doors.intake()?.engine();
    Ok(Json(view(engine, &existing(engine, &database)?)).into_response())
}

/// Makes a database, or says anew what holds for it. On the answer it is durable.
#[utoipa::path(put, path = "/databases/{database}", operation_id = "put_database", tag = "databases",
    params(("database" = String, Path, description = "Its name; `/` is written `%2F`")),
    request_body = DatabaseBody,
    responses((status = 200, body = DatabaseView), (status = 201, body = DatabaseView), (status = 400)))]
pub(super) async fn put(
    State(surface): State<Surface>,
    Path(database): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    let body: DatabaseBody = declared(body).await?;
    let retention = body.retention.as_deref().map(retention_of).transpose()?;
    let intake = surface.doors.intake()?;
    let name = name_of(&database)?;
    let created = intake.declare_database(&name, retention).await?;
    Ok((made(created), Json(view(intake.engine(), &name))).into_response())
}

/// The name of a database that is there.
pub(super) fn existing(engine: &Engine, database: &str) -> Result<DatabaseName, Problem> {
    let name = name_of(database)?;
    if engine.catalog().has_database(database) {
        return Ok(name);
    }
    Err(Problem::new(StatusCode::NOT_FOUND, "not_found", format!("there is no database {database:?}")))
}

pub(super) fn name_of(database: &str) -> Result<DatabaseName, Problem> {
    DatabaseName::new(database).map_err(|error| storage::Error::from(error).into())
}

/// Reads the body of a PUT of a database or a table.
pub(super) async fn declared<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    serde_json::from_slice(&small(body, DECLARATION_BYTES).await?)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "bad_json", error.to_string()))
}

/// A span of time or `forever`.
pub(super) fn retention_of(text: &str) -> Result<Retention, Problem> {
    let bad = |error: String| Problem::new(StatusCode::BAD_REQUEST, "bad_retention", error);
    let period: Period = text.parse().map_err(bad)?;
    Ok(Retention::try_from(period)?)
}

/// As [`retention_of`] reads it.
pub(super) fn retention_text(retention: Retention) -> String {
    Period::from(retention).to_string()
}

pub(super) const fn made(created: bool) -> StatusCode {
    if created { StatusCode::CREATED } else { StatusCode::OK }
}
