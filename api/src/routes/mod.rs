//! All routes, in one list. Handlers only translate; each resource has its file.

mod alerts;
mod backups;
mod body;
mod databases;
mod delete_v2;
mod deletes;
mod envelope;
mod erasures;
mod extract;
mod flushes;
mod health;
mod jobs;
mod lines;
mod metrics;
mod native;
mod page;
mod parameters;
mod ping;
mod quarantine;
mod query_sql;
mod query_v1;
mod ready;
pub(crate) mod registry;
mod rules;
mod tables;
mod time_span;
mod unread;
mod write_v1;
mod write_v2;
mod write_v3;

#[cfg(test)]
mod tests;

pub use native::router as native;

use axum::Router;
use axum::extract::OriginalUri;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{get, post};

use crate::error::{Dialect, Failure};
use crate::surface::Surface;

/// The whole HTTP surface. `more` holds the routes of other resources (the registry, rules); they pass through
/// the same layers.
pub fn router(surface: &Surface, more: Router) -> Router {
    let routes = Router::new()
        .route("/health", get(health::get))
        .route("/ping", get(ping::get))
        .route("/ready", get(ready::get))
        .route("/metrics", get(metrics::get))
        .route("/write", post(write_v1::post))
        .route("/query", get(query_v1::get).post(query_v1::post))
        .route("/api/v2/write", post(write_v2::post))
        .route("/api/v2/delete", post(delete_v2::post))
        .route("/api/v3/write_lp", post(write_v3::post))
        .route("/api/v3/query_sql", get(query_sql::get).post(query_sql::post))
        .with_state(surface.clone());
    routes
        .merge(more)
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(surface.clone(), envelope::wrap))
}

async fn no_such_path(OriginalUri(uri): OriginalUri) -> Response {
    Failure::NoSuchPath.answer(Dialect::of_path(uri.path()))
}

async fn wrong_method(OriginalUri(uri): OriginalUri) -> Response {
    Failure::WrongMethod.answer(Dialect::of_path(uri.path()))
}
