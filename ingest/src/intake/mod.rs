//! The intake: from what a source received to rows that are durable and visible.
//!
//! 1. The lines (or rows) are decoded into columns against the schemas as they are now; a bad line is set
//!    aside with its problem and leaves no trace.
//! 2. New tables, tags, fields and series are defined. If another source changed a schema meanwhile, step 1 is
//!    done again (KEY-4); where nodes share tables, also after they have been told of what is new.
//! 3. The batch is encoded for the log, pushed into the ring, and awaited.
//! 4. Of the lines that were set aside, those that may fit later are kept in the quarantine, whole.

mod batch;
mod column;
mod declare;
mod delete;
mod new_series;
mod problem;
mod protocol;
mod replay;
mod set_aside;
mod table;
#[cfg(test)]
mod tests;
mod together;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use storage::catalog::SchemaChange;
use storage::clock;
use storage::engine::Engine;
use storage::log::{EncodedBatch, encode_batch};
use storage::missing::AsOf;
use storage::model::{DatabaseName, Timestamp, WriteBatch};
use storage::quarantine::Quarantine;
use storage::series::SeriesPin;
use tokio::sync::oneshot;

pub use delete::{DeleteRequest, Deleted};
pub use problem::{LineProblem, RejectedLine, RejectedRow};
pub use protocol::Protocol;
pub use replay::Replayed;

use crate::line_protocol::Precision;
use crate::ring::{CommitError, Ring, Submission};
use crate::row::Row;
use batch::{BatchBuilder, Finished};
use set_aside::SetAside;
use together::Together;

/// Bodies above this are decoded on the blocking pool, so that a large one does not hold up the other
/// connections of its thread: 256 KiB take about half a millisecond.
const INLINE_BODY_BYTES: usize = 256 << 10;

/// How often a body is decoded again because schemas changed under it. Each time another source has added a
/// column, which cannot go on for long.
const SCHEMA_RETRIES: usize = 16;

/// How long a client should wait when memory is full: about what a flush takes.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// What becomes of a body of which some lines are bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Good lines are written, bad ones are reported.
    Partial,
    /// If any line does not parse, nothing is written; lines that the schema refuses are reported.
    AllParsed,
    /// If any line is bad, nothing is written.
    AllOrNothing,
}

/// A body of line protocol.
#[derive(Debug, Clone)]
pub struct LinesRequest {
    /// The database to write to.
    pub database: DatabaseName,
    /// The lines.
    pub body: Bytes,
    /// The unit of their timestamps.
    pub precision: Precision,
    /// What becomes of bad lines.
    pub mode: Mode,
    /// How they came.
    pub protocol: Protocol,
}

/// What became of a body.
#[derive(Debug, Clone, Default)]
pub struct Written {
    /// Rows that are durable and visible.
    pub rows: usize,
    /// Lines that held data, good or bad.
    pub lines: usize,
    /// The bad ones.
    pub rejected: Vec<RejectedLine>,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Some lines are bad, and the mode is all or nothing.
    #[error("{} bad lines, nothing was written", .0.len())]
    Rejected(Vec<RejectedLine>),
    /// The database does not exist and may not be made.
    #[error("database not found: {0:?}")]
    DatabaseNotFound(String),
    /// A budget is full.
    #[error("too much is waiting to be written; try again in {} s", retry_after.as_secs())]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// Nothing can be written now.
    #[error("cannot write: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// The storage engine refused.
    #[error(transparent)]
    Storage(#[from] storage::Error),
}

/// What became of decoding.
enum Decoded<T> {
    /// It is decoded.
    All(T),
    /// Other nodes must know of this first.
    Unborn(Vec<SchemaChange>),
}

/// What decoding comes to.
type Decoding<T> = Result<Decoded<T>, WriteError>;

/// Takes requests of all sources. Clones are the same intake.
#[derive(Debug, Clone)]
pub struct Intake {
    engine: Engine,
    ring: Arc<Ring>,
    create_on_write: bool,
    quarantine: Option<Arc<Quarantine>>,
}

impl Intake {
    /// An intake that writes to `engine` through `ring`. With `create_on_write` a missing database is made.
    #[must_use]
    pub fn new(engine: Engine, ring: Arc<Ring>, create_on_write: bool) -> Self {
        Self { engine, ring, create_on_write, quarantine: None }
    }

    /// Keeps lines there that cannot be stored; without it they are refused and forgotten.
    #[must_use]
    pub fn with_quarantine(self, quarantine: Arc<Quarantine>) -> Self {
        Self { quarantine: Some(quarantine), ..self }
    }

