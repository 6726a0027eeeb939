//! Tables of a database: how long their rows are kept, how their files are kept apart, which scales were declared.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{OriginalUri, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Deserializer, Serialize};
use storage::catalog::TableDeclaration;
use storage::engine::Engine;
use storage::model::{Partition, Scale, TableName, TableSchema};
use utoipa::ToSchema;

use super::databases::{declared, existing, made, name_of, retention_of, retention_text};
use super::extract::{Path, Query};
use super::page::{self, Page, Wanted};
use crate::problem::Problem;
use crate::surface::Surface;

/// What a client may say of a table.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TableBody {
    /// How long rows are kept: a span such as `30days`, at least an hour, or `forever`. Null: as long as the database
    /// says. If it is left out, what was said before stays.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    retention: Option<Option<String>>,
    /// Whether there are files of each day or of each month. It is fixed when the table is made, by day if nothing is
    /// said.
    partition: Option<Unit>,
    /// Fields of floats and the digits after the point that their values have, 0 to 15. A field must be declared
    /// before its first value, and what was declared stays; fields that are not named stay as they are.
    #[serde(default)]
    scales: BTreeMap<String, u64>,
}

/// Tells null from nothing.
fn said<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// How the files of a table are kept apart.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Unit {
    /// By UTC day.
    Day,
    /// By UTC month.
    Month,
}

/// A table, as a client gets it.
#[derive(Serialize, ToSchema)]
pub(super) struct TableView {
    /// Its name.
    name: String,
    /// What was declared.
    retention: Option<String>,
    /// How long its rows are kept.
    effective_retention: String,
    /// How its files are kept apart.
    partition: Unit,
    /// Fields with a declared scale.
    scales: BTreeMap<String, u64>,
}

fn view(engine: &Engine, schema: &TableSchema) -> TableView {
    let effective = engine.catalog().retention_of(schema.id).unwrap_or(engine.config().retention);
    let scales = schema.fields.iter().filter_map(|field| Some((&field.name, field.narrow.scale?)));
    TableView {
        name: schema.name.to_string(),
        retention: schema.retention.map(retention_text),
        effective_retention: retention_text(effective),
        partition: match schema.partition {
            Partition::Day => Unit::Day,
            Partition::Month => Unit::Month,
        },
        scales: scales.map(|(name, scale)| (name.to_string(), scale.digits().into())).collect(),
    }
}

/// Lists the tables of a database by name.
#[utoipa::path(get, path = "/databases/{database}/tables", operation_id = "list_tables", tag = "databases",
    params(("database" = String, Path, description = "Its name; `/` is written `%2F`"),
        ("limit" = Option<usize>, Query, description = "1 to 1000, 100 if not given"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before")),
    responses((status = 200, body = Page<TableView>), (status = 400), (status = 404)))]
pub(super) async fn list(
    State(surface): State<Surface>,
    OriginalUri(uri): OriginalUri,
    Path(database): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let engine = surface.doors.intake()?.engine();
    let database = existing(engine, &database)?;
    let tables = engine.catalog().tables(database.as_str());
    page::answer(&uri, &wanted, tables, |schema| schema.name.as_str(), |schema| view(engine, schema))
}

/// Reads a table.
#[utoipa::path(get, path = "/databases/{database}/tables/{table}", operation_id = "read_table", tag = "databases",
    params(("database" = String, Path, description = "The database; `/` is written `%2F`"),
        ("table" = String, Path, description = "The table")),
    responses((status = 200, body = TableView), (status = 404)))]
pub(super) async fn read(
    State(surface): State<Surface>,
    Path((database, table)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let engine = surface.doors.intake()?.engine();
    let Some(schema) = engine.catalog().table(&database, &table) else {
        let detail = format!("there is no table {table:?} in a database {database:?}");
        return Err(Problem::new(StatusCode::NOT_FOUND, "not_found", detail));
    };
    Ok(Json(view(engine, &schema)).into_response())
}

/// Makes a table, or says anew what holds for it. On the answer it is durable.
#[utoipa::path(put, path = "/databases/{database}/tables/{table}", operation_id = "put_table", tag = "databases",
    params(("database" = String, Path, description = "The database, made if it is missing; `/` is written `%2F`"),
        ("table" = String, Path, description = "The table")),
    request_body = TableBody,
    responses((status = 200, body = TableView), (status = 201, body = TableView), (status = 400),
        (status = 409, description = "The partition or a scale stands already and is another")))]
pub(super) async fn put(
    State(surface): State<Surface>,
    Path((database, table)): Path<(String, String)>,
    body: Body,
) -> Result<Response, Problem> {
    let body: TableBody = declared(body).await?;
    let scale = |(name, digits): (String, u64)| {
        let scale = Scale::new(digits).map_err(storage::Error::from)?;
        Ok::<_, Problem>((Arc::from(name), scale))
    };
    let scales = body.scales.into_iter().map(scale).collect::<Result<_, _>>()?;
    let intake = surface.doors.intake()?;
    let retention = match body.retention {
        Some(said) => said.as_deref().map(retention_of).transpose()?,
        None => intake.engine().catalog().table(&database, &table).and_then(|schema| schema.retention),
    };
    let declaration = TableDeclaration {
        database: name_of(&database)?,
        table: TableName::new(&table).map_err(storage::Error::from)?,
        retention,
        partition: body.partition.map(|unit| match unit {
            Unit::Day => Partition::Day,
            Unit::Month => Partition::Month,
        }),
        scales,
    };
    let declared = intake.declare_table(&declaration).await?;
    Ok((made(declared.created), Json(view(intake.engine(), &declared.schema))).into_response())
}
