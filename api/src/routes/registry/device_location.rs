//! The location of a device: where it is, was, and goes.

use axum::response::IntoResponse;
use serde::Serialize;
use storage::registry::{Device, DeviceId, Faults, PlaceRequest, RegistryError, Stay};
use utoipa::ToSchema;
use uuid::Uuid;

use super::answer::{Answer, Reply, Start, start};
use super::body::{BodyReader, parse_time};
use super::call::Call;
use super::crud::known_id;
use super::openapi::{MatchHeaders, OnceHeader, Problems};
use crate::problem::Problem;
use crate::routes::extract::Path;

/// Where a device goes: one of the four is enough, the others follow from it.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LocationBody {
    /// The building.
    building_id: Option<Uuid>,
    /// The floor.
    floor_id: Option<Uuid>,
    /// The area.
    area_id: Option<Uuid>,
    /// The room.
    room_id: Option<Uuid>,
    /// Since when it is there; now if not given. It may be back-dated to after the last move.
    #[schema(format = DateTime)]
    valid_from: Option<String>,
}

/// The time that a device spends at a place.
#[derive(Serialize, ToSchema)]
pub(super) struct StayView {
    /// The device.
    device_id: Uuid,
    /// The building.
    building_id: Uuid,
    /// The floor, if known.
    floor_id: Option<Uuid>,
    /// The area, if known.
    area_id: Option<Uuid>,
    /// The room, if known.
    room_id: Option<Uuid>,
    /// From when on, inclusive.
    #[schema(format = DateTime)]
    valid_from: String,
    /// Until when, exclusive; null while it lasts.
    #[schema(format = DateTime)]
    valid_to: Option<String>,
}

impl From<Stay> for StayView {
    fn from(stay: Stay) -> Self {
        Self {
            device_id: stay.device_id.into(),
            building_id: stay.place.building_id.into(),
            floor_id: stay.place.floor_id.map(Uuid::from),
            area_id: stay.place.area_id.map(Uuid::from),
            room_id: stay.place.room_id.map(Uuid::from),
            valid_from: stay.valid_from.to_string(),
            valid_to: stay.valid_to.map(|time| time.to_string()),
        }
    }
}

/// Where a device is, or was at the time `as_of`.
#[utoipa::path(get, path = "/devices/{id}/location", operation_id = "read_device_location", tag = "devices",
    params(("id" = Uuid, Path), ("as_of" = Option<String>, Query, description = "A time in RFC 3339; now if not given")),
    responses((status = OK, body = StayView), Problems))]
pub(super) async fn read(Path(id): Path<String>, call: Call) -> Reply {
    let [as_of] = call.only(["as_of"])?;
    let id = known_id::<Device>(&id)?;
    let as_of = time_parameter("as_of", as_of)?.unwrap_or_else(|| call.registry.now());
    let device = call.registry.get_with_deleted::<Device>(id).await?;
    match call.registry.location_as_of(device.id, as_of).await? {
        Some(stay) => Ok(Answer::ok(&StayView::from(stay))?.into_response()),
        None => Err(nowhere(id)),
    }
}

/// Moves a device.
#[utoipa::path(put, path = "/devices/{id}/location", operation_id = "put_device_location", tag = "devices",
    params(("id" = Uuid, Path), MatchHeaders), request_body = LocationBody,
    responses((status = OK, body = StayView), Problems))]
pub(super) async fn put(Path(id): Path<String>, call: Call) -> Reply {
    place(&id, call).await
}

/// Moves a device.
#[utoipa::path(post, path = "/devices/{id}/location", operation_id = "create_device_location", tag = "devices",
    params(("id" = Uuid, Path), OnceHeader, MatchHeaders), request_body = LocationBody,
    responses((status = OK, body = StayView), Problems))]
pub(super) async fn create(Path(id): Path<String>, call: Call) -> Reply {
    place(&id, call).await
}

/// Ends the stay of a device; after that it is nowhere.
#[utoipa::path(delete, path = "/devices/{id}/location", operation_id = "delete_device_location", tag = "devices",
    params(("id" = Uuid, Path), MatchHeaders,
        ("valid_to" = Option<String>, Query, description = "A time in RFC 3339; now if not given")),
    responses((status = OK, body = StayView), Problems))]
pub(super) async fn delete(Path(id): Path<String>, call: Call) -> Reply {
    let [valid_to] = call.only(["valid_to"])?;
    let id = known_id::<Device>(&id)?;
    let valid_to = time_parameter("valid_to", valid_to)?;
    let mut write = call.registry.write().await?;
    let stay = write.unplace(id, &call.expected(), valid_to).await?;
    Answer::ok(&StayView::from(stay))?.commit(write).await
}

async fn place(id: &str, call: Call) -> Reply {
    let [] = call.only([])?;
    let id = known_id::<Device>(id)?;
    let mut reader = BodyReader::new(call.json()?);
    let request = PlaceRequest {
        building_id: reader.id("building_id"),
        floor_id: reader.id("floor_id"),
        area_id: reader.id("area_id"),
        room_id: reader.id("room_id"),
    };
    let valid_from = reader.time("valid_from");
    let faults = reader.finish();
    let mut write = match start(&call).await? {
        Start::Fresh(write) => write,
        Start::Replayed(response) => return Ok(response),
    };
    write.found(faults);
    let stay = write.place(id, &call.expected(), &request, valid_from).await?;
    Answer::ok(&StayView::from(stay))?.commit(write).await
}

fn time_parameter(name: &str, value: Option<&str>) -> Result<Option<storage::model::Timestamp>, Problem> {
    let Some(value) = value else { return Ok(None) };
    match parse_time(value) {
        Some(time) => Ok(Some(time)),
        None => {
            let detail = "must be a time such as 2026-01-31T12:00:00Z";
            Err(Faults::one(format!("?{name}"), "bad_time", detail).into())
        }
    }
}

fn nowhere(id: DeviceId) -> Problem {
    let key = format!("{id} with a location at that time");
    RegistryError::NotFound { kind: storage::registry::Kind::Device, key }.into()
}
