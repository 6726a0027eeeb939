//! What every request gets: an id, a span, a limit of time, a measurement, and an answer even if its handler panics.
//!
//! It is one layer of functions that call each other: each layer of a router would cost every request a box for its
//! future and a copy of all the services below.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use futures::FutureExt as _;
use tracing::Instrument as _;
use uuid::Uuid;

use super::unread;
use crate::auth::gate;
use crate::error::{Dialect, Failure};
use crate::metrics::RequestLabels;
use crate::surface::Surface;

/// What clients of InfluxDB read from `X-Influxdb-Version`.
const VERSION: HeaderValue = HeaderValue::from_static(env!("CARGO_PKG_VERSION"));
const BUILD: HeaderValue = HeaderValue::from_static("Busbar");

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Bytes of a request id that a client may choose: longer ones only fill the log.
const REQUEST_ID_BYTES: usize = 64;

/// The layer. What is outermost comes last.
pub(super) async fn wrap(State(surface): State<Surface>, request: Request, next: Next) -> Response {
    let admitted = |request| gate(&surface, request, next);
    let caught =
        async |request| AssertUnwindSafe(admitted(request)).catch_unwind().await.unwrap_or_else(on_panic);
    let read = |request| unread::read_on(request, caught);
    identify(request, |request| limit_and_observe(&surface, request, read)).await
}

/// Gives the request an id, or keeps the client's, and puts it and the version into the answer.
async fn identify(request: Request, next: impl AsyncFnOnce(Request) -> Response) -> Response {
    let id = request_id(&request);
    let text = id.to_str().unwrap_or_default();
    let span =
        tracing::info_span!("request", id = text, method = %request.method(), path = request.uri().path());
    let mut response = next(request).instrument(span).await;
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id.clone());
    headers.insert(X_REQUEST_ID, id);
    headers.insert(HeaderName::from_static("x-influxdb-version"), VERSION);
    headers.insert(HeaderName::from_static("x-influxdb-build"), BUILD);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn request_id(request: &Request) -> HeaderValue {
    let given = request.headers().get(X_REQUEST_ID).or_else(|| request.headers().get(REQUEST_ID));
    let usable = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        !bytes.is_empty() && bytes.len() <= REQUEST_ID_BYTES && bytes.iter().all(u8::is_ascii_graphic)
    };
    given.filter(usable).cloned().unwrap_or_else(|| {
        // An UUID is always a valid header.
        HeaderValue::from_str(&Uuid::new_v4().to_string()).unwrap_or(HeaderValue::from_static("none"))
    })
}

/// Ends a request that takes too long, which frees what it holds, and notes how long it took.
async fn limit_and_observe(
    surface: &Surface,
    request: Request,
    next: impl AsyncFnOnce(Request) -> Response,
) -> Response {
    let started = storage::clock::instant();
    let method = method_name(request.method());
    let dialect = Dialect::of_path(request.uri().path());
    let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let response = match tokio::time::timeout(surface.request_timeout, next(request)).await {
        Ok(response) => response,
        Err(_) => Failure::Timeout(surface.request_timeout).answer(dialect),
    };
    let status = response.status().as_u16();
    let seconds = started.elapsed().as_secs_f64();
    tracing::debug!(status, seconds, "answered");
    let labels = RequestLabels { route, method, status };
    surface.metrics.request_seconds.get_or_create(&labels).observe(seconds);
    response
}

/// A bounded set of names, because a client may send any word as a method.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "OTHER",
    }
}

/// The answer of a handler that panicked. The panic's text goes to the log only.
fn on_panic(panic: Box<dyn Any + Send>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no text");
    tracing::error!(panic = text, "a handler panicked");
    // The path is not known here; this body carries the keys of all dialects.
    let body = r#"{"code":"internal error","error":"internal error","message":"internal error"}"#;
    let mut response = Response::new(body.into());
    *response.status_mut() = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
