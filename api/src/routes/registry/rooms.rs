//! Rooms.

use serde::Serialize;
use serde_json::{Map, Value as Json};
use storage::registry::{Record, Room};
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

/// A room, as a client sends it.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RoomBody {
    /// The floor; it never changes.
    pub(super) floor_id: Uuid,
    /// The area, of the same building.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) area_id: Option<Uuid>,
    /// What people call it.
    pub(super) name: String,
    /// What it is for, such as `Conference_Room`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<String>,
    /// Everything else.
    #[schema(value_type = Object)]
    pub(super) attributes: Map<String, Json>,
}

/// A room, as a client gets it.
#[derive(Serialize, ToSchema)]
pub(super) struct RoomView {
    /// Its id.
    pub(super) id: Uuid,
    /// The floor; it never changes.
    pub(super) floor_id: Uuid,
    /// The area, of the same building.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) area_id: Option<Uuid>,
    /// What people call it.
    pub(super) name: String,
    /// What it is for, such as `Conference_Room`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<String>,
    /// Everything else.
    #[schema(value_type = Object)]
    pub(super) attributes: Map<String, Json>,
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

impl Wire for Room {
    type Body = RoomBody;
    type View = RoomView;
    const FILTERS: &'static [(&'static str, &'static str)] = &[
        ("building_id", "The building of the floor"),
        ("floor_id", "The floor"),
        ("area_id", "The area"),
        ("name", "The name"),
        ("kind", "The sort of room"),
    ];

    fn read(body: &mut BodyReader) -> Self {
        Self {
            floor_id: body.required_id("floor_id"),
            area_id: body.id("area_id"),
            name: body.text("name").unwrap_or_default(),
            kind: body.text("kind"),
            attributes: body.attributes(),
        }
    }

    fn body(&self) -> RoomBody {
        RoomBody {
            floor_id: self.floor_id.into(),
            area_id: self.area_id.map(Uuid::from),
            name: self.name.clone(),
            kind: self.kind.clone(),
            attributes: self.attributes.clone(),
        }
    }

    fn view(record: Record<Self>) -> RoomView {
        let body = record.fields.body();
        RoomView {
            id: record.id.into(),
            floor_id: body.floor_id,
            area_id: body.area_id,
            name: body.name,
            kind: body.kind,
            attributes: body.attributes,
            rev: record.rev.number(),
            created_at: record.created_at.to_string(),
            updated_at: record.updated_at.to_string(),
            deleted_at: record.deleted_at.map(|time| time.to_string()),
        }
    }
}

/// Lists rooms.
#[utoipa::path(get, path = "/rooms", operation_id = "list_rooms", tag = "rooms",
    params(ListParameters<Room>),
    responses((status = OK, body = PageOf<RoomView>, headers(("Link" = String, description = "The next page"))), Problems))]
pub(super) async fn list(call: Call) -> Reply {
    crud::list::<Room>(call).await
}

/// Makes a room with an id of the server's.
#[utoipa::path(post, path = "/rooms", operation_id = "create_room", tag = "rooms",
    params(OnceHeader), request_body = RoomBody,
    responses((status = CREATED, body = RoomView, headers(("ETag" = String), ("Location" = String))), Problems))]
pub(super) async fn create(call: Call) -> Reply {
    crud::create::<Room>(call).await
}

/// Reads a room.
#[utoipa::path(get, path = "/rooms/{id}", operation_id = "read_room", tag = "rooms",
    params(("id" = Uuid, Path), DeletedParameter, NoneMatchHeader),
    responses((status = OK, body = RoomView, headers(("ETag" = String))),
        (status = NOT_MODIFIED, description = "The client has this revision"), Problems))]
pub(super) async fn read(Path(id): Path<String>, call: Call) -> Reply {
    crud::read::<Room>(&id, call).await
}

/// Makes or replaces a room with an id of the client's.
#[utoipa::path(put, path = "/rooms/{id}", operation_id = "put_room", tag = "rooms",
    params(("id" = Uuid, Path), MatchHeaders), request_body = RoomBody,
    responses((status = OK, body = RoomView, headers(("ETag" = String))),
        (status = CREATED, body = RoomView, headers(("ETag" = String), ("Location" = String))), Problems))]
pub(super) async fn put(Path(id): Path<String>, call: Call) -> Reply {
    crud::put::<Room>(&id, call).await
}

/// Changes a room by a JSON merge patch.
#[utoipa::path(patch, path = "/rooms/{id}", operation_id = "patch_room", tag = "rooms",
    params(("id" = Uuid, Path), MatchHeaders),
    request_body(content = Object, content_type = "application/merge-patch+json"),
    responses((status = OK, body = RoomView, headers(("ETag" = String))), Problems))]
pub(super) async fn patch(Path(id): Path<String>, call: Call) -> Reply {
    crud::patch::<Room>(&id, call).await
}

/// Deletes a room; with `cascade=true` also if devices are in it: they stay, nowhere.
#[utoipa::path(delete, path = "/rooms/{id}", operation_id = "delete_room", tag = "rooms",
    params(("id" = Uuid, Path), CascadeParameter, MatchHeaders),
    responses((status = NO_CONTENT), Problems))]
pub(super) async fn delete(Path(id): Path<String>, call: Call) -> Reply {
    crud::delete::<Room>(&id, call).await
}
