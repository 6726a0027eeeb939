//! Names of rows and revisions, and the maker of new ids.
//!
//! Invariant: ids made by one process rise, also within one millisecond (UUIDv7, RFC 9562), so that the primary
//! key grows at its end.

use std::fmt;
use std::str::FromStr;

use parking_lot::Mutex;
use uuid::{ContextV7, Uuid};

use crate::model::Timestamp;

/// What the ids of all kinds have in common.
pub trait RegistryId:
    Copy + Eq + fmt::Debug + fmt::Display + From<Uuid> + Into<Uuid> + Send + Sync + 'static
{
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident,)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(Uuid);

        impl RegistryId for $name {}

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )*};
}

ids! {
    /// The id of a building.
    BuildingId,
    /// The id of a floor.
    FloorId,
    /// The id of an area.
    AreaId,
    /// The id of a room.
    RoomId,
    /// The id of a device.
    DeviceId,
}

/// How often a row was changed, counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Rev(i64);

impl Rev {
    /// The revision of a new row.
    pub const FIRST: Self = Self(1);

    /// From its number.
    #[must_use]
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> i64 {
        self.0
    }

    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// The position of a change among all changes, in the order of their commits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChangeSeq(i64);

impl ChangeSeq {
    /// Before every change.
    pub const START: Self = Self(0);

    /// From its number.
    #[must_use]
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> i64 {
        self.0
    }
}

/// Makes ids that rise.
#[derive(Debug, Default)]
pub(super) struct IdMaker(Mutex<ContextV7>);

impl IdMaker {
    /// A new id of the time `now`.
    pub(super) fn make(&self, now: Timestamp) -> Uuid {
        let millis = now.unix_millis();
        let nanos = u32::try_from(millis % 1_000 * 1_000_000).unwrap_or(0);
        Uuid::new_v7(uuid::Timestamp::from_unix(&*self.0.lock(), millis / 1_000, nanos))
    }
}
