//! The registry against real SQLite files, with a clock that stands still until it is told to go on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod imports;
mod lists;
mod places;
mod rows;
mod sql;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tempfile::TempDir;

use super::*;
use crate::model::Timestamp;

/// 2026-01-01T00:00:00Z.
const NEW_YEAR_NS: i64 = 1_767_225_600_000_000_000;
const SECOND_NS: i64 = 1_000_000_000;

/// A registry in a folder of its own.
struct Fixture {
    registry: Arc<Registry>,
    clock: Arc<AtomicI64>,
    folder: TempDir,
}

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(AtomicI64::new(NEW_YEAR_NS));
        let registry = open(&folder, &clock).await;
        Self { registry, clock, folder }
    }

    /// Closes the database and opens it again.
    async fn reopen(&mut self) {
        self.registry.close().await;
        self.registry = open(&self.folder, &self.clock).await;
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_nanos(NEW_YEAR_NS + second * SECOND_NS)
    }

    /// Sets the clock to a second of the year.
    fn set(&self, second: i64) {
        self.clock.store(Self::at(second).nanos(), Ordering::SeqCst);
    }

    async fn create<R: Resource>(&self, fields: R) -> Record<R> {
        let mut write = self.registry.write().await.unwrap();
        let record = write.create(None, fields).await.unwrap();
        write.commit().await.unwrap();
        record
    }

    async fn update<R: Resource>(&self, id: R::Id, expected: &Expected, fields: R) -> Result<Record<R>> {
        let mut write = self.registry.write().await?;
        let record = write.update(id, expected, fields).await?;
        write.commit().await?;
        Ok(record)
    }

    async fn delete<R: Resource>(&self, id: R::Id, cascade: bool) -> Result<()> {
        let mut write = self.registry.write().await?;
        write.delete::<R>(id, &Expected::Any, cascade).await?;
        write.commit().await
    }

    async fn place(&self, device: DeviceId, place: &PlaceRequest, from: Option<Timestamp>) -> Result<Stay> {
        let mut write = self.registry.write().await?;
        let stay = write.place(device, &Expected::Any, place, from).await?;
        write.commit().await?;
        Ok(stay)
    }

    async fn transition(&self, device: DeviceId, to: DeviceState) -> Result<Record<Device>> {
        let mut write = self.registry.write().await?;
        let record = write.transition(device, &Expected::Any, to, Some("asked for")).await?;
        write.commit().await?;
        Ok(record)
    }

    async fn list<R: Resource>(&self, parameters: &[(&str, &str)]) -> Result<Page<R>> {
        let pairs: Vec<(String, String)> =
            parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.registry.list(&ListQuery::parse::<R>(&pairs)?).await
    }

    async fn changes(&self) -> Vec<Change> {
        self.registry.changes(ChangeSeq::START, 10_000).await.unwrap().changes
    }

    /// A building with two floors, an area over both, and a room on each floor in that area.
    async fn house(&self) -> House {
        let building = self.create(building("House")).await.id;
        let ground = self.create(floor(building, "Ground", 0)).await.id;
        let upper = self.create(floor(building, "Upper", 1)).await.id;
        let area = self.create(area(building, "East")).await.id;
        let lobby = self.create(room(ground, Some(area), "Lobby")).await.id;
        let office = self.create(room(upper, Some(area), "Office")).await.id;
        House { building, ground, upper, area, lobby, office }
    }
}

struct House {
    building: BuildingId,
    ground: FloorId,
    upper: FloorId,
    area: AreaId,
    lobby: RoomId,
    office: RoomId,
}

async fn open(folder: &TempDir, clock: &Arc<AtomicI64>) -> Arc<Registry> {
    let clock = Arc::clone(clock);
    let now: Clock = Arc::new(move || Timestamp::from_nanos(clock.load(Ordering::SeqCst)));
    Arc::new(Registry::open_with_clock(&folder.path().join("registry.db"), now).await.unwrap())
}

fn building(name: &str) -> Building {
    Building { name: name.to_owned(), ..Building::default() }
}

fn floor(building_id: BuildingId, name: &str, level: i64) -> Floor {
    Floor { building_id, name: name.to_owned(), level: Some(level), attributes: Attributes::new() }
}

fn area(building_id: BuildingId, name: &str) -> Area {
    Area { building_id, name: name.to_owned(), kind: None, attributes: Attributes::new() }
}

fn room(floor_id: FloorId, area_id: Option<AreaId>, name: &str) -> Room {
    Room { floor_id, area_id, name: name.to_owned(), kind: None, attributes: Attributes::new() }
}

/// In a room.
fn in_room(room: RoomId) -> PlaceRequest {
    PlaceRequest { room_id: Some(room), ..PlaceRequest::default() }
}

/// Pointer and code of every fault.
fn faults(error: RegistryError) -> Vec<(String, &'static str)> {
    match error {
        RegistryError::Invalid { faults } => {
            faults.into_iter().map(|fault| (fault.pointer, fault.code)).collect()
        }
        other => panic!("no faults but {other}"),
    }
}

fn conflict(error: RegistryError) -> Conflict {
    match error {
        RegistryError::Conflict(conflict) => conflict,
        other => panic!("no conflict but {other}"),
    }
}
