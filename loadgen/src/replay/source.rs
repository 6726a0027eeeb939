//! Splits a replay over its connections and cuts it into batches.
//!
//! Equal points hash to the same connection. Without `--speed` the rows go in the order of the input;
//! with it, in the order of time (rows of equal time keep their order), each due at its recorded
//! distance from the first row divided by the speed.

use crate::clock;
use crate::error::LoadError;
use crate::protocol::{Batch, BatchSource, seal};
use crate::replay::Row;
use crate::replay::dataset::Dataset;
use crate::target::Target;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// With `--speed`, rows that are due within one second travel together: what a gateway does.
const GATHER: Duration = Duration::from_secs(1);

/// Hands out the rows of all tables.
#[derive(Debug)]
pub struct ReplaySource {
    datasets: Arc<Vec<Dataset>>,
    lanes: Vec<Mutex<VecDeque<Place>>>,
    pace: Option<Pace>,
    batch_lines: usize,
    gzip: bool,
    next_number: AtomicU64,
}

/// A row: its table and its place there.
#[derive(Debug, Clone, Copy)]
struct Place {
    table: usize,
    row: usize,
}

#[derive(Debug)]
struct Pace {
    started: Instant,
    first_ns: i64,
    speed: f64,
}

impl ReplaySource {
    /// The schedule begins now.
    pub fn new(datasets: Arc<Vec<Dataset>>, target: &Target, speed: Option<f64>) -> Result<Self, LoadError> {
        let mut places: Vec<Place> = Vec::new();
        for (table, dataset) in datasets.iter().enumerate() {
            places.extend((0..dataset.rows.len()).map(|row| Place { table, row }));
        }
        let time = |place: &Place| row_at(&datasets, *place).map_or(i64::MAX, |row| row.time_ns);
        let pace = match (speed, places.iter().map(time).min()) {
            (Some(speed), Some(first_ns)) => {
                places.sort_by_key(time);
                Some(Pace { started: clock::now(), first_ns, speed })
            }
            _ => None,
        };
        let mut lanes = vec![VecDeque::new(); target.connections];
        for place in places {
            let lane = lane_of(&datasets, place, target.connections);
            if let Some(lane) = lanes.get_mut(lane) {
                lane.push_back(place);
            }
        }
        Ok(Self {
            datasets,
            lanes: lanes.into_iter().map(Mutex::new).collect(),
            pace,
            batch_lines: target.batch_lines(),
            gzip: target.gzip,
            next_number: AtomicU64::new(0),
        })
    }

    fn due(&self, place: Place) -> Option<Instant> {
        let pace = self.pace.as_ref()?;
        let row = row_at(&self.datasets, place)?;
        let recorded = Duration::from_nanos(row.time_ns.abs_diff(pace.first_ns));
        let wait = Duration::try_from_secs_f64(recorded.as_secs_f64() / pace.speed).unwrap_or(Duration::MAX);
        pace.started.checked_add(wait)
    }
}

impl BatchSource for ReplaySource {
    fn next(&self, connection: usize) -> Result<Option<Batch>, LoadError> {
        let Some(lane) = self.lanes.get(connection) else { return Ok(None) };
        let mut lane = lane.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = Vec::new();
        let mut rows = 0;
        let (mut first_due, mut due) = (None, None);
        while let Some(place) = lane.front().copied() {
            let row_due = self.due(place);
            let apart = match (first_due, row_due) {
                (Some(first), Some(this)) => this > first + GATHER,
                _ => false,
            };
            if rows == self.batch_lines || apart {
                break;
            }
            if let (Some(dataset), Some(row)) =
                (self.datasets.get(place.table), row_at(&self.datasets, place))
            {
                dataset.push_line(row, &mut lines)?;
            }
            first_due = first_due.or(row_due);
            due = row_due;
            rows += 1;
            lane.pop_front();
        }
        if rows == 0 {
            return Ok(None);
        }
        let number = self.next_number.fetch_add(1, Relaxed);
        Ok(Some(Batch { number, body: seal(lines, self.gzip)?, rows: rows as u64, due }))
    }
}

fn row_at(datasets: &[Dataset], place: Place) -> Option<&Row> {
    datasets.get(place.table)?.rows.get(place.row)
}

fn lane_of(datasets: &[Dataset], place: Place, lanes: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    place.table.hash(&mut hasher);
    if let Some(row) = row_at(datasets, place) {
        (row.time_ns, &row.tags).hash(&mut hasher);
    }
    usize::try_from(hasher.finish() % lanes.max(1) as u64).unwrap_or(0)
}
