//! `GET /ready`: whether requests should come here: replay done, log not poisoned, disk left, not draining.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use crate::surface::Surface;

/// 200 and `ready`, or 503 and the reasons.
pub(super) async fn get(State(surface): State<Surface>) -> Response {
    let reasons = surface.readiness.reasons();
    let (status, word) = match reasons.is_empty() {
        true => (StatusCode::OK, "ready"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    };
    let list: Vec<Value> =
        reasons.iter().map(|reason| json!({ "name": reason.name, "reason": reason.text })).collect();
    (status, Json(json!({ "status": word, "reasons": list }))).into_response()
}
