//! Where devices are and were.
//!
//! Invariants
//! - The stays of a device do not overlap, and at most one is open. [`Write::place`] and its two siblings here are the
//!   only code that writes them; closing the old stay and opening the new one is one transaction.
//! - A stay that has begun is never rewritten, only ended. A move may be back-dated to after the last stay began.
//! - A stay names building, floor, area and room as they were then, so a later change of the tree is no change of
//!   history.

use std::time::Duration;

use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use super::Registry;
use super::area::Area;
use super::building::Building;
use super::changes::{ChangeOp, NewChange};
use super::device::Device;
use super::entity::{Kind, Record, Resource, StoredRow};
use super::error::{Conflict, Faults, RegistryError, Result};
use super::floor::Floor;
use super::id::{AreaId, BuildingId, DeviceId, FloorId, RoomId};
use super::read;
use super::room::Room;
use super::write::{Expected, Write};
use crate::model::Timestamp;

/// How far ahead of our clock a move may be dated; the same day as for telemetry.
const MAX_AHEAD: Duration = Duration::from_secs(24 * 60 * 60);
/// Stays that a history shows, newest first. A device that moves daily fills it in three years.
const MAX_HISTORY: i64 = 1_000;

/// A place in a building.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The building.
    pub building_id: BuildingId,
    /// The floor, if known.
    pub floor_id: Option<FloorId>,
    /// The area, if known.
    pub area_id: Option<AreaId>,
    /// The room, if known.
    pub room_id: Option<RoomId>,
}

/// A place as a caller names it: one of the four is enough, the others follow from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PlaceRequest {
    /// The building.
    pub building_id: Option<BuildingId>,
    /// The floor.
    pub floor_id: Option<FloorId>,
    /// The area.
    pub area_id: Option<AreaId>,
    /// The room.
    pub room_id: Option<RoomId>,
}

/// The time that a device spends at a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stay {
    /// The device.
    pub device_id: DeviceId,
    /// Where.
    pub place: Place,
    /// From when on, inclusive.
    pub valid_from: Timestamp,
    /// Until when, exclusive; `None` while it lasts.
    pub valid_to: Option<Timestamp>,
}

impl Registry {
    /// The stay of a device at a time, if it had one. Deleted devices have a history too.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn location_as_of(&self, device: DeviceId, at: Timestamp) -> Result<Option<Stay>> {
        let sql = "SELECT * FROM device_locations WHERE device_id = ? AND valid_from <= ? \
                   AND (valid_to IS NULL OR valid_to > ?) ORDER BY valid_from DESC LIMIT 1";
        let row = sqlx::query(sql)
            .bind(Uuid::from(device).as_bytes().to_vec())
            .bind(at.nanos())
            .bind(at.nanos())
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map(|row| stay(&StoredRow(row))).transpose()
    }

    /// The newest 1,000 stays of a device, newest first. Deleted devices have a history too.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn stays(&self, device: DeviceId) -> Result<Vec<Stay>> {
        let rows = sqlx::query(
            "SELECT * FROM device_locations WHERE device_id = ? ORDER BY valid_from DESC LIMIT ?",
        )
        .bind(Uuid::from(device).as_bytes().to_vec())
        .bind(MAX_HISTORY)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(|row| stay(&StoredRow(row))).collect()
    }
}

impl Write {
    /// Moves a device: ends its stay, if any, at `valid_from` (now, if not given) and begins the next one. A move to
    /// where it is already changes nothing.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] if the place does not exist or contradicts itself, or `valid_from` is more than a
    /// day ahead; [`RegistryError::Conflict`] if a stay began or ended after `valid_from`.
    pub async fn place(
        &mut self,
        device: DeviceId,
        expected: &Expected,
        request: &PlaceRequest,
        valid_from: Option<Timestamp>,
    ) -> Result<Stay> {
        let record = self.get::<Device>(device).await?;
        expected.check(Some(record.rev))?;
        let place = self.resolve(request).await?;
        let valid_from = self.date(valid_from, "/valid_from")?;
        let last = last_stay(self.connection(), device).await?;
        match last {
            Some(open) if open.valid_to.is_none() && open.place == place => return Ok(open),
            Some(last) => {
                // An open stay must keep a part of its own, an ended one its whole.
                let after_begin = Timestamp::from_nanos(last.valid_from.nanos().saturating_add(1));
                let earliest = last.valid_to.unwrap_or(after_begin);
                if valid_from < earliest {
                    return Err(Conflict::Overlap { earliest_ns: earliest.nanos() }.into());
                }
                if last.valid_to.is_none() {
                    self.close_stay(&last, valid_from).await?;
                }
            }
            None => {}
        }
        let stay = Stay { device_id: device, place, valid_from, valid_to: None };
        self.open_stay(&stay).await?;
        self.touch_moved(record).await?;
        Ok(stay)
    }

