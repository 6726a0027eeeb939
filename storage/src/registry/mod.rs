//! The registry: buildings, floors, areas, rooms and devices, where each device was when, and every change.
//!
//! Purpose: the one place that says what a device is and where it stood. It lives in an SQLite database of its own
//! (write-ahead log, `synchronous=FULL`), beside the telemetry and never in its way.
//!
//! Invariants
//! - One writer: every write runs in a `BEGIN IMMEDIATE` transaction on one connection, so the order of the change
//!   events is the order of the commits.
//! - A change and its event are one transaction; so are a request's idempotency key and what the request did.
//! - A device has at most one location at any time; a location is never rewritten, only ended.
//! - `source` + `external_id` is unique among rows that are not deleted. Deleted rows stay, hidden.
//!
//! It does not know HTTP. It does not know what may be done by whom.

mod area;
mod building;
mod changes;
mod delete;
mod device;
mod entity;
mod error;
mod floor;
mod id;
mod import;
mod life;
mod location;
mod migrate;
mod page;
mod read;
mod room;
mod scan;
mod write;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqlitePool};
use tokio::sync::watch;

pub use area::Area;
pub use building::{Address, Building};
pub use changes::{CHANGES_KEPT, Change, ChangeOp, ChangePage};
pub use device::{Device, DeviceState};
pub use entity::{Attributes, Kind, MAX_ATTRIBUTES_BYTES, MAX_TEXT_BYTES, Record, Resource, escape_pointer};
pub use error::{Conflict, Fault, Faults, RegistryError, Result};
pub use floor::Floor;
pub use id::{AreaId, BuildingId, ChangeSeq, DeviceId, FloorId, RegistryId, Rev, RoomId};
pub use import::{BuildingImport, ImportMode, ImportOptions, LineOutcome, LineResult, MAX_LINE_BYTES};
pub use life::Transition;
pub use location::{Place, PlaceRequest, Stay};
pub use page::{DEFAULT_LIMIT, ListQuery, MAX_LIMIT, Page, Sort};
pub use room::Room;
pub use scan::RegistryTable;
pub use write::{ANSWERS_KEPT, Begin, Expected, OnceKey, Put, Write};

use crate::model::Timestamp;
use id::IdMaker;

/// Connections that only read. Reads take 0.1 ms; four keep two cores busy.
const READERS: u32 = 4;
/// How long a request waits for the writer or a reader before it hears that the registry is busy. An import holds
/// the writer for about 0.1 s per 1,000 rows, so this is a long queue, not a slow neighbour.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The registry database. Cheap to share behind an `Arc`.
pub struct Registry {
    writer: SqlitePool,
    readers: SqlitePool,
    clock: Clock,
    ids: Arc<IdMaker>,
    newest_change: watch::Sender<ChangeSeq>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("newest_change", &*self.newest_change.borrow())
            .finish_non_exhaustive()
    }
}

/// What SQLite's own check finds wrong with the database at `path`; nothing when it is sound. It is not changed.
///
/// # Errors
/// When it cannot be opened or is no database at all.
pub async fn integrity(path: &Path) -> Result<Vec<String>> {
    let options = SqliteConnectOptions::new().filename(path).pragma("query_only", "on");
    let mut connection = options.connect().await?;
    let lines: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check").fetch_all(&mut connection).await?;
    connection.close().await?;
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}

/// Writes a copy of the database at `from`, as of one moment, to `to`, which must not exist. Others may use the database
/// meanwhile, and may change it. The copy is not synced.
///
/// # Errors
/// When either cannot be opened, read or written.
pub async fn copy(from: &Path, to: &Path) -> Result<()> {
    let options = SqliteConnectOptions::new().filename(from).busy_timeout(ACQUIRE_TIMEOUT);
    let mut connection = options.connect().await?;
    let copied = sqlx::query("VACUUM INTO ?1").bind(to.to_string_lossy()).execute(&mut connection).await;
    connection.close().await?;
    copied?;
    Ok(())
}

impl Registry {
    /// Opens the database at `path`, makes it if it is missing, and brings its schema up to date.
    ///
    /// # Errors
    /// When the file cannot be opened or holds a schema that this version does not know.
    pub async fn open(path: &Path) -> Result<Self> {
        Self::open_with_clock(path, Arc::new(crate::clock::now)).await
    }

    /// As [`Registry::open`], with another clock.
    ///
    /// # Errors
    /// As [`Registry::open`].
    pub async fn open_with_clock(path: &Path, clock: Clock) -> Result<Self> {
        let options =
            SqliteConnectOptions::new().filename(path).foreign_keys(true).busy_timeout(ACQUIRE_TIMEOUT);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(
                options
                    .clone()
                    .create_if_missing(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Full),
            )
            .await?;
        migrate::run(&mut *writer.acquire().await?).await?;
        let newest = changes::newest(&mut *writer.acquire().await?).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(options.pragma("query_only", "on"))
            .await?;
        Ok(Self {
            writer,
            readers,
            clock,
            ids: Arc::new(IdMaker::default()),
            newest_change: watch::Sender::new(newest),
        })
    }

    /// The time now, by the clock that the registry was opened with.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Forgets change events and answers that are older than they are kept, and lets SQLite refresh its statistics.
    /// To be called about daily.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn maintain(&self) -> Result<()> {
        let mut write = self.write().await?;
        write.forget_old().await?;
        write.commit().await?;
        sqlx::query("PRAGMA optimize").execute(&self.writer).await?;
        Ok(())
    }

    /// Waits for running work and closes the database. On return the write-ahead log is folded into the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}
