//! Erasures of this engine: begin one, and see how far it is and what it has done.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use storage::erasure::{Amount, Place, Remnant, Report};

use super::body::small;
use super::extract::{Path, require_json};
use super::jobs;
use crate::erasures::{Job, Refused, Scope};
use crate::problem::Problem;
use crate::surface::Surface;

/// Bytes of a request: some names, and paths of places of backups.
const REQUEST_BYTES: usize = 64 << 10;

/// So many remnants of one place are named; of more their number is said.
const NAMED: usize = 20;

/// What is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    database: Option<String>,
    table: Option<String>,
    wait_seconds: Option<u32>,
    #[serde(default)]
    backups: Vec<String>,
}

/// An erasure, as a client gets it.
#[derive(Serialize)]
struct JobView<'a> {
    id: u64,
    status: &'static str,
    /// The place that is looked at.
    place: &'static str,
    error: Option<&'a str>,
    report: Option<ReportView<'a>>,
}

#[derive(Serialize)]
struct ReportView<'a> {
    complete: bool,
    /// Deletes up to this sequence are erased.
    up_to: u64,
    begun_unix_millis: u64,
    ended_unix_millis: u64,
    database: Option<&'a str>,
    table: Option<&'a str>,
    places: Vec<PlaceView<'a>>,
    unproven: &'a [&'static str],
}

#[derive(Serialize)]
struct PlaceView<'a> {
    place: &'a str,
    looked_at: AmountView,
    rewritten: AmountView,
    removed: AmountView,
    overwritten: AmountView,
    kept: Vec<RemnantView<'a>>,
    left: Vec<RemnantView<'a>>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct AmountView {
    files: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct RemnantView<'a> {
    what: std::borrow::Cow<'a, str>,
    why: &'a str,
}

fn view(job: &Job) -> JobView<'_> {
    let (status, error, report) = match job.outcome() {
        None => ("running", None, None),
        Some(Ok(report)) => ("done", None, Some(of_report(report))),
        Some(Err(error)) => ("failed", Some(error), None),
    };
    JobView { id: job.number, status, place: job.about.place(), error, report }
}

fn of_report(report: &Report) -> ReportView<'_> {
    ReportView {
        complete: report.is_complete(),
        up_to: report.up_to,
        begun_unix_millis: report.begun_unix_millis,
        ended_unix_millis: report.ended_unix_millis,
        database: report.database.as_deref(),
        table: report.table.as_deref(),
        places: report.places.iter().map(of_place).collect(),
        unproven: &report.unproven,
    }
}

fn of_place(place: &Place) -> PlaceView<'_> {
    let amount = |amount: Amount| AmountView { files: amount.files, bytes: amount.bytes };
    PlaceView {
        place: place.name,
        looked_at: amount(place.looked_at),
        rewritten: amount(place.rewritten),
        removed: amount(place.removed),
        overwritten: amount(place.overwritten),
        kept: remnants(&place.kept),
        left: remnants(&place.left),
        notes: &place.notes,
    }
}

fn remnants(all: &[Remnant]) -> Vec<RemnantView<'_>> {
    let named = all.iter().take(NAMED);
    let mut named: Vec<_> =
        named.map(|it| RemnantView { what: it.what.as_str().into(), why: &it.why }).collect();
    if let Some(next) = all.get(NAMED) {
        named.push(RemnantView { what: format!("{} more", all.len() - NAMED).into(), why: &next.why });
    }
    named
}

/// Begins an erasure: what deletes have hidden is removed from everywhere, now.
#[utoipa::path(post, path = "/erasures", operation_id = "start_erasure", tag = "deletes",
    request_body(content = Object, description = "`database`, `table`: where, all if not given; `wait_seconds`: how long each step waits for queries and rules; `backups`: places of backups, whose backups the report names"),
    responses((status = 202, description = "It runs; `Location` says where to see how far it is"), (status = 400), (status = 404, description = "There is no such table"), (status = 409, description = "Another one runs"), (status = 415)))]
pub(super) async fn start(
    State(surface): State<Surface>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let erasures = surface.doors.erasures()?;
    require_json(&headers)?;
    let body = small(body, REQUEST_BYTES).await?;
    let wanted: Wanted = serde_json::from_slice(&body)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "invalid", error.to_string()))?;
    let wait = wanted.wait_seconds.map(|seconds| Duration::from_secs(seconds.into()));
    let Wanted { database, table, backups, .. } = wanted;
    let job = erasures.start(Scope { database, table, wait, backups })?;
    Ok(jobs::begun("erasure", job.number, view(&job)))
}

/// The erasures since the engine was started, newest first.
#[utoipa::path(get, path = "/erasures", operation_id = "list_erasures", tag = "deletes",
    responses((status = 200, description = "The newest 24")))]
pub(super) async fn list(State(surface): State<Surface>) -> Result<Response, Problem> {
    let all = surface.doors.erasures()?.jobs();
    Ok(jobs::page(all.iter().map(|job| view(job))))
}

/// How far an erasure is, and its report when it has ended.
#[utoipa::path(get, path = "/erasures/{id}", operation_id = "read_erasure", tag = "deletes",
    params(("id" = u64, Path, description = "Its number since the engine was started")),
    responses((status = 200, description = "`status` is running, done or failed; `report.complete` says whether nothing is left but what is kept on purpose"), (status = 404)))]
pub(super) async fn read(State(surface): State<Surface>, Path(id): Path<u64>) -> Result<Response, Problem> {
    let all = surface.doors.erasures()?.jobs();
    let job = all.iter().find(|job| job.number == id).ok_or_else(|| jobs::missing("erasure", id))?;
    Ok(Json(view(job)).into_response())
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let detail = refused.to_string();
        match refused {
            Refused::NotBegun(why) => why.into(),
            Refused::NoTable => Self::new(StatusCode::NOT_FOUND, "not_found", detail),
            Refused::Place(_) => Self::new(StatusCode::BAD_REQUEST, "bad_place", detail),
        }
    }
}