    /// Ends the stay of a device at `valid_to` (now, if not given); after that it is nowhere.
    ///
    /// # Errors
    /// [`RegistryError::Conflict`] if it is nowhere already or the stay began later.
    pub async fn unplace(
        &mut self,
        device: DeviceId,
        expected: &Expected,
        valid_to: Option<Timestamp>,
    ) -> Result<Stay> {
        let record = self.get::<Device>(device).await?;
        expected.check(Some(record.rev))?;
        let valid_to = self.date(valid_to, "/valid_to")?;
        let open = last_stay(self.connection(), device)
            .await?
            .filter(|stay| stay.valid_to.is_none())
            .ok_or(Conflict::NoLocation)?;
        if valid_to <= open.valid_from {
            return Err(Conflict::Overlap { earliest_ns: open.valid_from.nanos().saturating_add(1) }.into());
        }
        self.close_stay(&open, valid_to).await?;
        self.touch_moved(record).await?;
        Ok(Stay { valid_to: Some(valid_to), ..open })
    }

    /// Gives the devices in a room the area that the room has now.
    pub(super) async fn rezone(&mut self, room: Uuid) -> Result<()> {
        let area = self.get::<Room>(room.into()).await?.fields.area_id;
        let sql = "SELECT * FROM device_locations WHERE room_id = ? AND valid_to IS NULL";
        self.change_area(sql, room, area).await
    }

    /// Takes the devices in an area out of it; they stay in their rooms.
    pub(super) async fn dissolve_area(&mut self, area: Uuid) -> Result<()> {
        let sql = "SELECT * FROM device_locations WHERE area_id = ? AND valid_to IS NULL";
        self.change_area(sql, area, None).await
    }

    async fn change_area(&mut self, sql: &'static str, of: Uuid, area_id: Option<AreaId>) -> Result<()> {
        let rows = sqlx::query(sql).bind(of.as_bytes().to_vec()).fetch_all(self.connection()).await?;
        for row in rows {
            let open = stay(&StoredRow(&row))?;
            if open.place.area_id == area_id {
                continue;
            }
            // A stay that begins later than now has not begun: it may be replaced.
            let at = self.now().max(open.valid_from);
            self.close_stay(&open, at).await?;
            let place = Place { area_id, ..open.place };
            self.open_stay(&Stay { place, valid_from: at, ..open }).await?;
            let record = self.get::<Device>(open.device_id).await?;
            self.touch_moved(record).await?;
        }
        Ok(())
    }

    /// Ends a stay; one that would have no length is taken away.
    pub(super) async fn close_stay(&mut self, stay: &Stay, at: Timestamp) -> Result<()> {
        let device = Uuid::from(stay.device_id).as_bytes().to_vec();
        let statement = if at <= stay.valid_from {
            sqlx::query("DELETE FROM device_locations WHERE device_id = ? AND valid_from = ?")
        } else {
            sqlx::query("UPDATE device_locations SET valid_to = ? WHERE device_id = ? AND valid_from = ?")
                .bind(at.nanos())
        };
        statement.bind(device).bind(stay.valid_from.nanos()).execute(self.connection()).await?;
        Ok(())
    }

