//! What the answers of all kinds of jobs have in common.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use crate::jobs::NotBegun;
use crate::problem::Problem;

/// Jobs, newest first.
#[derive(Serialize)]
struct Page<V> {
    items: Vec<V>,
}

/// It runs; `Location` says where to see how far it is.
pub(super) fn begun(kind: &str, number: u64, view: impl Serialize) -> Response {
    let mut response = (StatusCode::ACCEPTED, Json(view)).into_response();
    if let Ok(location) = HeaderValue::try_from(format!("/api/v1/{kind}s/{number}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

pub(super) fn page<V: Serialize>(views: impl Iterator<Item = V>) -> Response {
    Json(Page { items: views.collect() }).into_response()
}

pub(super) fn missing(kind: &str, number: u64) -> Problem {
    let detail = format!("there was no {kind} {number} since the engine was started");
    Problem::new(StatusCode::NOT_FOUND, "not_found", detail)
}

impl From<NotBegun> for Problem {
    fn from(refused: NotBegun) -> Self {
        let (status, code) = match refused {
            NotBegun::Busy(..) => (StatusCode::CONFLICT, "busy"),
            NotBegun::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        };
        Self::new(status, code, refused.to_string())
    }
}
