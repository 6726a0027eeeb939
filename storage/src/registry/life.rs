//! Transitions: the moves of a device through the states of its life, kept with their reasons.
//!
//! Invariant: a removed device has no open stay and is hidden, but its stays and transitions remain.

use uuid::Uuid;

use super::Registry;
use super::changes::{ChangeOp, NewChange};
use super::device::{Device, DeviceState};
use super::entity::{Kind, Record, StoredRow};
use super::error::{Conflict, RegistryError, Result};
use super::id::{DeviceId, Rev};
use super::location::last_stay;
use super::write::{Expected, Write};
use crate::model::Timestamp;

/// Transitions that a history shows, newest first; a life has at most four.
const MAX_TRANSITIONS: i64 = 100;

/// A move from one state to another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transition {
    /// The state before.
    pub from: DeviceState,
    /// The state after.
    pub to: DeviceState,
    /// Why, if somebody said so.
    pub reason: Option<String>,
    /// When.
    pub at: Timestamp,
    /// The revision of the device after it.
    pub rev: Rev,
}

impl Registry {
    /// The transitions of a device, newest first. Deleted devices have a history too.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn transitions(&self, device: DeviceId) -> Result<Vec<Transition>> {
        let rows =
            sqlx::query("SELECT * FROM device_transitions WHERE device_id = ? ORDER BY rev DESC LIMIT ?")
                .bind(Uuid::from(device).as_bytes().to_vec())
                .bind(MAX_TRANSITIONS)
                .fetch_all(&self.readers)
                .await?;
        rows.iter().map(|row| transition(&StoredRow(row))).collect()
    }
}

impl Write {
    /// Moves a device to another state. [`DeviceState::Removed`] ends its stay and deletes it.
    ///
    /// # Errors
    /// [`RegistryError::Conflict`] with the legal states if the state machine has no such move.
    pub async fn transition(
        &mut self,
        id: DeviceId,
        expected: &Expected,
        to: DeviceState,
        reason: Option<&str>,
    ) -> Result<Record<Device>> {
        let record = self.get::<Device>(id).await?;
        expected.check(Some(record.rev))?;
        if !record.fields.state.successors().contains(&to) {
            return Err(illegal(record.fields.state, to));
        }
        self.set_state(record, to, reason).await
    }

    /// Deletes a device, out of every state but in service.
    pub(super) async fn delete_device(&mut self, record: Record<Device>) -> Result<Record<Device>> {
        if !record.fields.state.may_be_deleted() {
            return Err(illegal(record.fields.state, DeviceState::Removed));
        }
        self.set_state(record, DeviceState::Removed, None).await
    }

    async fn set_state(
        &mut self,
        record: Record<Device>,
        to: DeviceState,
        reason: Option<&str>,
    ) -> Result<Record<Device>> {
        let (id, from, rev, now) =
            (Uuid::from(record.id), record.fields.state, record.rev.next(), self.now());
        let bytes = id.as_bytes().to_vec();
        let removed = to == DeviceState::Removed;
        let deleted_at = removed.then_some(now);
        if removed
            && let Some(open) = last_stay(self.connection(), record.id).await?
            && open.valid_to.is_none()
        {
            self.close_stay(&open, now).await?;
        }
        sqlx::query("UPDATE devices SET state = ?, rev = ?, updated_at = ?, deleted_at = ? WHERE id = ?")
            .bind(to.name())
            .bind(rev.number())
            .bind(now.nanos())
            .bind(deleted_at.map(Timestamp::nanos))
            .bind(bytes.clone())
            .execute(self.connection())
            .await?;
        let sql = "INSERT INTO device_transitions (device_id, rev, from_state, to_state, reason, at) \
                   VALUES (?, ?, ?, ?, ?, ?)";
        sqlx::query(sql)
            .bind(bytes)
            .bind(rev.number())
            .bind(from.name())
            .bind(to.name())
            .bind(reason.map(str::to_owned))
            .bind(now.nanos())
            .execute(self.connection())
            .await?;
        let op = if removed { ChangeOp::Delete } else { ChangeOp::Transition };
        self.log(vec![NewChange { kind: Kind::Device, id, rev, op, fields: vec!["state"] }]).await?;
        let fields = Device { state: to, ..record.fields };
        Ok(Record { rev, updated_at: now, deleted_at, fields, ..record })
    }
}

fn illegal(from: DeviceState, to: DeviceState) -> RegistryError {
    let legal = from.successors().iter().map(|state| state.name()).collect();
    Conflict::IllegalMove { from: from.name(), to: to.name(), legal }.into()
}

fn transition(row: &StoredRow) -> Result<Transition> {
    let state = |column| {
        let name: &str = row.get(column)?;
        DeviceState::by_name(name)
            .ok_or_else(|| RegistryError::Corrupt(format!("there is no device state {name}")))
    };
    Ok(Transition {
        from: state("from_state")?,
        to: state("to_state")?,
        reason: row.get("reason")?,
        at: Timestamp::from_nanos(row.get("at")?),
        rev: Rev::new(row.get("rev")?),
    })
}
