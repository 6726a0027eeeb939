//! Hands out a fleet's batches: which rows, when due, encoded now or beforehand.

use crate::clock;
use crate::error::LoadError;
use crate::fleet::plan::Plan;
use crate::fleet::schedule::Schedule;
use crate::protocol::{Batch, BatchSource, seal};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Bodies that `--prepare` may hold; leaves room for a server on an 8 GiB machine.
pub const MAX_PREPARED_BYTES: usize = 3 * 1024 * 1024 * 1024;

/// The schedule of one run.
#[derive(Debug)]
pub struct FleetSource {
    plan: Arc<Plan>,
    schedule: Schedule,
    gzip: bool,
    prepared: Option<Vec<Bytes>>,
    started: Instant,
    deadline: Option<Instant>,
    next_batch: AtomicU64,
}

impl FleetSource {
    /// Nothing is encoded yet.
    #[must_use]
    pub fn new(plan: Arc<Plan>, schedule: Schedule, gzip: bool) -> Self {
        let started = clock::now();
        Self { plan, schedule, gzip, prepared: None, started, deadline: None, next_batch: AtomicU64::new(0) }
    }

    /// Encodes everything. Fails when the run has no known end or its bodies are too many.
    pub fn prepare(&mut self) -> Result<(), LoadError> {
        let Some(batches) = self.plan.total_batches() else {
            let reason = "--prepare needs to know how much: give --rows, or a --rate above 0";
            return Err(LoadError::Options(reason.to_owned()));
        };
        let mut bodies = Vec::new();
        let mut bytes = 0;
        for number in 0..batches {
            let body = self.encode(number)?;
            bytes += body.len();
            if bytes > MAX_PREPARED_BYTES {
                let reason =
                    format!("--prepare would hold more than {MAX_PREPARED_BYTES} bytes: ask for fewer rows");
                return Err(LoadError::Options(reason));
            }
            bodies.push(body);
        }
        self.prepared = Some(bodies);
        Ok(())
    }

    /// When the schedule has begun.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The schedule begins now; no batch is taken after `limit`.
    pub fn start(&mut self, limit: Option<Duration>) {
        self.started = clock::now();
        self.deadline = limit.map(|limit| self.started + limit);
    }

    /// Batches handed out so far: 0 up to this.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.next_batch.load(Relaxed).min(self.plan.total_batches().unwrap_or(u64::MAX))
    }

    fn encode(&self, number: u64) -> Result<Bytes, LoadError> {
        let rows = self.plan.rows_in(number..number + 1);
        // Lines have 70 to 190 bytes.
        let lines = usize::try_from(rows.end - rows.start).unwrap_or(0);
        let mut buffer = Vec::with_capacity(lines * 140);
        self.plan.push_lines(rows, &mut buffer);
        seal(buffer, self.gzip)
    }
}

impl BatchSource for FleetSource {
    fn next(&self, _connection: usize) -> Result<Option<Batch>, LoadError> {
        if self.deadline.is_some_and(|deadline| clock::now() >= deadline) {
            return Ok(None);
        }
        let number = self.next_batch.fetch_add(1, Relaxed);
        if self.plan.total_batches().is_some_and(|batches| number >= batches) {
            return Ok(None);
        }
        let rows = self.plan.rows_in(number..number + 1);
        let ready = self.prepared.as_ref().and_then(|bodies| bodies.get(usize::try_from(number).ok()?));
        let body = match ready {
            Some(body) => body.clone(),
            None => self.encode(number)?,
        };
        Ok(Some(Batch {
            number,
            body,
            rows: rows.end - rows.start,
            due: self.schedule.due(rows.end).map(|due| self.started + due),
        }))
    }
}
