//! Lines that could not be stored: see them, try them again, drop them.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use chrono::DateTime;
use ingest::intake::Replayed;
use serde::{Deserialize, Serialize};
use storage::model::Timestamp;
use storage::quarantine::{Filter, KeptLine, LineId, Quarantine};
use utoipa::ToSchema;

use super::body::small;
use super::extract::{Path, Query, require_json};
use crate::problem::Problem;
use crate::surface::Surface;

/// Bytes of a request: names of databases have at most 511.
const REQUEST_BYTES: usize = 8 << 10;

/// Lines of one page of the list, at most.
const MOST_LISTED: usize = 1_000;

/// Bytes of the lines of one page, as they are read.
const PAGE_BYTES: u64 = 8 << 20;

/// Bytes of a line that the list shows.
const SHOWN_BYTES: usize = 512;

/// Lines that one request tries again, at most: some seconds of work.
const MOST_REPLAYED: usize = 10_000;

/// Which lines are meant. Every part that is there must hold.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Wanted {
    database: Option<String>,
    reason: Option<String>,
    since: Option<String>,
    /// For a list.
    limit: Option<usize>,
    /// For a list and a replay.
    cursor: Option<u64>,
    /// For a drop: really all of them.
    all: bool,
}

/// A line, as a client gets it.
#[derive(Serialize, ToSchema)]
pub(super) struct LineView {
    id: u64,
    #[schema(format = DateTime)]
    received_at: String,
    database: String,
    /// Null when it could not be read.
    table: Option<String>,
    /// Null when it could not be read.
    #[schema(format = DateTime)]
    time: Option<String>,
    /// `type_conflict`, `tag_and_field`, `reserved_name`, `name`, `limit`, `time`; from MQTT also `parse`.
    reason: String,
    detail: String,
    /// `v1`, `v2`, `v3` or `mqtt`.
    protocol: String,
    /// The unit of its time.
    precision: String,
    /// `line`, or `row`: what a mapping made of a message, as JSON.
    form: String,
    /// Bytes of the whole line.
    bytes: usize,
    /// Its text; in a list its beginning.
    line: String,
}

/// A page of lines.
#[derive(Serialize, ToSchema)]
pub(super) struct Lines {
    items: Vec<LineView>,
    /// The cursor of the next page; null at the end.
    next: Option<u64>,
}

/// What became of lines that were tried again.
#[derive(Serialize, ToSchema)]
pub(super) struct ReplayView {
    /// They are stored, and left the quarantine.
    stored: usize,
    /// They were refused again, and stay.
    refused: usize,
    /// The cursor for those that were not tried yet; null when all were.
    next: Option<u64>,
}

/// How many lines went.
#[derive(Serialize, ToSchema)]
pub(super) struct Dropped {
    dropped: usize,
}

impl Wanted {
    fn filter(&self) -> Result<Filter, Problem> {
        let since = self.since.as_deref().map(|text| {
            let time = DateTime::parse_from_rfc3339(text).ok().and_then(|time| time.timestamp_nanos_opt());
            let detail = "since must be a time as RFC 3339 has it, such as 2026-01-31T08:00:00Z";
            time.map(Timestamp::from_nanos).ok_or_else(|| bad("bad_time", detail))
        });
        Ok(Filter { database: self.database.clone(), reason: self.reason.clone(), since: since.transpose()? })
    }

    fn names_something(&self) -> bool {
        self.all || self.database.is_some() || self.reason.is_some() || self.since.is_some()
    }
}

fn bad(code: &'static str, detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, code, detail)
}

fn missing(id: u64) -> Problem {
    let detail = format!("there is no line {id} in the quarantine (any more)");
    Problem::new(StatusCode::NOT_FOUND, "not_found", detail)
}

fn quarantine(surface: &Surface) -> Result<&Arc<Quarantine>, Problem> {
    let none = || Problem::new(StatusCode::NOT_FOUND, "not_found", "this engine has no quarantine");
    surface.doors.intake()?.quarantine().ok_or_else(none)
}

fn view(id: LineId, line: &KeptLine, shown: usize) -> LineView {
    LineView {
        id: id.get(),
        received_at: line.received_at.to_string(),
        database: line.database.to_string(),
        table: line.table.as_ref().map(ToString::to_string),
        time: line.time.map(|time| time.to_string()),
        reason: line.reason.to_string(),
        detail: line.detail.to_string(),
        protocol: line.protocol.to_string(),
        precision: line.precision.to_string(),
        form: line.form.to_string(),
        bytes: line.content.len(),
        line: String::from_utf8_lossy(line.content.get(..shown).unwrap_or(&line.content)).into_owned(),
    }
}

impl From<Replayed> for ReplayView {
    fn from(replayed: Replayed) -> Self {
        Self { stored: replayed.stored, refused: replayed.refused, next: replayed.last.map(LineId::get) }
    }
}

