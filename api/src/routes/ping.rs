//! `GET` and `HEAD /ping`: 204. The version stands in the headers that every answer has.

use axum::http::StatusCode;

/// 204, without a body.
pub(super) async fn get() -> StatusCode {
    StatusCode::NO_CONTENT
}
