//! Transitions of a device: its moves through the states of its life.

use serde::Serialize;
use serde_json::Value as Json;
use storage::registry::{Device, DeviceState, Faults};
use utoipa::ToSchema;

use super::answer::{Reply, Start, start};
use super::body::BodyReader;
use super::call::Call;
use super::crud::{answer, known_id};
use super::devices::DeviceView;
use super::openapi::{MatchHeaders, OnceHeader, Problems};
use crate::routes::extract::Path;

/// Bytes of a reason: a sentence or two.
const MAX_REASON_BYTES: usize = 1_000;

/// Where a device is to go.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TransitionBody {
    /// `PENDING`, `ACTIVATED`, `REJECTED`, `DEACTIVATED` or `REMOVED`.
    to: String,
    /// Why; it is kept in the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Moves a device to another state: SHADOW to PENDING, then ACTIVATED or REJECTED; ACTIVATED to DEACTIVATED to REMOVED.
#[utoipa::path(post, path = "/devices/{id}/transitions", operation_id = "create_device_transition", tag = "devices",
    params(("id" = Uuid, Path), OnceHeader, MatchHeaders), request_body = TransitionBody,
    responses((status = OK, body = DeviceView, headers(("ETag" = String))), Problems))]
pub(super) async fn create(Path(id): Path<String>, call: Call) -> Reply {
    let [] = call.only([])?;
    let id = known_id::<Device>(&id)?;
    let (to, reason) = read(call.json()?)?;
    let mut write = match start(&call).await? {
        Start::Fresh(write) => write,
        Start::Replayed(response) => return Ok(response),
    };
    let record = write.transition(id, &call.expected(), to, reason.as_deref()).await?;
    answer(record)?.commit(write).await
}

fn read(body: Json) -> storage::registry::Result<(DeviceState, Option<String>)> {
    let mut reader = BodyReader::new(body);
    let (to, reason) = (reader.text("to"), reader.text("reason"));
    let mut faults: Faults = reader.finish();
    let state = to.as_deref().and_then(DeviceState::by_name);
    if state.is_none() {
        let names = DeviceState::ALL.map(DeviceState::name).join(", ");
        faults.add("/to", "bad_value", format!("must be one of {names}"));
    }
    if reason.as_ref().is_some_and(|reason| reason.len() > MAX_REASON_BYTES) {
        faults.add("/reason", "too_long", format!("must not be longer than {MAX_REASON_BYTES} bytes"));
    }
    faults.into_result()?;
    Ok((state.unwrap_or(DeviceState::Shadow), reason))
}
