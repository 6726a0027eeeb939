//! Import of buildings from CSV: the body is read as it comes, the answer is one JSON line per line of the file.
//!
//! Invariant: a line is answered after it is durable. What is wrong with the whole file (header, parameters) is a
//! problem with its status if it is found before the first answer, which for a header it always is; later it is the
//! last line of the answer.

use std::sync::Arc;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use futures::stream::{self, Stream};
use serde::Serialize;
use storage::registry::{
    BuildingImport, Faults, ImportMode, ImportOptions, LineOutcome, LineResult, Registry,
};
use utoipa::ToSchema;
use uuid::Uuid;

use super::answer::Reply;
use super::call::{Call, flag};
use super::openapi::Problems;
use crate::problem::{Problem, ProblemError};

/// The media type of the answer.
const NDJSON: &str = "application/x-ndjson";

/// What became of a line.
#[derive(Serialize, ToSchema)]
pub(super) struct LineView {
    /// The number of the line in the file, from 1; the header is a line.
    line: u64,
    /// `created`, `updated`, `unchanged` or `failed`.
    status: &'static str,
    /// The building; not in a dry run that would make it.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Uuid>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<ProblemError>,
}

impl From<LineResult> for LineView {
    fn from(result: LineResult) -> Self {
        let (status, id, faults) = match result.outcome {
            LineOutcome::Created(id) => ("created", id, Vec::new()),
            LineOutcome::Updated(id) => ("updated", Some(id), Vec::new()),
            LineOutcome::Unchanged(id) => ("unchanged", Some(id), Vec::new()),
            LineOutcome::Failed(faults) => ("failed", None, faults),
        };
        let errors = faults.into_iter().map(ProblemError::from).collect();
        Self { line: result.line, status, id: id.map(Uuid::from), errors }
    }
}

/// Imports buildings from CSV with a header. A column whose name is a property fills it; `name=uid` says that the name
/// is in the column `uid`, `attr.area=sqm` renames an attribute; any other column becomes an attribute.
#[utoipa::path(post, path = "/import/buildings", operation_id = "import_buildings", tag = "buildings",
    params(
        ("mode" = Option<String>, Query, description = "`create` (if not given) or `upsert` by `external_id`"),
        ("dry_run" = Option<bool>, Query, description = "`true` tells what would happen and keeps nothing"),
        ("default_source" = Option<String>, Query, description = "The source of buildings without a column for it"),
        ("name" = Option<String>, Query, description = "The column of the name; likewise external_id, source, street, \
            postal_code, city, region, country, latitude, longitude, time_zone, attr.<name>")),
    request_body(content = String, content_type = "text/csv"),
    responses((status = OK, body = LineView, content_type = "application/x-ndjson"), Problems))]
pub(super) async fn create(State(registry): State<Arc<Registry>>, request: Request) -> Reply {
    let (call, body) = Call::without_body(request, &registry);
    let options = options(&call.parameters)?;
    let mut running =
        Running { import: Some(BuildingImport::new(registry, options)), body: body.into_data_stream() };
    // Until the first results are there, an error still has a status.
    let first = running.next_results().await?;
    let rest = stream::unfold(running, |mut running| async move {
        let results = match running.next_results().await {
            Ok(results) if results.is_empty() => return None,
            Ok(results) => lines(results),
            Err(problem) => {
                running.import = None;
                line(&problem)
            }
        };
        Some((results, running))
    });
    Ok(stream_answer(stream::iter([lines(first)]).chain(rest)))
}

/// An import with the body that feeds it; without an import it is over.
struct Running {
    import: Option<BuildingImport>,
    body: BodyDataStream,
}

impl Running {
    /// The next results; none at the end.
    async fn next_results(&mut self) -> Result<Vec<LineResult>, Problem> {
        let Some(mut import) = self.import.take() else { return Ok(Vec::new()) };
        while let Some(bytes) = self.body.next().await {
            let bytes = bytes.map_err(|error| {
                let detail = format!("the body ended early: {error}");
                Problem::new(StatusCode::BAD_REQUEST, "broken_body", detail)
            })?;
            let results = import.push(&bytes).await?;
            if !results.is_empty() {
                self.import = Some(import);
                return Ok(results);
            }
        }
        Ok(import.finish().await?)
    }
}

fn options(parameters: &[(String, String)]) -> Result<ImportOptions, Problem> {
    let mut options = ImportOptions::default();
    let mut faults = Faults::default();
    for (name, value) in parameters {
        match (name.as_str(), value.as_str()) {
            ("mode", "create") => options.mode = ImportMode::Create,
            ("mode", "upsert") => options.mode = ImportMode::Upsert,
            ("mode", _) => faults.add("?mode", "bad_value", "must be create or upsert"),
            ("dry_run", value) => options.dry_run = flag("dry_run", Some(value))?,
            ("default_source", value) => options.source = Some(value.to_owned()),
            _ => options.columns.push((name.clone(), value.clone())),
        }
    }
    faults.into_result()?;
    Ok(options)
}

fn stream_answer(lines: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let body = Body::from_stream(lines.map(Ok::<Bytes, std::convert::Infallible>));
    ([(header::CONTENT_TYPE, NDJSON)], body).into_response()
}

fn lines(results: Vec<LineResult>) -> Bytes {
    results.into_iter().map(|result| line(&LineView::from(result))).collect::<Vec<Bytes>>().concat().into()
}

fn line(value: &impl Serialize) -> Bytes {
    // Texts and numbers always serialise.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line.into()
}
