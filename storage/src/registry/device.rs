//! Devices and the states of their life.
//!
//! ```text
//! SHADOW -> PENDING -> ACTIVATED -> DEACTIVATED -> REMOVED
//!                  \-> REJECTED
//! ```
//!
//! Invariant: the state moves only through [`DeviceState::successors`]; an update never sets it.

use super::entity::{
    Attributes, Column, ColumnType, Kind, Resource, Stored, StoredRow, Value, check_attributes,
    check_optional, check_required,
};
use super::error::{Faults, RegistryError, Result};
use super::id::DeviceId;

/// A device.
#[derive(Clone, PartialEq, Debug)]
pub struct Device {
    /// The system that the device comes from.
    pub source: String,
    /// Its key there; `source` and `external_id` together are unique among the living.
    pub external_id: String,
    /// What people call it.
    pub name: String,
    /// What sort of device it is, such as `CO2_Level_Sensor`.
    pub kind: Option<String>,
    /// Where it is in its life; a new device is [`DeviceState::Shadow`].
    pub state: DeviceState,
    /// Everything else.
    pub attributes: Attributes,
}

impl Device {
    /// A new device with nothing but its key; the key is its name.
    #[must_use]
    pub fn new(source: &str, external_id: &str) -> Self {
        Self {
            source: source.to_owned(),
            external_id: external_id.to_owned(),
            name: external_id.to_owned(),
            kind: None,
            state: DeviceState::Shadow,
            attributes: Attributes::new(),
        }
    }
}

/// The life of a device.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DeviceState {
    /// Seen or announced, nobody has asked for it yet.
    Shadow,
    /// Waits for an administrator.
    Pending,
    /// In service.
    Activated,
    /// Refused.
    Rejected,
    /// Out of service.
    Deactivated,
    /// Gone.
    Removed,
}

impl DeviceState {
    /// All states.
    pub const ALL: [Self; 6] =
        [Self::Shadow, Self::Pending, Self::Activated, Self::Rejected, Self::Deactivated, Self::Removed];

    /// Its name in the database, in JSON and in SQL.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shadow => "SHADOW",
            Self::Pending => "PENDING",
            Self::Activated => "ACTIVATED",
            Self::Rejected => "REJECTED",
            Self::Deactivated => "DEACTIVATED",
            Self::Removed => "REMOVED",
        }
    }

    /// The state with this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// The states that can follow.
    #[must_use]
    pub const fn successors(self) -> &'static [Self] {
        match self {
            Self::Shadow => &[Self::Pending],
            Self::Pending => &[Self::Activated, Self::Rejected],
            Self::Activated => &[Self::Deactivated],
            Self::Deactivated => &[Self::Removed],
            Self::Rejected | Self::Removed => &[],
        }
    }

    /// True if a row in this state may be deleted: it is out of service, or never was in service.
    #[must_use]
    pub const fn may_be_deleted(self) -> bool {
        !matches!(self, Self::Activated)
    }
}

impl Resource for Device {
    type Id = DeviceId;
    const KIND: Kind = Kind::Device;

    fn check(&self, faults: &mut Faults) {
        check_required(faults, "/source", &self.source);
        check_required(faults, "/external_id", &self.external_id);
        check_required(faults, "/name", &self.name);
        check_optional(faults, "/kind", self.kind.as_deref());
        check_attributes(faults, &self.attributes);
    }
}

impl Stored for Device {
    const COLUMNS: &'static [Column] = &[
        Column::new("source", ColumnType::Text),
        Column::new("external_id", ColumnType::Text),
        Column::new("name", ColumnType::Text),
        Column::new("kind", ColumnType::Text),
        Column::fixed("state", ColumnType::Text),
        Column::new("attributes", ColumnType::Json),
    ];

    fn values(&self) -> Vec<Value> {
        vec![
            Value::text(&self.source),
            Value::text(&self.external_id),
            Value::text(&self.name),
            Value::Text(self.kind.clone()),
            Value::text(self.state.name()),
            Value::attributes(&self.attributes),
        ]
    }

    fn from_row(row: &StoredRow) -> Result<Self> {
        let state: &str = row.get("state")?;
        Ok(Self {
            source: row.get("source")?,
            external_id: row.get("external_id")?,
            name: row.get("name")?,
            kind: row.get("kind")?,
            state: DeviceState::by_name(state)
                .ok_or_else(|| RegistryError::Corrupt(format!("there is no device state {state}")))?,
            attributes: row.attributes()?,
        })
    }
}
