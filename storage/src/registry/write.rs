//! Writing: one transaction at a time, with its change events.
//!
//! Invariants
//! - What a caller does with one [`Write`] happens whole at [`Write::commit`], or not at all.
//! - A change that changes nothing makes no revision and no event.

use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Row, Sqlite, Transaction};
use tokio::sync::watch;
use uuid::Uuid;

use super::changes::{ChangeOp, NewChange};
use super::device::DeviceState;
use super::entity::{Column, ColumnType, Kind, Record, Resource, Value, bind};
use super::error::{Conflict, Faults, RegistryError, Result};
use super::id::{ChangeSeq, IdMaker, Rev};
use super::{Registry, changes, read};
use crate::model::Timestamp;

/// How long the answer to a request with an idempotency key is kept.
pub const ANSWERS_KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// Rows of one INSERT. Measured: 250 rows cost one hop to SQLite's thread instead of 250, and beyond that nothing is
/// gained. With 17 columns it binds 4,250 values; SQLite takes 32,766.
const ROWS_PER_STATEMENT: usize = 250;

/// An idempotency key with the fingerprint of the request that carried it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OnceKey {
    /// The key, as the client made it.
    pub key: String,
    /// A hash of everything that makes the request the same request.
    pub fingerprint: Vec<u8>,
}

/// What a request with an idempotency key finds.
pub enum Begin {
    /// The key is new: do the work, then [`Write::commit_with_answer`].
    Fresh(Write),
    /// The request was done before; this was the answer.
    Replay(String),
}

/// What the caller expects of a row before it is changed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Expected {
    /// Nothing.
    #[default]
    Any,
    /// That there is none.
    Absent,
    /// That there is one.
    Present,
    /// That it is at one of these revisions.
    At(Vec<Rev>),
}

impl Expected {
    /// Compares with the revision of the row, `None` if there is no row.
    ///
    /// # Errors
    /// [`RegistryError::PreconditionFailed`] with `current` if it is not as expected.
    pub fn check(&self, current: Option<Rev>) -> Result<()> {
        let met = match self {
            Self::Any => true,
            Self::Absent => current.is_none(),
            Self::Present => current.is_some(),
            Self::At(revs) => current.is_some_and(|current| revs.contains(&current)),
        };
        if met { Ok(()) } else { Err(RegistryError::PreconditionFailed { current }) }
    }
}

/// What a PUT did.
#[derive(Clone, PartialEq, Debug)]
pub enum Put<R: Resource> {
    /// The row is new.
    Created(Record<R>),
    /// The row was there.
    Updated(Record<R>),
}

/// A running write transaction. Dropped without a commit, it undoes itself.
pub struct Write {
    transaction: Transaction<'static, Sqlite>,
    now: Timestamp,
    ids: Arc<IdMaker>,
    once: Option<OnceKey>,
    found: Faults,
    newest_change: watch::Sender<ChangeSeq>,
}

impl std::fmt::Debug for Write {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Write").field("now", &self.now).field("once", &self.once).finish_non_exhaustive()
    }
}

impl Registry {
    /// Waits for its turn and begins a transaction. No other write runs until it is committed or dropped.
    ///
    /// # Errors
    /// [`RegistryError::Busy`] if its turn does not come in time.
    pub async fn write(&self) -> Result<Write> {
        let transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        Ok(Write {
            transaction,
            now: self.now(),
            ids: Arc::clone(&self.ids),
            once: None,
            found: Faults::default(),
            newest_change: self.newest_change.clone(),
        })
    }

    /// Begins a transaction for a request that may come twice.
    ///
    /// # Errors
    /// [`RegistryError::KeyReused`] if the key came with another fingerprint in the last [`ANSWERS_KEPT`].
    pub async fn write_once(&self, once: OnceKey) -> Result<Begin> {
        let mut write = self.write().await?;
        let known = sqlx::query("SELECT fingerprint, answer FROM answers WHERE key = ? AND at > ?")
            .bind(once.key.clone())
            .bind(before(write.now, ANSWERS_KEPT).nanos())
            .fetch_optional(write.connection())
            .await?;
        match known {
            None => {
                write.once = Some(once);
                Ok(Begin::Fresh(write))
            }
            Some(row) if row.try_get::<Vec<u8>, _>("fingerprint")? == once.fingerprint => {
                Ok(Begin::Replay(row.try_get("answer")?))
            }
            Some(_) => Err(RegistryError::KeyReused),
        }
    }
}

