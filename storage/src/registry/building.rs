//! Buildings: name, address, place on the earth, time zone.

use super::entity::{
    Attributes, Column, ColumnType, Kind, Resource, Stored, StoredRow, Value, check_attributes,
    check_optional, check_required,
};
use super::error::{Faults, Result};
use super::id::BuildingId;

/// A building.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Building {
    /// What people call it.
    pub name: String,
    /// The system that the building was taken over from.
    pub source: Option<String>,
    /// Its key there; `source` and `external_id` together are unique among the living.
    pub external_id: Option<String>,
    /// Where the post goes.
    pub address: Address,
    /// Degrees north, WGS 84.
    pub latitude: Option<f64>,
    /// Degrees east, WGS 84.
    pub longitude: Option<f64>,
    /// IANA time zone, such as `Europe/Berlin`.
    pub time_zone: Option<String>,
    /// Everything else.
    pub attributes: Attributes,
}

/// A postal address.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Address {
    /// Street and number.
    pub street: Option<String>,
    /// Postal code.
    pub postal_code: Option<String>,
    /// City or town.
    pub city: Option<String>,
    /// State, province or county.
    pub region: Option<String>,
    /// Country, ISO 3166-1 alpha-2.
    pub country: Option<String>,
}

impl Resource for Building {
    type Id = BuildingId;
    const KIND: Kind = Kind::Building;

    fn check(&self, faults: &mut Faults) {
        check_required(faults, "/name", &self.name);
        check_optional(faults, "/source", self.source.as_deref());
        check_optional(faults, "/external_id", self.external_id.as_deref());
        let address = &self.address;
        check_optional(faults, "/address/street", address.street.as_deref());
        check_optional(faults, "/address/postal_code", address.postal_code.as_deref());
        check_optional(faults, "/address/city", address.city.as_deref());
        check_optional(faults, "/address/region", address.region.as_deref());
        if let Some(country) = &address.country
            && !(country.len() == 2 && country.bytes().all(|b| b.is_ascii_uppercase()))
        {
            faults.add("/address/country", "bad_country", "must be two capital letters (ISO 3166-1 alpha-2)");
        }
        check_degrees(faults, "/latitude", self.latitude, 90.0);
        check_degrees(faults, "/longitude", self.longitude, 180.0);
        if self.latitude.is_some() != self.longitude.is_some() {
            let missing = if self.latitude.is_none() { "/latitude" } else { "/longitude" };
            faults.add(missing, "required", "latitude and longitude come together");
        }
        if let Some(zone) = &self.time_zone
            && zone.parse::<chrono_tz::Tz>().is_err()
        {
            faults.add("/time_zone", "unknown_time_zone", "must be an IANA time zone such as Europe/Berlin");
        }
        check_attributes(faults, &self.attributes);
    }
}

impl Stored for Building {
    const COLUMNS: &'static [Column] = &[
        Column::new("name", ColumnType::Text),
        Column::new("source", ColumnType::Text),
        Column::new("external_id", ColumnType::Text),
        Column::new("street", ColumnType::Text),
        Column::new("postal_code", ColumnType::Text),
        Column::new("city", ColumnType::Text),
        Column::new("region", ColumnType::Text),
        Column::new("country", ColumnType::Text),
        Column::new("latitude", ColumnType::Real),
        Column::new("longitude", ColumnType::Real),
        Column::new("time_zone", ColumnType::Text),
        Column::new("attributes", ColumnType::Json),
    ];

    fn values(&self) -> Vec<Value> {
        vec![
            Value::text(&self.name),
            Value::Text(self.source.clone()),
            Value::Text(self.external_id.clone()),
            Value::Text(self.address.street.clone()),
            Value::Text(self.address.postal_code.clone()),
            Value::Text(self.address.city.clone()),
            Value::Text(self.address.region.clone()),
            Value::Text(self.address.country.clone()),
            Value::Real(self.latitude),
            Value::Real(self.longitude),
            Value::Text(self.time_zone.clone()),
            Value::attributes(&self.attributes),
        ]
    }

    fn from_row(row: &StoredRow) -> Result<Self> {
        Ok(Self {
            name: row.get("name")?,
            source: row.get("source")?,
            external_id: row.get("external_id")?,
            address: Address {
                street: row.get("street")?,
                postal_code: row.get("postal_code")?,
                city: row.get("city")?,
                region: row.get("region")?,
                country: row.get("country")?,
            },
            latitude: row.get("latitude")?,
            longitude: row.get("longitude")?,
            time_zone: row.get("time_zone")?,
            attributes: row.attributes()?,
        })
    }
}

fn check_degrees(faults: &mut Faults, pointer: &str, degrees: Option<f64>, limit: f64) {
    if let Some(degrees) = degrees
        && !(-limit..=limit).contains(&degrees)
    {
        faults.add(pointer, "out_of_range", format!("must be degrees from -{limit} to {limit}"));
    }
}