    async fn open_stay(&mut self, stay: &Stay) -> Result<()> {
        let bytes = |id: Option<Uuid>| id.map(|id| id.as_bytes().to_vec());
        let sql = "INSERT INTO device_locations (device_id, valid_from, building_id, floor_id, area_id, room_id) \
                   VALUES (?, ?, ?, ?, ?, ?)";
        sqlx::query(sql)
            .bind(bytes(Some(stay.device_id.into())))
            .bind(stay.valid_from.nanos())
            .bind(bytes(Some(stay.place.building_id.into())))
            .bind(bytes(stay.place.floor_id.map(Uuid::from)))
            .bind(bytes(stay.place.area_id.map(Uuid::from)))
            .bind(bytes(stay.place.room_id.map(Uuid::from)))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// A move is a change of the device.
    async fn touch_moved(&mut self, device: Record<Device>) -> Result<()> {
        let (id, rev) = (Uuid::from(device.id), device.rev.next());
        sqlx::query("UPDATE devices SET rev = ?, updated_at = ? WHERE id = ?")
            .bind(rev.number())
            .bind(self.now().nanos())
            .bind(id.as_bytes().to_vec())
            .execute(self.connection())
            .await?;
        self.log(vec![NewChange {
            kind: Kind::Device,
            id,
            rev,
            op: ChangeOp::Move,
            fields: vec!["location"],
        }])
        .await
    }

    fn date(&self, given: Option<Timestamp>, pointer: &str) -> Result<Timestamp> {
        let ahead = i64::try_from(MAX_AHEAD.as_nanos()).unwrap_or(i64::MAX);
        match given {
            None => Ok(self.now()),
            Some(time) if time.nanos() <= self.now().nanos().saturating_add(ahead) => Ok(time),
            Some(_) => Err(Faults::one(pointer, "in_future", "must not be more than one day ahead")),
        }
    }

    /// Completes a place from what exists.
    async fn resolve(&mut self, request: &PlaceRequest) -> Result<Place> {
        let mut faults = self.take_found();
        let room: Option<Room> = self.named(request.room_id, "/room_id", &mut faults).await?;
        let floor_id = request.floor_id.or(room.as_ref().map(|room| room.floor_id));
        if room.as_ref().is_some_and(|room| Some(room.floor_id) != floor_id) {
            faults.add("/floor_id", "contradiction", "the room is on another floor");
        }
        let room_area = room.as_ref().and_then(|room| room.area_id);
        let area_id = request.area_id.or(room_area);
        if room_area.is_some() && room_area != area_id {
            faults.add("/area_id", "contradiction", "the room is in another area");
        }
        let floor: Option<Floor> = self.named(floor_id, "/floor_id", &mut faults).await?;
        let area: Option<Area> = self.named(area_id, "/area_id", &mut faults).await?;
        let above = [floor.map(|floor| floor.building_id), area.map(|area| area.building_id)];
        let building_id = request.building_id.or(above.into_iter().flatten().next());
        if above.into_iter().flatten().any(|above| Some(above) != building_id) {
            let pointer = if request.building_id.is_some() { "/building_id" } else { "/area_id" };
            faults.add(pointer, "contradiction", "floor and area are not both in this building");
        }
        self.named::<Building>(building_id, "/building_id", &mut faults).await?;
        if building_id.is_none() && faults.is_empty() {
            faults.add("", "required", "name a room, an area, a floor or a building");
        }
        faults.into_result()?;
        let building_id =
            building_id.ok_or_else(|| RegistryError::Corrupt("a place without a building".to_owned()))?;
        Ok(Place { building_id, floor_id, area_id, room_id: request.room_id })
    }

    async fn named<R: Resource>(
        &mut self,
        id: Option<R::Id>,
        pointer: &str,
        faults: &mut Faults,
    ) -> Result<Option<R>> {
        let Some(id) = id else { return Ok(None) };
        match read::living::<R>(self.connection(), id).await {
            Ok(record) => Ok(Some(record.fields)),
            Err(RegistryError::NotFound { kind, key }) => {
                faults.add(pointer, "not_found", format!("there is no {} {key}", kind.name()));
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }
}

/// The stay of a device that began last, ended or not.
pub(super) async fn last_stay(connection: &mut SqliteConnection, device: DeviceId) -> Result<Option<Stay>> {
    let row =
        sqlx::query("SELECT * FROM device_locations WHERE device_id = ? ORDER BY valid_from DESC LIMIT 1")
            .bind(Uuid::from(device).as_bytes().to_vec())
            .fetch_optional(connection)
            .await?;
    row.as_ref().map(|row| stay(&StoredRow(row))).transpose()
}

fn stay(row: &StoredRow) -> Result<Stay> {
    Ok(Stay {
        device_id: row.id("device_id")?.into(),
        place: Place {
            building_id: row.id("building_id")?.into(),
            floor_id: row.opt_id("floor_id")?.map(FloorId::from),
            area_id: row.opt_id("area_id")?.map(AreaId::from),
            room_id: row.opt_id("room_id")?.map(RoomId::from),
        },
        valid_from: Timestamp::from_nanos(row.get("valid_from")?),
        valid_to: row.get::<Option<i64>>("valid_to")?.map(Timestamp::from_nanos),
    })
}
