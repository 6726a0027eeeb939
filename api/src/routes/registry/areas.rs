//! Areas (zones). The rooms name their area, so `/rooms?area_id=` lists what it covers, on all floors.

use serde::Serialize;
use serde_json::{Map, Value as Json};
use storage::registry::{Area, Record};
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

/// An area, as a client sends it.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AreaBody {
    /// The building; it never changes.
    pub(super) building_id: Uuid,
    /// What people call it.
    pub(super) name: String,
    /// What sort of zone it is, such as `HVAC_Zone`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<String>,
    /// Everything else.
    #[schema(value_type = Object)]
    pub(super) attributes: Map<String, Json>,
}

/// An area, as a client gets it.
#[derive(Serialize, ToSchema)]
pub(super) struct AreaView {
    /// Its id.
    pub(super) id: Uuid,
    /// The building; it never changes.
    pub(super) building_id: Uuid,
    /// What people call it.
    pub(super) name: String,
    /// What sort of zone it is, such as `HVAC_Zone`.
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

impl Wire for Area {
    type Body = AreaBody;
    type View = AreaView;
    const FILTERS: &'static [(&'static str, &'static str)] =
        &[("building_id", "The building"), ("name", "The name"), ("kind", "The sort of zone")];

    fn read(body: &mut BodyReader) -> Self {
        Self {
            building_id: body.required_id("building_id"),
            name: body.text("name").unwrap_or_default(),
            kind: body.text("kind"),
            attributes: body.attributes(),
        }
    }

    fn body(&self) -> AreaBody {
        AreaBody {
            building_id: self.building_id.into(),
            name: self.name.clone(),
            kind: self.kind.clone(),
            attributes: self.attributes.clone(),
        }
    }

    fn view(record: Record<Self>) -> AreaView {
        let body = record.fields.body();
        AreaView {
            id: record.id.into(),
            building_id: body.building_id,
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

/// Lists areas.
#[utoipa::path(get, path = "/areas", operation_id = "list_areas", tag = "areas",
    params(ListParameters<Area>),
    responses((status = OK, body = PageOf<AreaView>, headers(("Link" = String, description = "The next page"))), Problems))]
pub(super) async fn list(call: Call) -> Reply {
    crud::list::<Area>(call).await
}

/// Makes an area with an id of the server's.
#[utoipa::path(post, path = "/areas", operation_id = "create_area", tag = "areas",
    params(OnceHeader), request_body = AreaBody,
    responses((status = CREATED, body = AreaView, headers(("ETag" = String), ("Location" = String))), Problems))]
pub(super) async fn create(call: Call) -> Reply {
    crud::create::<Area>(call).await
}

/// Reads an area.
#[utoipa::path(get, path = "/areas/{id}", operation_id = "read_area", tag = "areas",
    params(("id" = Uuid, Path), DeletedParameter, NoneMatchHeader),
    responses((status = OK, body = AreaView, headers(("ETag" = String))),
        (status = NOT_MODIFIED, description = "The client has this revision"), Problems))]
pub(super) async fn read(Path(id): Path<String>, call: Call) -> Reply {
    crud::read::<Area>(&id, call).await
}

/// Makes or replaces an area with an id of the client's.
#[utoipa::path(put, path = "/areas/{id}", operation_id = "put_area", tag = "areas",
    params(("id" = Uuid, Path), MatchHeaders), request_body = AreaBody,
    responses((status = OK, body = AreaView, headers(("ETag" = String))),
        (status = CREATED, body = AreaView, headers(("ETag" = String), ("Location" = String))), Problems))]
pub(super) async fn put(Path(id): Path<String>, call: Call) -> Reply {
    crud::put::<Area>(&id, call).await
}

/// Changes an area by a JSON merge patch.
#[utoipa::path(patch, path = "/areas/{id}", operation_id = "patch_area", tag = "areas",
    params(("id" = Uuid, Path), MatchHeaders),
    request_body(content = Object, content_type = "application/merge-patch+json"),
    responses((status = OK, body = AreaView, headers(("ETag" = String))), Problems))]
pub(super) async fn patch(Path(id): Path<String>, call: Call) -> Reply {
    crud::patch::<Area>(&id, call).await
}

/// Deletes an area; with `cascade=true` also if rooms name it: they stay, without an area.
#[utoipa::path(delete, path = "/areas/{id}", operation_id = "delete_area", tag = "areas",
    params(("id" = Uuid, Path), CascadeParameter, MatchHeaders),
    responses((status = NO_CONTENT), Problems))]
pub(super) async fn delete(Path(id): Path<String>, call: Call) -> Reply {
    crud::delete::<Area>(&id, call).await
}
