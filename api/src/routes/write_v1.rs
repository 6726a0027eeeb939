//! `POST /write`, as InfluxDB 1 answers it: good lines are written, bad ones named in a 400.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use ingest::intake::Mode;
use ingest::line_protocol::Precision;

use super::lines::{self, Write};
use super::parameters::Parameters;
use crate::error::{Dialect, Failure};
use crate::surface::Surface;

/// 204, or an error in InfluxDB 1's words.
pub(super) async fn post(
    State(surface): State<Surface>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let result = match understand(&Parameters::of(&uri)) {
        Ok(write) => lines::write(&surface, write, &headers, body).await,
        Err(failure) => Err(failure),
    };
    result.unwrap_or_else(|failure| failure.answer(Dialect::V1))
}

/// `db`, `rp`, `precision`; `consistency` is accepted and means nothing on one node.
fn understand(parameters: &Parameters) -> Result<Write, Failure> {
    let name = parameters.get("db");
    let (database, policy) = match parameters.get("rp") {
        "" => (lines::database(name)?, None),
        "autogen" => (lines::database(name)?, Some("autogen".to_owned())),
        _ if name.is_empty() => return Err(Failure::DatabaseRequired),
        policy => (lines::database(&format!("{name}/{policy}"))?, Some(policy.to_owned())),
    };
    let precision = Precision::v1(parameters.get("precision")).map_err(Failure::Precision)?;
    Ok(Write { database, policy, precision, mode: Mode::Partial, dialect: Dialect::V1 })
}
