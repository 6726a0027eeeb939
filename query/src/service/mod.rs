//! Runs a query: admission, planning, execution, deadline, memory, cancellation.
//!
//! 1. The SQL is refused if it is too long, the database if it does not exist.
//! 2. The query waits for its turn among a bounded number of others.
//! 3. A task of the service's own runtime plans and runs it and sends batches over a short channel: a query
//!    that computes for long without a pause takes no thread from ingest, and its reader still meets the
//!    deadline.
//! 4. When the reader goes away or the deadline passes, the task is aborted; operators that would compute for
//!    long without a pause are made to look at the same flag ([`interrupt`]).
//!
//! Invariants: read only — one statement, no DDL, DML, `COPY`, `SET`; no store but the two of the source can be
//! reached; a query's turn ends when its task has ended, not when its reader has.

mod interrupt;
mod memory;
mod session;
mod stream;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use datafusion::physical_plan::execute_stream;
use futures::StreamExt;
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Sleep, sleep};

pub use stream::ResultStream;

use self::interrupt::Interrupt;
use self::session::Sessions;
use self::stream::Running;
use crate::error::{Error, Result};
use crate::limits;
use crate::source::Source;

/// The bounds of queries. Every one has a default in [`limits`].
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a query may run, waiting included.
    pub deadline: Duration,
    /// Bytes of memory of all queries together.
    pub memory_bytes: usize,
    /// Bytes of memory of one query.
    pub query_memory_bytes: usize,
    /// The folder that queries spill to, of this service alone: what an earlier process left is removed.
    pub spill_dir: PathBuf,
    /// Bytes that all queries together may spill.
    pub spill_bytes: u64,
    /// Queries that run at one time.
    pub running: usize,
    /// Queries that wait for their turn; one more is refused.
    pub waiting: usize,
    /// Threads of the query runtime, and partitions of a plan.
    pub threads: usize,
}

impl Settings {
    /// The defaults, for this machine's cores.
    #[must_use]
    pub fn new(spill_dir: PathBuf) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            deadline: limits::DEADLINE,
            memory_bytes: limits::MEMORY_BYTES,
            query_memory_bytes: limits::QUERY_MEMORY_BYTES,
            spill_dir,
            spill_bytes: limits::SPILL_BYTES,
            running: limits::RUNNING_PER_CORE * threads,
            waiting: limits::WAITING,
            threads,
        }
    }
}

/// The answer of a query: its columns, and its rows as they are computed.
#[derive(Debug)]
pub struct QueryResult {
    /// The columns.
    pub schema: SchemaRef,
    /// The rows. Dropping it cancels the query.
    pub batches: ResultStream,
}

/// Answers SQL over one [`Source`].
#[derive(Debug)]
pub struct QueryService {
    sessions: Arc<Sessions>,
    settings: Settings,
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// `None` only while the service is dropped.
    runtime: Option<Runtime>,
}

impl QueryService {
    /// A service over `source`, with threads of its own.
    ///
    /// # Errors
    /// [`Error::Internal`] when the spill folder or the threads cannot be made.
    pub fn new(source: Source, settings: Settings) -> Result<Self> {
        let sessions = Arc::new(Sessions::new(source, &settings)?);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(settings.threads.max(1))
            .max_blocking_threads(limits::BLOCKING_THREADS)
            .thread_name("query")
            .enable_all()
            .build()
            .map_err(Error::internal)?;
        let turns = Arc::new(Semaphore::new(settings.running.max(1)));
        Ok(Self { sessions, settings, turns, waiting: AtomicUsize::new(0), runtime: Some(runtime) })
    }

