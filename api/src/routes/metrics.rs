//! `GET /metrics`: everything that is counted, as text for Prometheus.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};

use crate::error::{Dialect, Failure};
use crate::surface::Surface;

/// The media type of `OpenMetrics` text.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics.
pub(super) async fn get(State(surface): State<Surface>) -> Response {
    match surface.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(_) => {
            Failure::Storage(storage::Error::Internal("metrics do not encode".into())).answer(Dialect::Native)
        }
    }
}