    /// Where lines are kept that cannot be stored.
    #[must_use]
    pub fn quarantine(&self) -> Option<&Arc<Quarantine>> {
        self.quarantine.as_ref()
    }

    /// Writes lines. On return the rows of `Ok` are durable and visible.
    ///
    /// # Errors
    /// Why nothing was written.
    pub async fn write_lines(&self, request: LinesRequest) -> Result<Written, WriteError> {
        self.admit(&request.database, request.body.len())?;
        let request = Arc::new(request);
        let (encoded, (mut written, aside)) = self
            .born(|| async {
                let (own, request) = (self.clone(), Arc::clone(&request));
                let large = request.body.len() > INLINE_BODY_BYTES;
                let work = move || own.decode_lines(&request);
                if large { unblocked(work).await? } else { work() }
            })
            .await?;
        // The good lines first: if they are not taken, all of the body comes again.
        self.commit(encoded).await?;
        for (at, kept) in self.keep(aside).await {
            if let Some(line) = written.rejected.get_mut(at) {
                line.kept = Some(kept);
            }
        }
        Ok(written)
    }

    /// Writes rows that a mapping made; bad ones are reported, the others written.
    ///
    /// # Errors
    /// Why nothing was written.
    pub async fn write_rows(
        &self,
        database: &DatabaseName,
        rows: &[Row],
    ) -> Result<Vec<RejectedRow>, WriteError> {
        self.admit(database, rows.len())?;
        let now = clock::now();
        let fill = |builder: &mut BatchBuilder<'_>| {
            let (mut rejected, mut aside) = (Vec::new(), self.aside(Protocol::Mqtt));
            for (position, row) in rows.iter().enumerate() {
                if let Err(problem) = builder.add_row(row, now) {
                    aside.row(rejected.len(), database, row, &problem, now);
                    rejected.push(RejectedRow { position, problem, kept: None });
                }
            }
            Ok((rejected, aside))
        };
        let (encoded, (mut rejected, aside)) =
            self.born(|| async { self.encode(database, None, fill) }).await?;
        self.commit(encoded).await?;
        for (at, kept) in self.keep(aside).await {
            if let Some(row) = rejected.get_mut(at) {
                row.kept = Some(kept);
            }
        }
        Ok(rejected)
    }

    /// The engine behind the intake.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Refuses what cannot be written before any work is spent on it.
    fn admit(&self, database: &DatabaseName, bytes: usize) -> Result<(), WriteError> {
        if !self.create_on_write && !self.engine.catalog().has_database(database.as_str()) {
            return Err(WriteError::DatabaseNotFound(database.to_string()));
        }
        if let Some(reason) = self.engine.disk_shortage() {
            return Err(WriteError::Unavailable { reason, retry_after: RETRY_AFTER });
        }
        if self.engine.has_room(bytes) { Ok(()) } else { Err(WriteError::Busy { retry_after: RETRY_AFTER }) }
    }

    fn decode_lines(&self, request: &LinesRequest) -> Decoding<(EncodedBatch, (Written, SetAside))> {
        let now = clock::now();
        let refused_at = request.protocol.refuses_expired().then(|| self.engine.now());
        self.encode(&request.database, refused_at, |builder| {
            let (written, aside) = self.add_body(builder, request, now);
            let refuses_all = match request.mode {
                Mode::Partial => false,
                Mode::AllParsed => written.rejected.iter().any(|line| line.problem.is_parse()),
                Mode::AllOrNothing => !written.rejected.is_empty(),
            };
            if refuses_all {
                return Err(WriteError::Rejected(written.rejected));
            }
            Ok((written, aside))
        })
    }

