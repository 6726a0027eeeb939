//! Floors of a building.

use super::entity::{
    Attributes, Column, ColumnType, Kind, Resource, Stored, StoredRow, Value, check_attributes,
    check_required,
};
use super::error::{Faults, Result};
use super::id::{BuildingId, FloorId};

/// A floor (storey, level).
#[derive(Clone, PartialEq, Debug)]
pub struct Floor {
    /// The building; it never changes.
    pub building_id: BuildingId,
    /// What people call it.
    pub name: String,
    /// Its place from bottom to top; 0 is the ground floor.
    pub level: Option<i64>,
    /// Everything else.
    pub attributes: Attributes,
}

impl Resource for Floor {
    type Id = FloorId;
    const KIND: Kind = Kind::Floor;

    fn check(&self, faults: &mut Faults) {
        check_required(faults, "/name", &self.name);
        check_attributes(faults, &self.attributes);
    }
}

impl Stored for Floor {
    const COLUMNS: &'static [Column] = &[
        Column::fixed("building_id", ColumnType::Parent(Kind::Building)),
        Column::new("name", ColumnType::Text),
        Column::new("level", ColumnType::Int),
        Column::new("attributes", ColumnType::Json),
    ];

    fn values(&self) -> Vec<Value> {
        vec![
            Value::id(self.building_id),
            Value::text(&self.name),
            Value::Int(self.level),
            Value::attributes(&self.attributes),
        ]
    }

    fn from_row(row: &StoredRow) -> Result<Self> {
        Ok(Self {
            building_id: row.id("building_id")?.into(),
            name: row.get("name")?,
            level: row.get("level")?,
            attributes: row.attributes()?,
        })
    }
}
