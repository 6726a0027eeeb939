//! Busbar's own resources below `/api/v1`, and their description at `/openapi.json`.

use std::sync::Arc;

use axum::routing::get;
use axum::{Json, Router};
use storage::registry::Registry;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{alerts, backups, databases, deletes, erasures, flushes, quarantine, registry, rules, tables};
use crate::surface::Surface;

#[derive(OpenApi)]
#[openapi(info(
    title = "Busbar",
    description = "The registry, databases and tables, alert rules, alerts and deletes of a Busbar engine. Errors are application/problem+json (RFC 9457).",
    license(name = "Apache-2.0", identifier = "Apache-2.0")
))]
struct Description;

/// The routes of the registry, of databases, of rules, of alerts and of deletes, with `/openapi.json`.
pub fn router(surface: &Surface, registry: &Arc<Registry>) -> Router {
    let own = OpenApiRouter::new()
        .routes(routes!(rules::list, rules::create))
        .routes(routes!(rules::read, rules::put, rules::delete))
        .routes(routes!(alerts::firing))
        .routes(routes!(databases::list))
        .routes(routes!(databases::read, databases::put))
        .routes(routes!(tables::list))
        .routes(routes!(tables::read, tables::put))
        .routes(routes!(alerts::history))
        .routes(routes!(deletes::create))
        .routes(routes!(flushes::create))
        .routes(routes!(backups::list, backups::start))
        .routes(routes!(backups::read))
        .routes(routes!(erasures::list, erasures::start))
        .routes(routes!(erasures::read))
        .routes(routes!(quarantine::list, quarantine::drop_many))
        .routes(routes!(quarantine::replay))
        .routes(routes!(quarantine::read, quarantine::drop_one))
        .routes(routes!(quarantine::replay_one))
        .with_state(surface.clone());
    let (router, description) = OpenApiRouter::with_openapi(Description::openapi())
        .nest("/api/v1", registry::router().with_state(Arc::clone(registry)).merge(own))
        .split_for_parts();
    let description = Arc::new(description);
    router.route("/openapi.json", get(async move || Json(Arc::clone(&description))))
}