    fn add_body<'r>(
        &self,
        builder: &mut BatchBuilder<'r>,
        request: &'r LinesRequest,
        now: Timestamp,
    ) -> (Written, SetAside) {
        let (mut written, mut aside) = (Written::default(), self.aside(request.protocol));
        let mut lines = crate::line_protocol::lines(&request.body);
        let mut together = Together::default();
        while together.advance(&mut lines, builder.lookup()) {
            for (line, head, known) in together.drain() {
                written.lines += 1;
                let added = head.map_err(LineProblem::from);
                match added.and_then(|head| builder.add_cut_line(&head, known, request.precision, now)) {
                    Ok(None) => written.rows += 1,
                    // The row is in, without a field that it may not have.
                    Ok(Some(problem)) => {
                        written.rows += 1;
                        written.rejected.push(RejectedLine::new(&line, problem));
                    }
                    Err(problem) => {
                        aside.line(written.rejected.len(), request, line.bytes, &problem, now);
                        written.rejected.push(RejectedLine::new(&line, problem));
                    }
                }
            }
        }
        (written, aside)
    }

    /// Decodes against the schemas as they are, again if they changed meanwhile, and encodes for the log.
    fn encode<'r, T>(
        &'r self,
        database: &'r DatabaseName,
        refused_at: Option<Timestamp>,
        fill: impl Fn(&mut BatchBuilder<'r>) -> Result<T, WriteError>,
    ) -> Decoding<(EncodedBatch, T)> {
        match self.decode(database, refused_at, fill)? {
            Decoded::All(((batch, pin), value)) => {
                let encoded = EncodedBatch { pin: Some(pin), ..encode_batch(batch)? };
                Ok(Decoded::All((encoded, value)))
            }
            Decoded::Unborn(changes) => Ok(Decoded::Unborn(changes)),
        }
    }

    /// Decodes against the schemas as they are, again if they changed meanwhile. The pin keeps the series of the rows.
    fn decode<'r, T>(
        &'r self,
        database: &'r DatabaseName,
        refused_at: Option<Timestamp>,
        fill: impl Fn(&mut BatchBuilder<'r>) -> Result<T, WriteError>,
    ) -> Decoding<((WriteBatch, SeriesPin), T)> {
        for _ in 0..SCHEMA_RETRIES {
            let mut builder = BatchBuilder::new(&self.engine, database, refused_at);
            let value = fill(&mut builder)?;
            match builder.finish()? {
                Finished::Batch(batch, pin) => return Ok(Decoded::All(((batch, pin), value))),
                Finished::Unborn(changes) => return Ok(Decoded::Unborn(changes)),
                Finished::Stale => {}
            }
        }
        Err(WriteError::Busy { retry_after: Duration::from_secs(1) })
    }

    /// What `decode` makes, as soon as all that is new of it is known to every node that shares the tables (KEY-4). Where
    /// nothing is shared that is at once.
    async fn born<T, F>(&self, decode: impl Fn() -> F) -> Result<T, WriteError>
    where
        F: Future<Output = Decoding<T>>,
    {
        for _ in 0..SCHEMA_RETRIES {
            match decode().await? {
                Decoded::All(decoded) => return Ok(decoded),
                Decoded::Unborn(changes) => {
                    for change in &changes {
                        self.engine.bear(change).await.map_err(unborn)?;
                    }
                }
            }
        }
        Err(WriteError::Busy { retry_after: Duration::from_secs(1) })
    }

    /// Hands a batch to the writer and waits until it is durable and visible. An empty batch that nothing was
    /// defined for needs no writing.
    async fn commit(&self, batch: EncodedBatch) -> Result<(), WriteError> {
        if batch.batch.is_empty() && !self.engine.has_pending_definitions() {
            return Ok(());
        }
        self.submit(batch).await
    }

    /// Hands a batch to the writer, an empty one too, and waits until it is durable, and with it all that was defined
    /// before.
    async fn submit(&self, batch: EncodedBatch) -> Result<(), WriteError> {
        self.hand_over(batch, None).await.map(drop)
    }

    /// Hands a batch to the writer. With `only_missing` it is not written, and the answer is `false`, when that is not so
    /// any more.
    async fn hand_over(&self, batch: EncodedBatch, only_missing: Option<AsOf>) -> Result<bool, WriteError> {
        let (done, answer) = oneshot::channel();
        let committed = match self.ring.push(Submission { batch, only_missing, done }) {
            Ok(()) => answer.await.unwrap_or(Err(CommitError::Closing)),
            Err(error) => Err(error),
        };
        match committed {
            Ok(_) => Ok(true),
            Err(CommitError::Overtaken) => Ok(false),
            Err(CommitError::Full) => Err(WriteError::Busy { retry_after: Duration::from_secs(1) }),
            Err(error) => {
                Err(WriteError::Unavailable { reason: error.to_string(), retry_after: RETRY_AFTER })
            }
        }
    }
}

/// Other nodes cannot be told of a new table or column while the store does not answer; rows without any go on.
fn unborn(error: storage::Error) -> WriteError {
    if matches!(error, storage::Error::ObjectStore(_) | storage::Error::Delta(_)) {
        let reason = format!("a new table or column cannot be made known to the other nodes: {error}");
        return WriteError::Unavailable { reason, retry_after: RETRY_AFTER };
    }
    WriteError::Storage(error)
}

/// Runs work that takes long on the blocking pool.
async fn unblocked<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, WriteError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| {
        WriteError::Storage(storage::Error::Internal(format!("decoding ended badly: {error}")))
    })
}
