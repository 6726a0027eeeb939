//! Rooms (spaces) on a floor, each in at most one area.

use uuid::Uuid;

use super::entity::{
    Attributes, Column, ColumnType, Kind, Resource, Stored, StoredRow, Value, check_attributes,
    check_optional, check_required,
};
use super::error::{Faults, Result};
use super::id::{AreaId, FloorId, RoomId};

/// A room.
#[derive(Clone, PartialEq, Debug)]
pub struct Room {
    /// The floor; it never changes.
    pub floor_id: FloorId,
    /// The area that it belongs to, of the same building.
    pub area_id: Option<AreaId>,
    /// What people call it.
    pub name: String,
    /// What it is for, such as `Conference_Room`.
    pub kind: Option<String>,
    /// Everything else.
    pub attributes: Attributes,
}

impl Resource for Room {
    type Id = RoomId;
    const KIND: Kind = Kind::Room;

    fn check(&self, faults: &mut Faults) {
        check_required(faults, "/name", &self.name);
        check_optional(faults, "/kind", self.kind.as_deref());
        check_attributes(faults, &self.attributes);
    }
}

impl Stored for Room {
    const COLUMNS: &'static [Column] = &[
        Column::fixed("floor_id", ColumnType::Parent(Kind::Floor)),
        Column::new("area_id", ColumnType::Parent(Kind::Area)),
        Column::new("name", ColumnType::Text),
        Column::new("kind", ColumnType::Text),
        Column::new("attributes", ColumnType::Json),
    ];

    fn values(&self) -> Vec<Value> {
        vec![
            Value::id(self.floor_id),
            Value::Id(self.area_id.map(Uuid::from)),
            Value::text(&self.name),
            Value::Text(self.kind.clone()),
            Value::attributes(&self.attributes),
        ]
    }

    fn from_row(row: &StoredRow) -> Result<Self> {
        Ok(Self {
            floor_id: row.id("floor_id")?.into(),
            area_id: row.opt_id("area_id")?.map(AreaId::from),
            name: row.get("name")?,
            kind: row.get("kind")?,
            attributes: row.attributes()?,
        })
    }
}
