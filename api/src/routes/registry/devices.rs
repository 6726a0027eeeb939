//! Devices.

use serde::Serialize;
use serde_json::{Map, Value as Json};
use storage::registry::{Device, DeviceState, Record};
use utoipa::ToSchema;
use uuid::Uuid;

use super::answer::Reply;
use super::body::BodyReader;
use super::call::Call;
use super::crud::{self, PageOf, Wire};
use super::openapi::{
    CascadeParameter, DeletedParameter, ListParameters, MatchHeaders, NoneMatchHeader, OnceHeader, Problems,
};
use crate::routes::extract::Path;

/// A device, as a client sends it.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeviceBody {
    /// The system that the device comes from.
    pub(super) source: String,
    /// Its key there; unique with the source.
    pub(super) external_id: String,
    /// What people call it.
    pub(super) name: String,
    /// What sort of device it is, such as `CO2_Level_Sensor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<String>,
    /// Everything else.
    #[schema(value_type = Object)]
    pub(super) attributes: Map<String, Json>,
}

/// A device, as a client gets it.
#[derive(Serialize, ToSchema)]
pub(super) struct DeviceView {
    /// Its id.
    pub(super) id: Uuid,
    /// The system that the device comes from.
    pub(super) source: String,
    /// Its key there; unique with the source.
    pub(super) external_id: String,
    /// What people call it.
    pub(super) name: String,
    /// What sort of device it is, such as `CO2_Level_Sensor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<String>,
    /// Everything else.
    #[schema(value_type = Object)]
    pub(super) attributes: Map<String, Json>,
    /// Where it is in its life; it moves by transitions only.
    pub(super) state: &'static str,
    /// How often it was changed; the `ETag`.
    pub(super) rev: i64,
    /// When it was made.
    #[schema(format = DateTime)]
    pub(super) created_at: String,
    /// When it was last changed.
    #[schema(format = DateTime)]
    pub(super) updated_at: String,
    /// When it was deleted.
    #[schema(format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) deleted_at: Option<String>,
}

impl Wire for Device {
    type Body = DeviceBody;
    type View = DeviceView;
    const FILTERS: &'static [(&'static str, &'static str)] = &[
        ("building_id", "The building where it is now"),
        ("floor_id", "The floor where it is now"),
        ("area_id", "The area where it is now"),
        ("room_id", "The room where it is now"),
        ("source", "The source"),
        ("external_id", "The key at the source"),
        ("name", "The name"),
        ("kind", "The sort of device"),
        ("state", "SHADOW, PENDING, ACTIVATED, REJECTED, DEACTIVATED or REMOVED"),
    ];

    fn read(body: &mut BodyReader) -> Self {
        Self {
            source: body.text("source").unwrap_or_default(),
            external_id: body.text("external_id").unwrap_or_default(),
            name: body.text("name").unwrap_or_default(),
            kind: body.text("kind"),
            attributes: body.attributes(),
            state: DeviceState::Shadow,
        }
    }

    fn body(&self) -> DeviceBody {
        DeviceBody {
            source: self.source.clone(),
            external_id: self.external_id.clone(),
            name: self.name.clone(),
            kind: self.kind.clone(),
            attributes: self.attributes.clone(),
        }
    }

    fn view(record: Record<Self>) -> DeviceView {
        let (body, state) = (record.fields.body(), record.fields.state.name());
        DeviceView {
            id: record.id.into(),
            source: body.source,
            external_id: body.external_id,
            name: body.name,
            kind: body.kind,
            attributes: body.attributes,
            state,
            rev: record.rev.number(),
            created_at: record.created_at.to_string(),
            updated_at: record.updated_at.to_string(),
            deleted_at: record.deleted_at.map(|time| time.to_string()),
        }
    }

    fn keep(self, current: &Self) -> Self {
        Self { state: current.state, ..self }
    }
}

/// Lists devices.
#[utoipa::path(get, path = "/devices", operation_id = "list_devices", tag = "devices",
    params(ListParameters<Device>),
    responses((status = OK, body = PageOf<DeviceView>, headers(("Link" = String, description = "The next page"))), Problems))]
pub(super) async fn list(call: Call) -> Reply {
    crud::list::<Device>(call).await
}

/// Makes a device with an id of the server's.
#[utoipa::path(post, path = "/devices", operation_id = "create_device", tag = "devices",
    params(OnceHeader), request_body = DeviceBody,
    responses((status = CREATED, body = DeviceView, headers(("ETag" = String), ("Location" = String))), Problems))]
pub(super) async fn create(call: Call) -> Reply {
    crud::create::<Device>(call).await
}

/// Reads a device.
#[utoipa::path(get, path = "/devices/{id}", operation_id = "read_device", tag = "devices",
    params(("id" = Uuid, Path), DeletedParameter, NoneMatchHeader),
    responses((status = OK, body = DeviceView, headers(("ETag" = String))),
        (status = NOT_MODIFIED, description = "The client has this revision"), Problems))]
pub(super) async fn read(Path(id): Path<String>, call: Call) -> Reply {
    crud::read::<Device>(&id, call).await
}

/// Makes or replaces a device with an id of the client's.
#[utoipa::path(put, path = "/devices/{id}", operation_id = "put_device", tag = "devices",
    params(("id" = Uuid, Path), MatchHeaders), request_body = DeviceBody,
    responses((status = OK, body = DeviceView, headers(("ETag" = String))),
        (status = CREATED, body = DeviceView, headers(("ETag" = String), ("Location" = String))), Problems))]
pub(super) async fn put(Path(id): Path<String>, call: Call) -> Reply {
    crud::put::<Device>(&id, call).await
}

/// Changes a device by a JSON merge patch.
#[utoipa::path(patch, path = "/devices/{id}", operation_id = "patch_device", tag = "devices",
    params(("id" = Uuid, Path), MatchHeaders),
    request_body(content = Object, content_type = "application/merge-patch+json"),
    responses((status = OK, body = DeviceView, headers(("ETag" = String))), Problems))]
pub(super) async fn patch(Path(id): Path<String>, call: Call) -> Reply {
    crud::patch::<Device>(&id, call).await
}

/// Deletes a device, unless it is in service.
#[utoipa::path(delete, path = "/devices/{id}", operation_id = "delete_device", tag = "devices",
    params(("id" = Uuid, Path), CascadeParameter, MatchHeaders),
    responses((status = NO_CONTENT), Problems))]
pub(super) async fn delete(Path(id): Path<String>, call: Call) -> Reply {
    crud::delete::<Device>(&id, call).await
}

/// Reads the device with a key of its source.
#[utoipa::path(get, path = "/devices/by-external/{source}/{external_id}", operation_id = "read_device_by_external",
    tag = "devices", params(("source" = String, Path), ("external_id" = String, Path), NoneMatchHeader),
    responses((status = OK, body = DeviceView, headers(("ETag" = String))),
        (status = NOT_MODIFIED, description = "The client has this revision"), Problems))]
pub(super) async fn by_external(Path((source, external_id)): Path<(String, String)>, call: Call) -> Reply {
    let [] = call.only([])?;
    let record = call.registry.device_by_external(&source, &external_id).await?;
    crud::conditional(&call, record)
}
