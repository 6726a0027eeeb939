//! Buildings.

use serde::Serialize;
use serde_json::{Map, Value as Json};
use storage::registry::{Address, Building, Record};
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

/// A building, as a client sends it.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BuildingBody {
    /// What people call it.
    pub(super) name: String,
    /// The system that the building was taken over from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<String>,
    /// Its key there; unique with the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) external_id: Option<String>,
    /// Where the post goes.
    pub(super) address: AddressBody,
    /// Degrees north, WGS 84.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) latitude: Option<f64>,
    /// Degrees east, WGS 84.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) longitude: Option<f64>,
    /// IANA time zone, such as `Europe/Berlin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) time_zone: Option<String>,
    /// Everything else.
    #[schema(value_type = Object)]
    pub(super) attributes: Map<String, Json>,
}

/// A building, as a client gets it.
#[derive(Serialize, ToSchema)]
pub(super) struct BuildingView {
    /// Its id.
    pub(super) id: Uuid,
    /// What people call it.
    pub(super) name: String,
    /// The system that the building was taken over from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<String>,
    /// Its key there; unique with the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) external_id: Option<String>,
    /// Where the post goes.
    pub(super) address: AddressBody,
    /// Degrees north, WGS 84.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) latitude: Option<f64>,
    /// Degrees east, WGS 84.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) longitude: Option<f64>,
    /// IANA time zone, such as `Europe/Berlin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) time_zone: Option<String>,
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

/// A postal address.
#[derive(Default, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AddressBody {
    /// Street and number.
    #[serde(skip_serializing_if = "Option::is_none")]
    street: Option<String>,
    /// Postal code.
    #[serde(skip_serializing_if = "Option::is_none")]
    postal_code: Option<String>,
    /// City or town.
    #[serde(skip_serializing_if = "Option::is_none")]
    city: Option<String>,
    /// State, province or county.
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    /// Country, ISO 3166-1 alpha-2.
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<String>,
}

impl AddressBody {
    fn read(body: &mut BodyReader) -> Address {
        Address {
            street: body.text("street"),
            postal_code: body.text("postal_code"),
            city: body.text("city"),
            region: body.text("region"),
            country: body.text("country"),
        }
    }

    fn of(address: &Address) -> Self {
        let Address { street, postal_code, city, region, country } = address.clone();
        Self { street, postal_code, city, region, country }
    }
}

impl Wire for Building {
    type Body = BuildingBody;
    type View = BuildingView;
    const FILTERS: &'static [(&'static str, &'static str)] = &[
        ("name", "The name"),
        ("source", "The source"),
        ("external_id", "The key at the source"),
        ("street", "Street and number"),
        ("postal_code", "Postal code"),
        ("city", "City"),
        ("region", "Region"),
        ("country", "Country, two capital letters"),
        ("latitude", "Degrees north"),
        ("longitude", "Degrees east"),
        ("time_zone", "IANA time zone"),
    ];

    fn read(body: &mut BodyReader) -> Self {
        Self {
            name: body.text("name").unwrap_or_default(),
            source: body.text("source"),
            external_id: body.text("external_id"),
            address: body.within("address", AddressBody::read),
            latitude: body.number("latitude"),
            longitude: body.number("longitude"),
            time_zone: body.text("time_zone"),
            attributes: body.attributes(),
        }
    }

    fn body(&self) -> BuildingBody {
        BuildingBody {
            name: self.name.clone(),
            source: self.source.clone(),
            external_id: self.external_id.clone(),
            address: AddressBody::of(&self.address),
            latitude: self.latitude,
            longitude: self.longitude,
            time_zone: self.time_zone.clone(),
            attributes: self.attributes.clone(),
        }
    }

    fn view(record: Record<Self>) -> BuildingView {
        let body = record.fields.body();
        BuildingView {
            id: record.id.into(),
            name: body.name,
            source: body.source,
            external_id: body.external_id,
            address: body.address,
            latitude: body.latitude,
            longitude: body.longitude,
            time_zone: body.time_zone,
            attributes: body.attributes,
            rev: record.rev.number(),
            created_at: record.created_at.to_string(),
            updated_at: record.updated_at.to_string(),
            deleted_at: record.deleted_at.map(|time| time.to_string()),
        }
    }
}

/// Lists buildings.
#[utoipa::path(get, path = "/buildings", operation_id = "list_buildings", tag = "buildings",
    params(ListParameters<Building>),
    responses((status = OK, body = PageOf<BuildingView>, headers(("Link" = String, description = "The next page"))), Problems))]
pub(super) async fn list(call: Call) -> Reply {
    crud::list::<Building>(call).await
}

/// Makes a building with an id of the server's.
#[utoipa::path(post, path = "/buildings", operation_id = "create_building", tag = "buildings",
    params(OnceHeader), request_body = BuildingBody,
    responses((status = CREATED, body = BuildingView, headers(("ETag" = String), ("Location" = String))), Problems))]
pub(super) async fn create(call: Call) -> Reply {
    crud::create::<Building>(call).await
}

/// Reads a building.
#[utoipa::path(get, path = "/buildings/{id}", operation_id = "read_building", tag = "buildings",
    params(("id" = Uuid, Path), DeletedParameter, NoneMatchHeader),
    responses((status = OK, body = BuildingView, headers(("ETag" = String))),
        (status = NOT_MODIFIED, description = "The client has this revision"), Problems))]
pub(super) async fn read(Path(id): Path<String>, call: Call) -> Reply {
    crud::read::<Building>(&id, call).await
}

/// Makes or replaces a building with an id of the client's.
#[utoipa::path(put, path = "/buildings/{id}", operation_id = "put_building", tag = "buildings",
    params(("id" = Uuid, Path), MatchHeaders), request_body = BuildingBody,
    responses((status = OK, body = BuildingView, headers(("ETag" = String))),
        (status = CREATED, body = BuildingView, headers(("ETag" = String), ("Location" = String))), Problems))]
pub(super) async fn put(Path(id): Path<String>, call: Call) -> Reply {
    crud::put::<Building>(&id, call).await
}

/// Changes a building by a JSON merge patch.
#[utoipa::path(patch, path = "/buildings/{id}", operation_id = "patch_building", tag = "buildings",
    params(("id" = Uuid, Path), MatchHeaders),
    request_body(content = Object, content_type = "application/merge-patch+json"),
    responses((status = OK, body = BuildingView, headers(("ETag" = String))), Problems))]
pub(super) async fn patch(Path(id): Path<String>, call: Call) -> Reply {
    crud::patch::<Building>(&id, call).await
}

/// Deletes a building; with `cascade=true` also its floors, areas and rooms.
#[utoipa::path(delete, path = "/buildings/{id}", operation_id = "delete_building", tag = "buildings",
    params(("id" = Uuid, Path), CascadeParameter, MatchHeaders),
    responses((status = NO_CONTENT), Problems))]
pub(super) async fn delete(Path(id): Path<String>, call: Call) -> Reply {
    crud::delete::<Building>(&id, call).await
}
