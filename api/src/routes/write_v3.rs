//! `POST /api/v3/write_lp`, as InfluxDB 3 answers it: good lines are written and bad ones listed in a 400, or with
//! `accept_partial=false` nothing is written.

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

/// 204, or an error in InfluxDB 3's words.
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
    result.unwrap_or_else(|failure| failure.answer(Dialect::V3))
}

/// `no_sync` is accepted and ignored: an acknowledged point is durable here, always.
fn understand(parameters: &Parameters) -> Result<Write, Failure> {
    let database = lines::database(parameters.get("db"))?;
    let precision = Precision::v3(parameters.get("precision")).map_err(Failure::Precision)?;
    parameters.switch("no_sync", false)?;
    let mode = match parameters.switch("accept_partial", true)? {
        true => Mode::Partial,
        false => Mode::AllOrNothing,
    };
    Ok(Write { database, policy: None, precision, mode, dialect: Dialect::V3 })
}
