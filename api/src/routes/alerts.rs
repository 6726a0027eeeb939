//! Alerts: what fires now, and the newest transitions. The whole history is `alerts.history` in SQL.

use alerting::Transition;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::extract::Query;
use crate::problem::Problem;
use crate::surface::Surface;

/// Transitions of one answer, at most.
const MOST: usize = 1_000;

/// What is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    rule: Option<String>,
    #[serde(default = "default_limit")]
    limit: usize,
}

const fn default_limit() -> usize {
    100
}

#[derive(Serialize)]
struct Page<'a> {
    items: Vec<&'a Transition>,
}

/// The alerts that fire now, newest first.
#[utoipa::path(get, path = "/alerts", tag = "alerts",
    params(("rule" = Option<String>, Query, description = "Only of this rule"), ("limit" = Option<usize>, Query, description = "1 to 1000, 100 if not given")),
    responses((status = 200, description = "Alerts that have fired and not resolved"), (status = 400)))]
pub(super) async fn firing(
    State(surface): State<Surface>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    check(&wanted)?;
    let mut firing = surface.doors.alerting()?.firing();
    firing.retain(|t| wanted.rule.as_ref().is_none_or(|rule| *rule == t.rule));
    firing.sort_by_key(|t| std::cmp::Reverse((t.event_time, t.alert_id.clone())));
    firing.truncate(wanted.limit);
    Ok(Json(Page { items: firing.iter().map(AsRef::as_ref).collect() }).into_response())
}

/// The newest transitions.
#[utoipa::path(get, path = "/alerts/history", tag = "alerts",
    params(("rule" = Option<String>, Query, description = "Only of this rule"), ("limit" = Option<usize>, Query, description = "1 to 1000, 100 if not given")),
    responses((status = 200, description = "Transitions, newest first"), (status = 400)))]
pub(super) async fn history(
    State(surface): State<Surface>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    check(&wanted)?;
    let of_rule = |t: &Transition| wanted.rule.as_ref().is_none_or(|rule| *rule == t.rule);
    let newest = surface.doors.alerting()?.history().newest(wanted.limit, of_rule);
    Ok(Json(Page { items: newest.iter().map(AsRef::as_ref).collect() }).into_response())
}

fn check(wanted: &Wanted) -> Result<(), Problem> {
    if (1..=MOST).contains(&wanted.limit) {
        return Ok(());
    }
    Err(Problem::new(StatusCode::BAD_REQUEST, "bad_limit", format!("limit must be 1 to {MOST}")))
}
