//! Alert rules.

use alerting::Expect;
use alerting::rule::{Origin, RuleSpec, StoredRule};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::body::small;
use super::extract::Path;
use crate::problem::Problem;
use crate::surface::Surface;

/// Bytes of a rule: its 4 lists of at most 64 entries of twice 2 KiB each, and room for the rest and for escapes.
const RULE_BYTES: usize = 2 << 20;

/// A rule, as a client gets it.
#[derive(Serialize)]
struct RuleView<'a> {
    id: String,
    version: u64,
    origin: Origin,
    #[serde(flatten)]
    spec: &'a RuleSpec,
}

#[derive(Serialize)]
struct Page<'a> {
    items: Vec<RuleView<'a>>,
}

fn view(stored: &StoredRule) -> RuleView<'_> {
    let id = stored.rule.id.to_string();
    RuleView { id, version: stored.version, origin: stored.origin, spec: &stored.rule.spec }
}

fn answer(status: StatusCode, stored: &StoredRule) -> Response {
    let mut response = (status, Json(view(stored))).into_response();
    if let Ok(tag) = HeaderValue::try_from(format!("\"{}\"", stored.version)) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// All rules, by name. There are few, so there is one page.
#[utoipa::path(get, path = "/rules", tag = "rules", responses((status = 200, description = "All rules")))]
pub(super) async fn list(State(surface): State<Surface>) -> Result<Response, Problem> {
    let rules = surface.doors.alerting()?.rules();
    Ok(Json(Page { items: rules.iter().map(|stored| view(stored)).collect() }).into_response())
}

/// One rule, by name or id.
#[utoipa::path(get, path = "/rules/{name}", tag = "rules",
    params(("name" = String, Path, description = "Name or id")),
    responses((status = 200, description = "The rule; `ETag` is its version"), (status = 404)))]
pub(super) async fn read(
    State(surface): State<Surface>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let rule = surface.doors.alerting()?.rule(&name);
    let rule = rule.ok_or(alerting::Error::UnknownRule(name))?;
    Ok(answer(StatusCode::OK, &rule))
}

/// Makes a rule: JSON, or YAML with a content type that says so.
#[utoipa::path(post, path = "/rules", tag = "rules", request_body(content = Object, description = "A rule"),
    responses((status = 201, description = "It is durable and in force"), (status = 400), (status = 412)))]
pub(super) async fn create(
    State(surface): State<Surface>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let spec = spec_of(&headers, &small(body, RULE_BYTES).await?)?;
    let put = surface.doors.alerting()?.put_rule(spec, Expect::Absent).await?;
    Ok(answer(StatusCode::CREATED, &put.rule))
}

/// Makes or replaces the rule of this name. A rule that is there is only replaced with `If-Match`.
#[utoipa::path(put, path = "/rules/{name}", tag = "rules",
    params(("name" = String, Path, description = "Name"), ("If-Match" = Option<String>, Header, description = "The version that is replaced, or `*`")),
    request_body(content = Object, description = "A rule"),
    responses((status = 200), (status = 201), (status = 400), (status = 412), (status = 428)))]
pub(super) async fn put(
    State(surface): State<Surface>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let spec = spec_of(&headers, &small(body, RULE_BYTES).await?)?;
    if spec.name != name {
        let detail = format!("the rule is called {:?} in the body and {name:?} in the path", spec.name);
        return Err(Problem::new(StatusCode::BAD_REQUEST, "name_mismatch", detail));
    }
    let alerting = surface.doors.alerting()?;
    let expect = match expected(&headers)? {
        Some(expect) => expect,
        None if alerting.rule(&name).is_none() => Expect::Absent,
        None => return Err(precondition_required()),
    };
    let put = alerting.put_rule(spec, expect).await?;
    Ok(answer(if put.created { StatusCode::CREATED } else { StatusCode::OK }, &put.rule))
}

/// Deletes a rule; its live alerts resolve. Needs `If-Match`.
#[utoipa::path(delete, path = "/rules/{name}", tag = "rules",
    params(("name" = String, Path, description = "Name or id"), ("If-Match" = String, Header, description = "The version that is deleted, or `*`")),
    responses((status = 204), (status = 404), (status = 412), (status = 428)))]
pub(super) async fn delete(
    State(surface): State<Surface>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let expect = expected(&headers)?.ok_or_else(precondition_required)?;
    surface.doors.alerting()?.delete_rule(&name, expect).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn spec_of(headers: &HeaderMap, body: &Bytes) -> Result<RuleSpec, Problem> {
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let spec = if content_type.contains("yaml") {
        let text = std::str::from_utf8(body)
            .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "not_utf8", error.to_string()))?;
        RuleSpec::from_yaml(text)
    } else {
        RuleSpec::from_json(body)
    };
    spec.map_err(|faults| alerting::Error::Rule(faults).into())
}

/// What `If-Match` asks for; `None` without the header.
fn expected(headers: &HeaderMap) -> Result<Option<Expect>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(Some(Expect::Any));
    }
    let version = text.trim_matches('"').parse().map_err(|_| {
        let detail = "If-Match must be the ETag of the rule, such as \"3\", or *";
        Problem::new(StatusCode::BAD_REQUEST, "bad_if_match", detail)
    })?;
    Ok(Some(Expect::Version(version)))
}

fn precondition_required() -> Problem {
    let detail = "send If-Match with the rule's ETag, so that nobody's change is lost";
    Problem::new(StatusCode::PRECONDITION_REQUIRED, "precondition_required", detail)
}
