//! The schema of the registry database and its versions.
//!
//! Invariant: a released migration never changes; its checksum is kept in the database and a difference is an error.

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::SqliteConnection;

use super::error::Result;

/// Version, description and text of every migration, oldest first.
const MIGRATIONS: [(i64, &str, &str); 1] = [(1, "registry", include_str!("migrations/0001_registry.sql"))];

/// Brings the database to the newest schema. On return all migrations are applied; an error leaves the one that
/// failed undone, because each runs in a transaction of its own.
pub(super) async fn run(connection: &mut SqliteConnection) -> Result<()> {
    let migrations = MIGRATIONS
        .iter()
        .map(|&(version, description, sql)| {
            Migration::new(version, description.into(), MigrationType::Simple, sql.into_sql_str(), false)
        })
        .collect();
    Migrator::with_migrations(migrations).run(connection).await?;
    Ok(())
}
