//! Change events: what changed, in the order of the commits.
//!
//! Invariant: an event is written in the transaction of its change. Events are kept for [`CHANGES_KEPT`]; who asks
//! for older ones is told so and never gets a gap unnoticed.

use std::time::Duration;

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

use super::Registry;
use super::entity::{Kind, StoredRow};
use super::error::{RegistryError, Result};
use super::id::{ChangeSeq, Rev};
use super::write::Write;
use crate::model::Timestamp;

/// How long events are kept: a follower may be away for a week.
pub const CHANGES_KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Events of one INSERT, as for rows (7 values each).
const EVENTS_PER_STATEMENT: usize = 250;

/// What happened to a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangeOp {
    /// It was made.
    Create,
    /// Properties were changed.
    Update,
    /// It was deleted.
    Delete,
    /// A device came to another location, or lost it.
    Move,
    /// A device came to another state.
    Transition,
}

impl ChangeOp {
    const ALL: [Self; 5] = [Self::Create, Self::Update, Self::Delete, Self::Move, Self::Transition];

    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Move => "move",
            Self::Transition => "transition",
        }
    }
}

/// A change event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Its place among all events.
    pub seq: ChangeSeq,
    /// The kind of the row.
    pub kind: Kind,
    /// The id of the row.
    pub id: Uuid,
    /// The revision that the change made.
    pub rev: Rev,
    /// What happened.
    pub op: ChangeOp,
    /// The names of the properties that changed.
    pub fields: Vec<String>,
    /// When.
    pub at: Timestamp,
}

/// Some events, and where to go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChangePage {
    /// Events in order.
    pub changes: Vec<Change>,
    /// Ask for what comes after this.
    pub after: ChangeSeq,
}

/// An event before it has a place.
pub(super) struct NewChange {
    pub(super) kind: Kind,
    pub(super) id: Uuid,
    pub(super) rev: Rev,
    pub(super) op: ChangeOp,
    pub(super) fields: Vec<&'static str>,
}

impl Registry {
    /// At most `limit` events after `after`, without waiting.
    ///
    /// # Errors
    /// [`RegistryError::Expired`] if some of them are not kept any more.
    pub async fn changes(&self, after: ChangeSeq, limit: usize) -> Result<ChangePage> {
        let mut transaction = self.readers.begin().await?;
        let oldest: Option<i64> =
            sqlx::query_scalar("SELECT min(seq) FROM changes").fetch_one(&mut *transaction).await?;
        let newest = newest(&mut transaction).await?;
        let oldest = oldest.unwrap_or(newest.number() + 1);
        if after.number() + 1 < oldest {
            return Err(RegistryError::Expired { oldest });
        }
        let rows = sqlx::query("SELECT * FROM changes WHERE seq > ? ORDER BY seq LIMIT ?")
            .bind(after.number())
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&mut *transaction)
            .await?;
        let changes = rows.iter().map(|row| from_row(&StoredRow(row))).collect::<Result<Vec<Change>>>()?;
        let after = changes.last().map_or(after, |change| change.seq);
        Ok(ChangePage { changes, after })
    }

    /// Returns when there is an event after `after`, at once if there is one already.
    pub async fn changed_since(&self, after: ChangeSeq) {
        let mut newest = self.newest_change.subscribe();
        // The sender lives in `self`, so the channel cannot close while this waits.
        newest.wait_for(|newest| *newest > after).await.ok();
    }

    /// The newest event.
    #[must_use]
    pub fn newest_change(&self) -> ChangeSeq {
        *self.newest_change.borrow()
    }
}

impl Write {
    /// Writes events in their order.
    pub(super) async fn log(&mut self, events: Vec<NewChange>) -> Result<()> {
        let now = self.now().nanos();
        for chunk in events.chunks(EVENTS_PER_STATEMENT) {
            let places = vec!["(?, ?, ?, ?, ?, ?)"; chunk.len()].join(", ");
            let sql = format!("INSERT INTO changes (entity, id, rev, op, fields, at) VALUES {places}");
            let mut statement = sqlx::query(AssertSqlSafe(sql));
            for event in chunk {
                statement = statement
                    .bind(event.kind.name())
                    .bind(event.id.as_bytes().to_vec())
                    .bind(event.rev.number())
                    .bind(event.op.name())
                    .bind(serde_json::Value::from(event.fields.clone()).to_string())
                    .bind(now);
            }
            statement.execute(self.connection()).await?;
        }
        Ok(())
    }
}

/// The newest event that was ever written, also if it is not kept any more.
pub(super) async fn newest(connection: &mut SqliteConnection) -> Result<ChangeSeq> {
    let row = sqlx::query("SELECT seq FROM sqlite_sequence WHERE name = 'changes'")
        .fetch_optional(connection)
        .await?;
    let number = row.map(|row| row.try_get::<i64, _>(0)).transpose()?.unwrap_or(0);
    Ok(ChangeSeq::new(number))
}

fn from_row(row: &StoredRow) -> Result<Change> {
    let kind: &str = row.get("entity")?;
    let op: &str = row.get("op")?;
    let unknown = |what: &str, word: &str| RegistryError::Corrupt(format!("there is no {what} {word}"));
    Ok(Change {
        seq: ChangeSeq::new(row.get("seq")?),
        kind: Kind::by_name(kind).ok_or_else(|| unknown("kind", kind))?,
        id: row.id("id")?,
        rev: Rev::new(row.get("rev")?),
        op: ChangeOp::ALL
            .into_iter()
            .find(|candidate| candidate.name() == op)
            .ok_or_else(|| unknown("operation", op))?,
        fields: serde_json::from_str(row.get("fields")?)
            .map_err(|error| RegistryError::Corrupt(format!("changed fields are no list: {error}")))?,
        at: Timestamp::from_nanos(row.get("at")?),
    })
}
