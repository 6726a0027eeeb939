//! The registry over HTTP: `/api/v1/...`.
//!
//! Purpose: translate requests to [`storage::registry`] and its answers back; no rule of the registry lives here.
//! One file per resource holds its request, its response, its handlers and their OpenAPI; [`router`] lists them all.
//!
//! Conventions of all resources
//! - Unknown query parameters and unknown properties are errors, and all faults of a request are told at once.
//! - `ETag` is the revision. `If-None-Match` answers 304, `If-Match` 412 with the current revision.
//! - `PATCH` is a JSON merge patch (RFC 7396); attributes that it does not name stay.
//! - `Idempotency-Key` on `POST` gives the first answer again for 24 hours, marked by `Idempotency-Replayed`.
//! - Errors are `application/problem+json` (RFC 9457).

mod answer;
mod areas;
mod body;
mod buildings;
mod call;
mod changes;
mod crud;
mod device_history;
mod device_location;
mod device_transitions;
mod devices;
mod floors;
mod import_buildings;
mod openapi;
mod rooms;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use storage::registry::Registry;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// All routes of the registry with their descriptions, to be nested under `/api/v1`.
pub(crate) fn router() -> OpenApiRouter<Arc<Registry>> {
    OpenApiRouter::with_openapi(openapi::Shared::openapi())
        .routes(routes!(buildings::list, buildings::create))
        .routes(routes!(buildings::read, buildings::put, buildings::patch, buildings::delete))
        .routes(routes!(floors::list, floors::create))
        .routes(routes!(floors::read, floors::put, floors::patch, floors::delete))
        .routes(routes!(areas::list, areas::create))
        .routes(routes!(areas::read, areas::put, areas::patch, areas::delete))
        .routes(routes!(rooms::list, rooms::create))
        .routes(routes!(rooms::read, rooms::put, rooms::patch, rooms::delete))
        .routes(routes!(devices::list, devices::create))
        .routes(routes!(devices::read, devices::put, devices::patch, devices::delete))
        .routes(routes!(devices::by_external))
        .routes(routes!(device_transitions::create))
        .routes(routes!(
            device_location::read,
            device_location::put,
            device_location::create,
            device_location::delete
        ))
        .routes(routes!(device_history::read))
        .routes(routes!(import_buildings::create))
        .routes(routes!(changes::list))
}
