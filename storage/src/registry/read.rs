//! Reading single rows.
//!
//! Invariant: a reader sees everything that was committed before it began.

use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use super::Registry;
use super::device::Device;
use super::entity::{Kind, Record, Resource};
use super::error::{RegistryError, Result};

impl Registry {
    /// A row that is not deleted.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] if there is none.
    pub async fn get<R: Resource>(&self, id: R::Id) -> Result<Record<R>> {
        living(&mut *self.readers.acquire().await?, id).await
    }

    /// A row, deleted or not.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] if there is none.
    pub async fn get_with_deleted<R: Resource>(&self, id: R::Id) -> Result<Record<R>> {
        any(&mut *self.readers.acquire().await?, id).await?.ok_or_else(|| not_found::<R>(id))
    }

    /// The living device with this key of its source.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] if there is none.
    pub async fn device_by_external(&self, source: &str, external_id: &str) -> Result<Record<Device>> {
        let sql = "SELECT * FROM devices WHERE external_id = ? AND source = ? AND deleted_at IS NULL";
        let row = sqlx::query(sql)
            .bind(external_id.to_owned())
            .bind(source.to_owned())
            .fetch_optional(&self.readers)
            .await?
            .ok_or_else(|| RegistryError::NotFound {
                kind: Kind::Device,
                key: format!("{source}/{external_id}"),
            })?;
        Record::from_row(&row)
    }
}

/// The row with this id, deleted or not.
pub(super) async fn any<R: Resource>(
    connection: &mut SqliteConnection,
    id: R::Id,
) -> Result<Option<Record<R>>> {
    let id: Uuid = id.into();
    let sql = format!("SELECT * FROM {} WHERE id = ?", R::KIND.table());
    let row = sqlx::query(AssertSqlSafe(sql)).bind(id.as_bytes().to_vec()).fetch_optional(connection).await?;
    row.as_ref().map(Record::from_row).transpose()
}

/// The row with this id, unless it is deleted.
pub(super) async fn living<R: Resource>(connection: &mut SqliteConnection, id: R::Id) -> Result<Record<R>> {
    any(connection, id)
        .await?
        .filter(|record: &Record<R>| record.deleted_at.is_none())
        .ok_or_else(|| not_found::<R>(id))
}

/// True if there is such a row that is not deleted.
pub(super) async fn lives(connection: &mut SqliteConnection, kind: Kind, id: Uuid) -> Result<bool> {
    let sql = format!("SELECT 1 FROM {} WHERE id = ? AND deleted_at IS NULL", kind.table());
    let row = sqlx::query(AssertSqlSafe(sql)).bind(id.as_bytes().to_vec()).fetch_optional(connection).await?;
    Ok(row.is_some())
}

fn not_found<R: Resource>(id: R::Id) -> RegistryError {
    RegistryError::NotFound { kind: R::KIND, key: id.to_string() }
}
