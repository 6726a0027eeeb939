//! Changes of the registry, in order, for followers that poll.
//!
//! A follower asks with the `after` of the answer before. With `wait` the answer comes as soon as there is a change.

use std::time::Duration;

use axum::response::IntoResponse;
use serde::Serialize;
use storage::registry::{Change, ChangeSeq, Faults};
use utoipa::ToSchema;
use uuid::Uuid;

use super::answer::{Answer, Reply};
use super::call::Call;
use super::openapi::Problems;

/// Seconds that an answer may wait for a change: below the 60 s after which proxies give up.
const MAX_WAIT_S: u64 = 30;
/// Changes of one answer, and when the caller does not say.
const MAX_LIMIT: u64 = 1_000;
const DEFAULT_LIMIT: u64 = 100;

/// Some changes.
#[derive(Serialize, ToSchema)]
pub(super) struct ChangesView {
    /// The changes, oldest first.
    items: Vec<ChangeView>,
    /// Ask for what comes after this.
    after: i64,
}

/// A change of a row.
#[derive(Serialize, ToSchema)]
pub(super) struct ChangeView {
    /// Its place among all changes.
    seq: i64,
    /// `building`, `floor`, `area`, `room` or `device`.
    entity: &'static str,
    /// The id of the row.
    id: Uuid,
    /// The revision that the change made.
    rev: i64,
    /// `create`, `update`, `delete`, `move` or `transition`.
    op: &'static str,
    /// The properties that changed.
    fields: Vec<String>,
    /// When.
    #[schema(format = DateTime)]
    at: String,
}

impl From<Change> for ChangeView {
    fn from(change: Change) -> Self {
        Self {
            seq: change.seq.number(),
            entity: change.kind.name(),
            id: change.id,
            rev: change.rev.number(),
            op: change.op.name(),
            fields: change.fields,
            at: change.at.to_string(),
        }
    }
}

/// Lists changes. 410 if some of them are not kept any more: then read everything, and begin after the newest change.
#[utoipa::path(get, path = "/changes", operation_id = "list_changes", tag = "changes",
    params(
        ("after" = Option<u64>, Query, description = "`after` of the answer before; 0, if not given, is the begin"),
        ("limit" = Option<u64>, Query, description = "Changes of an answer, 1 to 1000, 100 if not given"),
        ("wait" = Option<u64>, Query, description = "Seconds to wait for a change, 0 to 30, 0 if not given")),
    responses((status = OK, body = ChangesView), Problems))]
pub(super) async fn list(call: Call) -> Reply {
    let [after, limit, wait] = call.only(["after", "limit", "wait"])?;
    let mut faults = Faults::default();
    let after = number("after", after, 0, 0..=i64::MAX.unsigned_abs(), &mut faults);
    let limit = number("limit", limit, DEFAULT_LIMIT, 1..=MAX_LIMIT, &mut faults);
    let wait = Duration::from_secs(number("wait", wait, 0, 0..=MAX_WAIT_S, &mut faults));
    faults.into_result()?;
    let after = ChangeSeq::new(i64::try_from(after).unwrap_or(i64::MAX));
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut page = call.registry.changes(after, limit).await?;
    if page.changes.is_empty() && !wait.is_zero() {
        // Either way the list is read again: a change may come at the last moment.
        tokio::time::timeout(wait, call.registry.changed_since(after)).await.ok();
        page = call.registry.changes(after, limit).await?;
    }
    let items = page.changes.into_iter().map(ChangeView::from).collect();
    Ok(Answer::ok(&ChangesView { items, after: page.after.number() })?.into_response())
}

/// The number of a parameter; `default` if it is not given, or is a fault.
fn number(
    name: &str,
    value: Option<&str>,
    default: u64,
    range: std::ops::RangeInclusive<u64>,
    faults: &mut Faults,
) -> u64 {
    let Some(value) = value else { return default };
    match value.parse() {
        Ok(number) if range.contains(&number) => number,
        _ => {
            let detail = format!("must be a whole number from {} to {}", range.start(), range.end());
            faults.add(format!("?{name}"), "out_of_range", detail);
            default
        }
    }
}
