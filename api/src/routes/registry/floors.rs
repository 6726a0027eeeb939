//! Floors.

use serde::Serialize;
use serde_json::{Map, Value as Json};
use storage::registry::{Floor, Record};
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

/// A floor, as a client sends it.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FloorBody {
    /// The building; it never changes.
    pub(super) building_id: Uuid,
    /// What people call it.
    pub(super) name: String,
    /// Its place from bottom to top; 0 is the ground floor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) level: Option<i64>,
    /// Everything else.
    #[schema(value_type = Object)]
    pub(super) attributes: Map<String, Json>,
}

/// A floor, as a client gets it.
#[derive(Serialize, ToSchema)]
pub(super) struct FloorView {
    /// Its id.
    pub(super) id: Uuid,
    /// The building; it never changes.
    pub(super) building_id: Uuid,
    /// What people call it.
    pub(super) name: String,
    /// Its place from bottom to top; 0 is the ground floor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) level: Option<i64>,
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

impl Wire for Floor {
    type Body = FloorBody;
    type View = FloorView;
    const FILTERS: &'static [(&'static str, &'static str)] =
        &[("building_id", "The building"), ("name", "The name"), ("level", "The level")];

    fn read(body: &mut BodyReader) -> Self {
        Self {
            building_id: body.required_id("building_id"),
            name: body.text("name").unwrap_or_default(),
            level: body.int("level"),
            attributes: body.attributes(),
        }
    }

    fn body(&self) -> FloorBody {
        FloorBody {
            building_id: self.building_id.into(),
            name: self.name.clone(),
            level: self.level,
            attributes: self.attributes.clone(),
        }
    }

    fn view(record: Record<Self>) -> FloorView {
        let body = record.fields.body();
        FloorView {
            id: record.id.into(),
            building_id: body.building_id,
            name: body.name,
            level: body.level,
            attributes: body.attributes,
            rev: record.rev.number(),
            created_at: record.created_at.to_string(),
            updated_at: record.updated_at.to_string(),
            deleted_at: record.deleted_at.map(|time| time.to_string()),
        }
    }
}

/// Lists floors.
#[utoipa::path(get, path = "/floors", operation_id = "list_floors", tag = "floors",
    params(ListParameters<Floor>),
    responses((status = OK, body = PageOf<FloorView>, headers(("Link" = String, description = "The next page"))), Problems))]
pub(super) async fn list(call: Call) -> Reply {
    crud::list::<Floor>(call).await
}

/// Makes a floor with an id of the server's.
#[utoipa::path(post, path = "/floors", operation_id = "create_floor", tag = "floors",
    params(OnceHeader), request_body = FloorBody,
    responses((status = CREATED, body = FloorView, headers(("ETag" = String), ("Location" = String))), Problems))]
pub(super) async fn create(call: Call) -> Reply {
    crud::create::<Floor>(call).await
}

/// Reads a floor.
#[utoipa::path(get, path = "/floors/{id}", operation_id = "read_floor", tag = "floors",
    params(("id" = Uuid, Path), DeletedParameter, NoneMatchHeader),
    responses((status = OK, body = FloorView, headers(("ETag" = String))),
        (status = NOT_MODIFIED, description = "The client has this revision"), Problems))]
pub(super) async fn read(Path(id): Path<String>, call: Call) -> Reply {
    crud::read::<Floor>(&id, call).await
}

/// Makes or replaces a floor with an id of the client's.
#[utoipa::path(put, path = "/floors/{id}", operation_id = "put_floor", tag = "floors",
    params(("id" = Uuid, Path), MatchHeaders), request_body = FloorBody,
    responses((status = OK, body = FloorView, headers(("ETag" = String))),
        (status = CREATED, body = FloorView, headers(("ETag" = String), ("Location" = String))), Problems))]
pub(super) async fn put(Path(id): Path<String>, call: Call) -> Reply {
    crud::put::<Floor>(&id, call).await
}

/// Changes a floor by a JSON merge patch.
#[utoipa::path(patch, path = "/floors/{id}", operation_id = "patch_floor", tag = "floors",
    params(("id" = Uuid, Path), MatchHeaders),
    request_body(content = Object, content_type = "application/merge-patch+json"),
    responses((status = OK, body = FloorView, headers(("ETag" = String))), Problems))]
pub(super) async fn patch(Path(id): Path<String>, call: Call) -> Reply {
    crud::patch::<Floor>(&id, call).await
}

/// Deletes a floor; with `cascade=true` also its rooms.
#[utoipa::path(delete, path = "/floors/{id}", operation_id = "delete_floor", tag = "floors",
    params(("id" = Uuid, Path), CascadeParameter, MatchHeaders),
    responses((status = NO_CONTENT), Problems))]
pub(super) async fn delete(Path(id): Path<String>, call: Call) -> Reply {
    crud::delete::<Floor>(&id, call).await
}