/// The lines that are kept, oldest first.
#[utoipa::path(get, path = "/quarantine", operation_id = "list_quarantine", tag = "quarantine",
    params(("database" = Option<String>, Query, description = "Only of this database"),
        ("reason" = Option<String>, Query, description = "Only refused for this"),
        ("since" = Option<String>, Query, description = "Only that came then or later, RFC 3339"),
        ("limit" = Option<usize>, Query, description = "Up to 1,000, by default 100; a page may have fewer"),
        ("cursor" = Option<u64>, Query, description = "`next` of the page before")),
    responses((status = 200, body = Lines), (status = 400)))]
pub(super) async fn list(
    State(surface): State<Surface>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Lines>, Problem> {
    let limit = wanted.limit.unwrap_or(100);
    if !(1..=MOST_LISTED).contains(&limit) {
        return Err(bad("bad_limit", &format!("limit must be 1 to {MOST_LISTED}")));
    }
    let after = wanted.cursor.map(LineId::new);
    let lines = quarantine(&surface)?.page(wanted.filter()?, after, (limit, PAGE_BYTES)).await?;
    // The last page is empty: whether another line follows is not known without looking.
    let next = lines.last().map(|(id, _)| id.get());
    let items = lines.iter().map(|(id, line)| view(*id, line, SHOWN_BYTES)).collect();
    Ok(Json(Lines { items, next }))
}

/// One line, whole.
#[utoipa::path(get, path = "/quarantine/{id}", operation_id = "read_quarantine", tag = "quarantine",
    params(("id" = u64, Path, description = "Its id")),
    responses((status = 200, body = LineView), (status = 404)))]
pub(super) async fn read(
    State(surface): State<Surface>,
    Path(id): Path<u64>,
) -> Result<Json<LineView>, Problem> {
    let line = quarantine(&surface)?.line(LineId::new(id)).await?.ok_or_else(|| missing(id))?;
    Ok(Json(view(LineId::new(id), &line, usize::MAX)))
}

/// Tries lines again: what fits now is stored and leaves, what is refused again stays with its new reason.
#[utoipa::path(post, path = "/quarantine/replay", operation_id = "replay_quarantine", tag = "quarantine",
    request_body(content = Object, description = "`database`, `reason`, `since`: which lines, all if none is given; `cursor`: `next` of the answer before"),
    responses((status = 200, body = ReplayView, description = "Up to 10,000 lines were tried: go on with `next`"), (status = 400), (status = 415), (status = 429), (status = 503)))]
pub(super) async fn replay(
    State(surface): State<Surface>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ReplayView>, Problem> {
    require_json(&headers)?;
    let body = small(body, REQUEST_BYTES).await?;
    let wanted: Wanted = serde_json::from_slice(&body).map_err(|error| bad("invalid", &error.to_string()))?;
    let limit = wanted.limit.unwrap_or(MOST_REPLAYED);
    if !(1..=MOST_REPLAYED).contains(&limit) {
        return Err(bad("bad_limit", &format!("limit must be 1 to {MOST_REPLAYED}")));
    }
    let (filter, after) = (wanted.filter()?, wanted.cursor.map(LineId::new));
    Ok(Json(surface.doors.intake()?.replay(filter, after, limit).await?.into()))
}

/// Tries one line again.
#[utoipa::path(post, path = "/quarantine/{id}/replay", operation_id = "replay_quarantined_line", tag = "quarantine",
    params(("id" = u64, Path, description = "Its id")), request_body(content = Object, description = "`{}`"),
    responses((status = 200, body = ReplayView), (status = 404), (status = 415), (status = 429), (status = 503)))]
pub(super) async fn replay_one(
    State(surface): State<Surface>,
    Path(id): Path<u64>,
    headers: HeaderMap,
) -> Result<Json<ReplayView>, Problem> {
    require_json(&headers)?;
    let replayed = surface.doors.intake()?.replay_line(LineId::new(id)).await?.ok_or_else(|| missing(id))?;
    Ok(Json(ReplayView { next: None, ..replayed.into() }))
}

/// Drops lines for good.
#[utoipa::path(delete, path = "/quarantine", operation_id = "drop_quarantine", tag = "quarantine",
    params(("database" = Option<String>, Query, description = "Of this database"),
        ("reason" = Option<String>, Query, description = "Refused for this"),
        ("since" = Option<String>, Query, description = "That came then or later, RFC 3339"),
        ("all" = Option<bool>, Query, description = "All of them, when nothing else is said")),
    responses((status = 200, body = Dropped), (status = 400), (status = 503)))]
pub(super) async fn drop_many(
    State(surface): State<Surface>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Dropped>, Problem> {
    if !wanted.names_something() {
        return Err(bad("nothing_named", "say which: database, reason, since, or all=true"));
    }
    let dropped = quarantine(&surface)?.remove(wanted.filter()?).await?;
    Ok(Json(Dropped { dropped }))
}

/// Drops one line for good.
#[utoipa::path(delete, path = "/quarantine/{id}", operation_id = "drop_quarantined_line", tag = "quarantine",
    params(("id" = u64, Path, description = "Its id")),
    responses((status = 204), (status = 404), (status = 503)))]
pub(super) async fn drop_one(
    State(surface): State<Surface>,
    Path(id): Path<u64>,
) -> Result<StatusCode, Problem> {
    match quarantine(&surface)?.change(vec![LineId::new(id)], Vec::new()).await? {
        0 => Err(missing(id)),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}
