//! Pages of lists that are ordered by name: the cursor is the last name of the page before.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::problem::Problem;

/// Items of one page, at most.
const MOST: usize = 1_000;

/// The page that is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    #[serde(default = "default_limit")]
    limit: usize,
    cursor: Option<String>,
}

const fn default_limit() -> usize {
    100
}

/// A page of a list.
#[derive(Serialize, ToSchema)]
pub(super) struct Page<T: ToSchema> {
    /// The items.
    items: Vec<T>,
    /// The cursor of the next page; null at the end.
    next: Option<String>,
}

/// The page of `all`, which stand in the order of their names, with a `Link` to the next.
pub(super) fn answer<A, T: Serialize + ToSchema>(
    uri: &Uri,
    wanted: &Wanted,
    all: Vec<A>,
    name: impl Fn(&A) -> &str,
    view: impl Fn(&A) -> T,
) -> Result<Response, Problem> {
    if !(1..=MOST).contains(&wanted.limit) {
        let detail = format!("limit must be 1 to {MOST}");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "bad_limit", detail));
    }
    let from =
        wanted.cursor.as_ref().map_or(0, |last| all.partition_point(|item| name(item) <= last.as_str()));
    let rest = all.get(from..).unwrap_or_default();
    let page = rest.get(..wanted.limit).unwrap_or(rest);
    let next = page.last().filter(|_| page.len() < rest.len()).map(|last| name(last).to_owned());
    let link = next.as_ref().map(|next| {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("limit", &wanted.limit.to_string())
            .append_pair("cursor", next)
            .finish();
        format!("<{}?{query}>; rel=\"next\"", uri.path())
    });
    let mut response = Json(Page { items: page.iter().map(view).collect(), next }).into_response();
    if let Some(link) = link.and_then(|link| HeaderValue::try_from(link).ok()) {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}
