//! `POST /api/v2/write`, as InfluxDB 2 answers it: a line that cannot be read refuses all (400), one that does not
//! fit the schema only itself (422).

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

/// 204, or an error in InfluxDB 2's words.
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
    result.unwrap_or_else(|failure| failure.answer(Dialect::V2))
}

/// `bucket` is the database; `org` and `orgID` are ignored.
fn understand(parameters: &Parameters) -> Result<Write, Failure> {
    let database = lines::database(parameters.get("bucket"))?;
    let precision = Precision::v2(parameters.get("precision")).map_err(Failure::Precision)?;
    Ok(Write { database, policy: None, precision, mode: Mode::AllParsed, dialect: Dialect::V2 })
}
