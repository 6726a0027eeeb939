//! Deleting: softly, and not over the heads of children unless asked to.
//!
//! Invariant: no living row has a deleted parent. A cascade deletes what is part of the row (floors, rooms, areas);
//! devices are not part of a place: their stay ends and they live on.

use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::changes::ChangeOp;
use super::device::Device;
use super::entity::{Kind, Record, Resource};
use super::error::{Conflict, Result};
use super::read;
use super::write::{Expected, Write};

/// Which rows of a kind are below a row: `?1` is the id of the row.
struct Below {
    kind: Kind,
    of: &'static str,
}

/// Everything below a row, the lowest first. Devices are in `device_locations` by the column `<kind>_id`.
const fn below(kind: Kind) -> &'static [Below] {
    match kind {
        Kind::Building => &[
            Below { kind: Kind::Room, of: "floor_id IN (SELECT id FROM floors WHERE building_id = ?1)" },
            Below { kind: Kind::Area, of: "building_id = ?1" },
            Below { kind: Kind::Floor, of: "building_id = ?1" },
        ],
        Kind::Floor => &[Below { kind: Kind::Room, of: "floor_id = ?1" }],
        Kind::Area => &[Below { kind: Kind::Room, of: "area_id = ?1" }],
        Kind::Room | Kind::Device => &[],
    }
}

impl Write {
    /// Deletes a row; it stays in the database, hidden. With `cascade` also what is part of it.
    ///
    /// # Errors
    /// [`Conflict::HasChildren`] with the counts if something is below it and `cascade` is false; for a device that
    /// is in service [`Conflict::IllegalMove`].
    pub async fn delete<R: Resource>(&mut self, id: R::Id, expected: &Expected, cascade: bool) -> Result<()> {
        let record: Record<R> = self.get(id).await?;
        expected.check(Some(record.rev))?;
        let id: Uuid = id.into();
        if R::KIND == Kind::Device {
            let device = read::living::<Device>(self.connection(), id.into()).await?;
            self.delete_device(device).await?;
            return Ok(());
        }
        let children = self.children(R::KIND, id).await?;
        if !children.is_empty() && !cascade {
            return Err(Conflict::HasChildren { children }.into());
        }
        if !children.is_empty() {
            self.clear_below(R::KIND, id).await?;
        }
        self.delete_where(R::KIND, "id = ?1", id).await
    }

    /// How many of what are below a row, without zeros.
    async fn children(&mut self, kind: Kind, id: Uuid) -> Result<Vec<(&'static str, i64)>> {
        let mut counts = Vec::new();
        for below in below(kind) {
            let table = below.kind.table();
            let sql = format!("SELECT count(*) FROM {table} WHERE deleted_at IS NULL AND {}", below.of);
            counts.push((table, self.count(sql, id).await?));
        }
        let sql = format!(
            "SELECT count(*) FROM device_locations WHERE valid_to IS NULL AND {}_id = ?1",
            kind.name()
        );
        counts.push(("devices", self.count(sql, id).await?));
        counts.retain(|(_, count)| *count > 0);
        Ok(counts)
    }

    async fn count(&mut self, sql: String, id: Uuid) -> Result<i64> {
        let statement = sqlx::query_scalar(AssertSqlSafe(sql)).bind(id.as_bytes().to_vec());
        Ok(statement.fetch_one(self.connection()).await?)
    }

    async fn clear_below(&mut self, kind: Kind, id: Uuid) -> Result<()> {
        if kind == Kind::Area {
            // An area is a label on rooms: they lose the label.
            self.dissolve_area(id).await?;
            return self
                .change_where(Kind::Room, "area_id = ?1", "area_id = NULL", ChangeOp::Update, id)
                .await;
        }
        self.end_stays(kind, id).await?;
        for below in below(kind) {
            self.delete_where(below.kind, below.of, id).await?;
        }
        Ok(())
    }

    /// Ends the open stays at a place; stays that have not begun are taken away.
    async fn end_stays(&mut self, kind: Kind, id: Uuid) -> Result<()> {
        let here = format!("{}_id = ?1 AND valid_to IS NULL", kind.name());
        let devices = format!("id IN (SELECT device_id FROM device_locations WHERE {here})");
        self.change_where(Kind::Device, &devices, "", ChangeOp::Move, id).await?;
        for sql in [
            format!("DELETE FROM device_locations WHERE {here} AND valid_from >= ?2"),
            format!("UPDATE device_locations SET valid_to = ?2 WHERE {here}"),
        ] {
            let now = self.now().nanos();
            let statement = sqlx::query(AssertSqlSafe(sql)).bind(id.as_bytes().to_vec()).bind(now);
            statement.execute(self.connection()).await?;
        }
        Ok(())
    }

    async fn delete_where(&mut self, kind: Kind, of: &str, id: Uuid) -> Result<()> {
        self.change_where(kind, of, "deleted_at = ?2", ChangeOp::Delete, id).await
    }

    /// Changes all living rows of a kind that `of` selects, with one event each. `?1` is `id`, `?2` is now.
    async fn change_where(&mut self, kind: Kind, of: &str, set: &str, op: ChangeOp, id: Uuid) -> Result<()> {
        let (table, name, word) = (kind.table(), kind.name(), op.name());
        let fields = match op {
            ChangeOp::Move => r#"["location"]"#,
            ChangeOp::Update => r#"["area_id"]"#,
            _ => "[]",
        };
        let comma = if set.is_empty() { "" } else { ", " };
        for sql in [
            format!(
                "INSERT INTO changes (entity, id, rev, op, fields, at) \
                 SELECT '{name}', id, rev + 1, '{word}', '{fields}', ?2 FROM {table} \
                 WHERE deleted_at IS NULL AND {of} ORDER BY id"
            ),
            format!(
                "UPDATE {table} SET rev = rev + 1, updated_at = ?2{comma}{set} \
                 WHERE deleted_at IS NULL AND {of}"
            ),
        ] {
            let now = self.now().nanos();
            let statement = sqlx::query(AssertSqlSafe(sql)).bind(id.as_bytes().to_vec()).bind(now);
            statement.execute(self.connection()).await?;
        }
        Ok(())
    }
}
