//! Areas (zones) of a building. The rooms name their area, so an area may cover rooms of several floors.

use super::entity::{
    Attributes, Column, ColumnType, Kind, Resource, Stored, StoredRow, Value, check_attributes,
    check_optional, check_required,
};
use super::error::{Faults, Result};
use super::id::{AreaId, BuildingId};

/// An area: an HVAC or lighting zone, a wing, a flat.
#[derive(Clone, PartialEq, Debug)]
pub struct Area {
    /// The building; it never changes.
    pub building_id: BuildingId,
    /// What people call it.
    pub name: String,
    /// What sort of zone it is, such as `HVAC_Zone`.
    pub kind: Option<String>,
    /// Everything else.
    pub attributes: Attributes,
}

impl Resource for Area {
    type Id = AreaId;
    const KIND: Kind = Kind::Area;

    fn check(&self, faults: &mut Faults) {
        check_required(faults, "/name", &self.name);
        check_optional(faults, "/kind", self.kind.as_deref());
        check_attributes(faults, &self.attributes);
    }
}

impl Stored for Area {
    const COLUMNS: &'static [Column] = &[
        Column::fixed("building_id", ColumnType::Parent(Kind::Building)),
        Column::new("name", ColumnType::Text),
        Column::new("kind", ColumnType::Text),
        Column::new("attributes", ColumnType::Json),
    ];

    fn values(&self) -> Vec<Value> {
        vec![
            Value::id(self.building_id),
            Value::text(&self.name),
            Value::Text(self.kind.clone()),
            Value::attributes(&self.attributes),
        ]
    }

    fn from_row(row: &StoredRow) -> Result<Self> {
        Ok(Self {
            building_id: row.id("building_id")?.into(),
            name: row.get("name")?,
            kind: row.get("kind")?,
            attributes: row.attributes()?,
        })
    }
}
