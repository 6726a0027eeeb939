//! `GET` and `POST /query`: the statements that clients of InfluxDB 1 send before they write.

mod statement;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use ingest::intake::WriteError;
use serde::Serialize;
use storage::model::DatabaseName;

use self::statement::Statement;
use super::body;
use super::parameters::Parameters;
use crate::error::{Dialect, Failure};
use crate::surface::Surface;

/// Bytes of a form: statements are short.
const FORM_BYTES: usize = 1 << 20;

/// The whole answer.
#[derive(Debug, Serialize)]
struct Answer {
    results: Vec<StatementResult>,
}

#[derive(Debug, Serialize)]
struct StatementResult {
    statement_id: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    series: Vec<Series>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Series {
    name: &'static str,
    columns: [&'static str; 1],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    values: Vec<[String; 1]>,
}

/// The statements of the address.
pub(super) async fn get(State(surface): State<Surface>, uri: Uri) -> Response {
    answer(&surface, &Parameters::of(&uri)).await.unwrap_or_else(|failure| failure.answer(Dialect::V1))
}

/// The statements of the address or of the form.
pub(super) async fn post(
    State(surface): State<Surface>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let mut parameters = Parameters::of(&uri);
    let rules = body::Rules { limit: FORM_BYTES, dialect: Dialect::V1, budget: &surface.bodies };
    let result = match body::read(&headers, body, rules).await {
        Ok(whole) => {
            let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
            if kind.starts_with(b"application/x-www-form-urlencoded") {
                parameters.add(&whole.bytes);
            }
            answer(&surface, &parameters).await
        }
        Err(failure) => Err(failure),
    };
    result.unwrap_or_else(|failure| failure.answer(Dialect::V1))
}

async fn answer(surface: &Surface, parameters: &Parameters) -> Result<Response, Failure> {
    let text = parameters.get("q");
    if text.trim().is_empty() {
        return Err(Failure::Parameter("missing required parameter \"q\"".into()));
    }
    let statements = statement::parse(text).map_err(Failure::Statement)?;
    let mut results = Vec::with_capacity(statements.len());
    for (statement_id, statement) in statements.into_iter().enumerate() {
        let (series, error) = match statement {
            Statement::ShowDatabases => (vec![databases(surface)?], None),
            Statement::CreateDatabase(name) => (Vec::new(), create(surface, &name).await?),
        };
        results.push(StatementResult { statement_id, series, error });
    }
    Ok((StatusCode::OK, Json(Answer { results })).into_response())
}

fn databases(surface: &Surface) -> Result<Series, Failure> {
    let names = surface.doors.intake()?.engine().catalog().databases();
    let values = names.iter().map(|name| [name.as_str().to_owned()]).collect();
    Ok(Series { name: "databases", columns: ["name"], values })
}

/// Makes a database. What the client did wrong is told in the result, as InfluxDB 1 does; what passes is an error
/// of the whole request, so that the client comes again.
async fn create(surface: &Surface, name: &str) -> Result<Option<String>, Failure> {
    let name = match DatabaseName::new(name) {
        Ok(name) => name,
        Err(error) => return Ok(Some(error.to_string())),
    };
    match surface.doors.intake()?.create_database(name).await {
        Ok(()) => Ok(None),
        Err(WriteError::Storage(error)) if error.kind() == storage::ErrorKind::LimitExceeded => {
            Ok(Some(error.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}