impl Write {
    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.transaction
    }

    /// The time of everything that this transaction does.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Takes the faults that the caller has found in the request already: the next row that is checked tells them
    /// together with its own.
    pub fn found(&mut self, faults: Faults) {
        self.found = faults;
    }

    /// A row as this transaction sees it.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] if there is no living row.
    pub async fn get<R: Resource>(&mut self, id: R::Id) -> Result<Record<R>> {
        read::living(self.connection(), id).await
    }

    /// Adds a row, with the caller's id or a new one.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] with all faults; [`RegistryError::Conflict`] if the id or the external key is taken.
    pub async fn create<R: Resource>(&mut self, id: Option<R::Id>, fields: R) -> Result<Record<R>> {
        let values = fields.values();
        self.check(&fields, &values, None).await?;
        if let Some(id) = id
            && let Some(known) = read::any::<R>(self.connection(), id).await?
        {
            return Err(match known.deleted_at {
                Some(_) => Conflict::Deleted { kind: R::KIND },
                None => Conflict::Taken { kind: R::KIND, key: "id" },
            }
            .into());
        }
        let id = id.unwrap_or_else(|| self.new_id());
        self.insert_checked::<R>(vec![(id, values)]).await?;
        Ok(Record {
            id,
            rev: Rev::FIRST,
            created_at: self.now,
            updated_at: self.now,
            deleted_at: None,
            fields,
        })
    }

    /// Replaces the properties of a row. If nothing differs the row stays at its revision.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], [`RegistryError::PreconditionFailed`], [`RegistryError::Invalid`] with all
    /// faults, [`RegistryError::Conflict`] if the external key is taken.
    pub async fn update<R: Resource>(
        &mut self,
        id: R::Id,
        expected: &Expected,
        fields: R,
    ) -> Result<Record<R>> {
        let current = self.get::<R>(id).await?;
        expected.check(Some(current.rev))?;
        let values = fields.values();
        self.check(&fields, &values, Some(&current)).await?;
        let old = current.fields.values();
        let changed: Vec<(&Column, &Value)> = R::COLUMNS
            .iter()
            .zip(&values)
            .zip(&old)
            .filter(|((_, new), old)| new != old)
            .map(|(column_and_new, _)| column_and_new)
            .collect();
        if changed.is_empty() {
            return Ok(current);
        }
        let rev = current.rev.next();
        let names: Vec<&'static str> = changed.iter().map(|(column, _)| column.name).collect();
        let assignments: String = names.iter().map(|name| format!("{name} = ?, ")).collect();
        let sql = format!("UPDATE {} SET {assignments}rev = ?, updated_at = ? WHERE id = ?", R::KIND.table());
        let mut statement = sqlx::query(AssertSqlSafe(sql));
        for (_, value) in changed {
            statement = bind(statement, value.clone());
        }
        let uuid: Uuid = id.into();
        statement = statement.bind(rev.number()).bind(self.now.nanos()).bind(uuid.as_bytes().to_vec());
        statement.execute(self.connection()).await.map_err(|error| taken(R::KIND, error))?;
        let rezoned = R::KIND == Kind::Room && names.contains(&"area_id");
        self.log(vec![NewChange { kind: R::KIND, id: uuid, rev, op: ChangeOp::Update, fields: names }])
            .await?;
        if rezoned {
            self.rezone(uuid).await?;
        }
        Ok(Record { rev, updated_at: self.now, fields, ..current })
    }

    /// Makes the row `id` look like this, whether it exists or not.
    ///
    /// # Errors
    /// As [`Write::create`] and [`Write::update`].
    pub async fn put<R: Resource>(&mut self, id: R::Id, expected: &Expected, fields: R) -> Result<Put<R>> {
        let known = read::any::<R>(self.connection(), id).await?;
        let current = known.filter(|record| record.deleted_at.is_none()).map(|record| record.rev);
        expected.check(current)?;
        if current.is_some() {
            return Ok(Put::Updated(self.update(id, expected, fields).await?));
        }
        Ok(Put::Created(self.create(Some(id), fields).await?))
    }

    /// Makes everything durable and visible. On return the changes are on disk and their followers are woken.
    ///
    /// # Errors
    /// When the database fails; then it is unknown whether it happened.
    pub async fn commit(mut self) -> Result<()> {
        let newest = changes::newest(self.connection()).await?;
        self.transaction.commit().await?;
        self.newest_change.send_if_modified(|known| {
            let later = newest > *known;
            *known = newest.max(*known);
            later
        });
        Ok(())
    }

    /// As [`Write::commit`], and keeps `answer` for a repeat of the request, if it carried an idempotency key.
    ///
    /// # Errors
    /// As [`Write::commit`].
    pub async fn commit_with_answer(mut self, answer: &str) -> Result<()> {
        if let Some(once) = self.once.take() {
            sqlx::query("INSERT OR REPLACE INTO answers (key, fingerprint, answer, at) VALUES (?, ?, ?, ?)")
                .bind(once.key)
                .bind(once.fingerprint)
                .bind(answer.to_owned())
                .bind(self.now.nanos())
                .execute(self.connection())
                .await?;
        }
        self.commit().await
    }

    /// Forgets answers and change events that are too old.
    pub(super) async fn forget_old(&mut self) -> Result<()> {
        let answers = before(self.now, ANSWERS_KEPT).nanos();
        sqlx::query("DELETE FROM answers WHERE at <= ?").bind(answers).execute(self.connection()).await?;
        let changes = before(self.now, changes::CHANGES_KEPT).nanos();
        sqlx::query("DELETE FROM changes WHERE at <= ?").bind(changes).execute(self.connection()).await?;
        Ok(())
    }

    pub(super) fn take_found(&mut self) -> Faults {
        std::mem::take(&mut self.found)
    }

    pub(super) fn new_id<I: From<Uuid>>(&self) -> I {
        I::from(self.ids.make(self.now))
    }

    /// Adds rows whose values were checked, and their change events.
    pub(super) async fn insert_checked<R: Resource>(&mut self, rows: Vec<(R::Id, Vec<Value>)>) -> Result<()> {
        let names: String = R::COLUMNS.iter().map(|column| format!("{}, ", column.name)).collect();
        let one = format!("(?, {}?, ?, ?)", "?, ".repeat(R::COLUMNS.len()));
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let chunk: Vec<(R::Id, Vec<Value>)> = rows.by_ref().take(ROWS_PER_STATEMENT).collect();
            let places = vec![one.as_str(); chunk.len()].join(", ");
            let table = R::KIND.table();
            let sql = format!("INSERT INTO {table} (id, {names}rev, created_at, updated_at) VALUES {places}");
            let mut statement = sqlx::query(AssertSqlSafe(sql));
            let mut events = Vec::with_capacity(chunk.len());
            for (id, values) in chunk {
                let id: Uuid = id.into();
                let fields = set_columns(R::COLUMNS, &values);
                events.push(NewChange { kind: R::KIND, id, rev: Rev::FIRST, op: ChangeOp::Create, fields });
                statement = statement.bind(id.as_bytes().to_vec());
                for value in values {
                    statement = bind(statement, value);
                }
                statement = statement.bind(Rev::FIRST.number()).bind(self.now.nanos()).bind(self.now.nanos());
            }
            statement.execute(self.connection()).await.map_err(|error| taken(R::KIND, error))?;
            self.log(events).await?;
        }
        Ok(())
    }

    /// Every fault of new values: their own, and those against other rows.
    async fn check<R: Resource>(
        &mut self,
        fields: &R,
        values: &[Value],
        current: Option<&Record<R>>,
    ) -> Result<()> {
        let mut faults = self.take_found();
        fields.check(&mut faults);
        let old = current.map(|record| record.fields.values());
        for (index, (column, value)) in R::COLUMNS.iter().zip(values).enumerate() {
            let pointer = format!("/{}", column.name);
            let same = old.as_ref().is_some_and(|old| old.get(index) == Some(value));
            let forged = R::KIND == Kind::Device && column.name == "state" && !is_new_state(value);
            if column.fixed && !same && (old.is_some() || forged) {
                faults.add(pointer, "immutable", "cannot be changed");
            } else if let (ColumnType::Parent(kind), Value::Id(Some(id))) = (column.of, value)
                && !same
                && !read::lives(self.connection(), kind, *id).await?
            {
                faults.add(pointer, "not_found", format!("there is no {} {id}", kind.name()));
            }
        }
        if let (Kind::Room, [Value::Id(Some(floor)), Value::Id(Some(area)), ..]) = (R::KIND, values)
            && !self.share_a_building(*floor, *area).await?
        {
            faults.add("/area_id", "other_building", "must be an area of the building of the floor");
        }
        faults.into_result()
    }

    async fn share_a_building(&mut self, floor: Uuid, area: Uuid) -> Result<bool> {
        let sql = "SELECT 1 FROM floors f JOIN areas a ON a.building_id = f.building_id WHERE f.id = ? AND a.id = ?";
        let statement = sqlx::query(sql).bind(floor.as_bytes().to_vec()).bind(area.as_bytes().to_vec());
        Ok(statement.fetch_optional(self.connection()).await?.is_some())
    }
}

/// `time` minus `length`.
fn before(time: Timestamp, length: Duration) -> Timestamp {
    let nanos = i64::try_from(length.as_nanos()).unwrap_or(i64::MAX);
    Timestamp::from_nanos(time.nanos().saturating_sub(nanos))
}

/// The names of the columns that have a value.
fn set_columns(columns: &'static [Column], values: &[Value]) -> Vec<&'static str> {
    let is_set = |value: &Value| {
        !matches!(value, Value::Text(None) | Value::Int(None) | Value::Real(None) | Value::Id(None))
    };
    columns.iter().zip(values).filter(|(_, value)| is_set(value)).map(|(column, _)| column.name).collect()
}

/// True for the state that every device begins in.
fn is_new_state(value: &Value) -> bool {
    *value == Value::text(DeviceState::Shadow.name())
}

/// The only unique keys that a checked row can hit are the external ones.
fn taken(kind: Kind, error: sqlx::Error) -> RegistryError {
    match &error {
        sqlx::Error::Database(database) if database.is_unique_violation() => {
            Conflict::Taken { kind, key: "source and external_id" }.into()
        }
        _ => error.into(),
    }
}
