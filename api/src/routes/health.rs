//! `GET /health`: whether the process makes progress. It never asks the object store or a database, because a
//! restart would not mend those. The shape is InfluxDB 2's.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use crate::surface::Surface;

/// 200 and `pass`, or 503 and `fail` with the reasons as checks.
pub(super) async fn get(State(surface): State<Surface>) -> Response {
    let reasons = surface.health.reasons();
    let (status, word, message) = match reasons.is_empty() {
        true => (StatusCode::OK, "pass", "ready for queries and writes"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "fail", "the engine makes no progress: see checks"),
    };
    let checks: Vec<Value> = reasons
        .iter()
        .map(|reason| json!({ "name": reason.name, "status": "fail", "message": reason.text }))
        .collect();
    let body = json!({
        "name": "busbar",
        "message": message,
        "status": word,
        "checks": checks,
        "version": env!("CARGO_PKG_VERSION"),
        "commit": option_env!("BUSBAR_COMMIT").unwrap_or("unknown"),
    });
    (status, Json(body)).into_response()
}