    /// Plans one read-only statement over `database` and starts it. On return it has been planned and the
    /// columns are known; rows follow. Without a database only `system.*`, the external schemas and
    /// `information_schema` can be named.
    ///
    /// # Errors
    /// Every kind of [`ErrorKind`](crate::ErrorKind).
    pub async fn query(&self, database: Option<&str>, sql: &str) -> Result<QueryResult> {
        if sql.len() > limits::SQL_BYTES {
            let (actual, limit) = (sql.len(), limits::SQL_BYTES);
            return Err(Error::Invalid(format!("the SQL text has {actual} bytes, the limit is {limit}")));
        }
        if let Some(database) = database.filter(|name| !self.sessions.has_database(name)) {
            return Err(Error::DatabaseNotFound(database.to_owned()));
        }
        let mut deadline = Box::pin(sleep(self.settings.deadline));
        let turn = self.turn(&mut deadline).await?;
        let running = self.start(database, sql, turn)?;
        let late = Error::Deadline(self.settings.deadline);
        tokio::select! {
            biased;
            () = &mut deadline => Err(late),
            planned = running => {
                let (schema, running) = planned?;
                let batches = ResultStream::new(schema.clone(), running, deadline, late);
                Ok(QueryResult { schema, batches })
            }
        }
    }

    /// Waits for the query's turn.
    async fn turn(&self, deadline: &mut Pin<Box<Sleep>>) -> Result<OwnedSemaphorePermit> {
        if let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() {
            return Ok(turn);
        }
        let _place = Place::take(&self.waiting, &self.settings)?;
        tokio::select! {
            () = deadline => Err(Error::Deadline(self.settings.deadline)),
            turn = Arc::clone(&self.turns).acquire_owned() => turn.map_err(Error::internal),
        }
    }

    /// Starts the query's task; the future ends when it is planned.
    fn start(
        &self,
        database: Option<&str>,
        sql: &str,
        turn: OwnedSemaphorePermit,
    ) -> Result<impl Future<Output = Result<(SchemaRef, Running)>> + use<>> {
        let Some(runtime) = &self.runtime else { return Err(Error::internal("the service is closing")) };
        let interrupt = Interrupt::default();
        let (planned, schema) = oneshot::channel();
        let (batches, received) = mpsc::channel(limits::RESULT_BATCHES);
        let job = Job {
            sessions: Arc::clone(&self.sessions),
            database: database.map(str::to_owned),
            sql: sql.to_owned(),
            interrupt: interrupt.clone(),
        };
        let task = runtime.spawn(async move {
            let _turn = turn;
            job.run(planned, batches).await;
        });
        let running = Running::new(received, task, interrupt);
        Ok(async move {
            match schema.await {
                Ok(schema) => Ok((schema?, running)),
                Err(_) => Err(running.failure().await),
            }
        })
    }
}

impl Drop for QueryService {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A runtime may not be waited for where async code runs.
            runtime.shutdown_background();
        }
    }
}

/// A place in the queue.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, settings: &Settings) -> Result<Self> {
        let place = Self(waiting);
        if waiting.fetch_add(1, Ordering::Relaxed) < settings.waiting {
            return Ok(place);
        }
        Err(Error::Busy { running: settings.running, waiting: settings.waiting })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One query, on its task.
struct Job {
    sessions: Arc<Sessions>,
    database: Option<String>,
    sql: String,
    interrupt: Interrupt,
}

impl Job {
    /// Plans, says the columns, and sends the batches until the end, an error, or the reader's going away.
    async fn run(
        self,
        planned: oneshot::Sender<Result<SchemaRef>>,
        batches: mpsc::Sender<Result<arrow::array::RecordBatch>>,
    ) {
        let session = self.sessions.session(self.database.as_deref(), &self.interrupt);
        let plan = match session::plan(&session, &self.sql).await {
            Ok(plan) => plan,
            Err(error) => {
                // Whether anyone still listens is not this task's business.
                let _unheard = planned.send(Err(error));
                return;
            }
        };
        if planned.send(Ok(plan.schema())).is_err() {
            return;
        }
        let mut stream = match execute_stream(plan, session.task_ctx()) {
            Ok(stream) => stream,
            Err(error) => {
                let _unheard = batches.send(Err(error.into())).await;
                return;
            }
        };
        while let Some(batch) = stream.next().await {
            let failed = batch.is_err();
            if batches.send(batch.map_err(Error::from)).await.is_err() || failed {
                return;
            }
        }
    }
}
