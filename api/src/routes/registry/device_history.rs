//! The history of a device: its stays and its transitions, also after it was removed.

use axum::response::IntoResponse;
use serde::Serialize;
use storage::registry::{Device, Transition};
use utoipa::ToSchema;

use super::answer::{Answer, Reply};
use super::call::Call;
use super::crud::known_id;
use super::device_location::StayView;
use super::openapi::Problems;
use crate::routes::extract::Path;

/// What happened to a device, newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct HistoryView {
    /// Where it was; at most 1,000 stays.
    locations: Vec<StayView>,
    /// How it moved through the states of its life.
    transitions: Vec<TransitionView>,
}

/// A move from one state to another.
#[derive(Serialize, ToSchema)]
pub(super) struct TransitionView {
    /// The state before.
    from: &'static str,
    /// The state after.
    to: &'static str,
    /// Why, if somebody said so.
    reason: Option<String>,
    /// When.
    #[schema(format = DateTime)]
    at: String,
    /// The revision of the device after it.
    rev: i64,
}

impl From<Transition> for TransitionView {
    fn from(transition: Transition) -> Self {
        Self {
            from: transition.from.name(),
            to: transition.to.name(),
            reason: transition.reason,
            at: transition.at.to_string(),
            rev: transition.rev.number(),
        }
    }
}

/// Reads the history of a device.
#[utoipa::path(get, path = "/devices/{id}/history", operation_id = "read_device_history", tag = "devices",
    params(("id" = Uuid, Path)), responses((status = OK, body = HistoryView), Problems))]
pub(super) async fn read(Path(id): Path<String>, call: Call) -> Reply {
    let [] = call.only([])?;
    let id = call.registry.get_with_deleted::<Device>(known_id::<Device>(&id)?).await?.id;
    let locations = call.registry.stays(id).await?.into_iter().map(StayView::from).collect();
    let transitions = call.registry.transitions(id).await?.into_iter().map(TransitionView::from).collect();
    Ok(Answer::ok(&HistoryView { locations, transitions })?.into_response())
}
