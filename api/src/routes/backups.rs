//! Backups of this engine: begin one, and see how far it is.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::body::small;
use super::extract::{Path, require_json};
use super::jobs;
use crate::backups::{Job, Refused};
use crate::problem::Problem;
use crate::surface::Surface;

/// Bytes of a request: a path of a file system has at most 4,096, and room for escapes.
const REQUEST_BYTES: usize = 32 << 10;

/// What is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// A folder of the engine's machine, from the root, or `s3://BUCKET/PREFIX`.
    to: String,
    /// How many of the newest backups stay there.
    keep: Option<usize>,
}

/// A backup, as a client gets it.
#[derive(Serialize)]
struct JobView<'a> {
    id: u64,
    to: &'a str,
    status: &'static str,
    stage: &'static str,
    files: u64,
    files_done: u64,
    bytes: u64,
    bytes_done: u64,
    bytes_copied: u64,
    /// The name of the backup at its place.
    backup: Option<&'a str>,
    error: Option<&'a str>,
}

fn view(job: &Job) -> JobView<'_> {
    let counts = job.about.counts();
    let (status, backup, error) = match job.outcome() {
        None => ("running", None, None),
        Some(Ok(id)) => ("done", Some(id.as_str()), None),
        Some(Err(error)) => ("failed", None, Some(error)),
    };
    JobView {
        id: job.number,
        to: &job.about.to,
        status,
        stage: counts.stage,
        files: counts.files,
        files_done: counts.files_done,
        bytes: counts.bytes,
        bytes_done: counts.bytes_done,
        bytes_copied: counts.bytes_copied,
        backup,
        error,
    }
}

/// Begins a backup.
#[utoipa::path(post, path = "/backups", operation_id = "start_backup", tag = "backups",
    request_body(content = Object, description = "`to`: a folder of the engine's machine, or `s3://BUCKET/PREFIX`; `keep`: how many of the newest stay there, all if not given"),
    responses((status = 202, description = "It runs; `Location` says where to see how far it is"), (status = 400), (status = 409, description = "Another one runs"), (status = 415)))]
pub(super) async fn start(
    State(surface): State<Surface>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let backups = surface.doors.backups()?;
    require_json(&headers)?;
    let body = small(body, REQUEST_BYTES).await?;
    let wanted: Wanted = serde_json::from_slice(&body)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "invalid", error.to_string()))?;
    if wanted.keep == Some(0) {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid", "keep must be at least 1"));
    }
    let job = backups.start(&wanted.to, wanted.keep)?;
    Ok(jobs::begun("backup", job.number, view(&job)))
}

/// The backups since the engine was started, newest first.
#[utoipa::path(get, path = "/backups", operation_id = "list_backups", tag = "backups",
    responses((status = 200, description = "The newest 24; which are at a place, `busbar backup list` says")))]
pub(super) async fn list(State(surface): State<Surface>) -> Result<Response, Problem> {
    let all = surface.doors.backups()?.jobs();
    Ok(jobs::page(all.iter().map(|job| view(job))))
}

/// How far a backup is.
#[utoipa::path(get, path = "/backups/{id}", operation_id = "read_backup", tag = "backups",
    params(("id" = u64, Path, description = "Its number since the engine was started")),
    responses((status = 200, description = "`status` is running, done or failed"), (status = 404)))]
pub(super) async fn read(State(surface): State<Surface>, Path(id): Path<u64>) -> Result<Response, Problem> {
    let all = surface.doors.backups()?.jobs();
    let job = all.iter().find(|job| job.number == id).ok_or_else(|| jobs::missing("backup", id))?;
    Ok(Json(view(job)).into_response())
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let detail = refused.to_string();
        match refused {
            Refused::NotBegun(why) => why.into(),
            Refused::Place(_) | Refused::Relative => Self::new(StatusCode::BAD_REQUEST, "bad_place", detail),
        }
    }
}
