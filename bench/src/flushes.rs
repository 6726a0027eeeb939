//! What many flushes leave behind: months of one table, flushed and merged as a running engine does it, and what
//! queries pay for it.
//!
//! A flush stands for a part of a day. The clock cannot be hurried, so what depends on it is paced: files are merged
//! when they are due after each flush, a day counts as settled soon after its last row, and entries of the table's log
//! are made as old as the flush after them says, so that checkpoints remove what they would have removed
//! ([`aging`]).
//!
//! Invariant: what has to hold on every machine (rows, files of a day, entries of the log) decides the verdict; times
//! are printed beside their limits.

mod aging;
mod report;

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use query::format::Format;
use query::{ExternalTables, QueryService, Settings, Source};
use storage::clock;
use storage::engine::EngineConfig;

use self::report::Report;
use crate::data::{DATABASE, Fleet, ROUND_NS, ROUNDS_PER_HOUR, START_NS, TABLE, device_name};
use crate::error::{Error, Result};
use crate::node::Node;
use crate::usage::processor_time;

/// Lines of a body.
const LINES_PER_BODY: usize = 5_000;

/// Rounds of a day.
const ROUNDS_PER_DAY: u32 = 1_440;

/// A day to which nothing was added for so long has settled. Longer than a flush takes, shorter than a day of them.
const SETTLE: Duration = Duration::from_secs(2);

/// More than a flush takes: flushes and merges are asked for.
const MEMORY_BYTES: usize = 1 << 30;

/// Queries that are planned for a percentile.
const QUERIES: u32 = 300;

/// Progress is told so many times.
const TELLINGS: u32 = 20;

/// What is written.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Number of flushes.
    pub flushes: u32,
    /// So many of them are a day.
    pub flushes_per_day: u32,
    /// Devices, each with a row a minute.
    pub devices: u32,
}

/// Measures one load, prints a row per figure, and says what does not hold.
///
/// # Errors
/// [`Error::Broken`] when something that is no time does not hold; the failure of the node, of a query or of `/proc`.
pub fn measure(load: Load) -> Result<()> {
    let node = Node::start_with(configure)?;
    let written = write(&node, load)?;
    let mut report = Report::default();
    report.heading(load, &written);
    let warm = Queries::of(&node)?;
    // Footers and the like are read once.
    warm.planned(load, 0)?;
    let planned = (1..=QUERIES).map(|number| warm.planned(load, number)).collect::<Result<Vec<_>>>()?;
    report.planning("an hour of one device is planned, warm", planned);
    let read = (1..=QUERIES).map(|number| warm.read(load, number)).collect::<Result<Vec<_>>>()?;
    report.times("and read", read);
    drop(warm);
    report.files(&node, load)?;
    let begun = clock::instant();
    let node = node.restarted(configure)?;
    report.times("a restart", vec![clock::instant().duration_since(begun)]);
    let cold = Queries::of(&node)?;
    report.planning("planned right after it", vec![cold.planned(load, 0)?]);
    report.month(&cold, load, &written)?;
    report.memory()?;
    report.verdict()
}

fn configure(config: &mut EngineConfig) {
    config.memory_limit = MEMORY_BYTES;
    config.flush_bytes = MEMORY_BYTES;
    config.flush_age = Duration::MAX;
    config.compaction.enabled = false;
    config.compaction.settle = SETTLE;
    config.compaction.cpu_percent = 100;
}

/// What was written, and what that cost.
struct Written {
    rows: u64,
    rounds: u32,
    merges: usize,
    wall: Duration,
    cpu: Duration,
}

fn write(node: &Node, load: Load) -> Result<Written> {
    let rounds_per_flush = (ROUNDS_PER_DAY / load.flushes_per_day.max(1)).max(1);
    let (begun, mut rows, mut merges) = (clock::instant(), 0, 0);
    let mut data = Fleet::steady(load.devices).rounds();
    let aging = aging::Aging::new(node.folder().join("data/tables"), load.flushes_per_day);
    for number in 1..=load.flushes {
        rows += node.write(&data.bodies(rounds_per_flush, LINES_PER_BODY), 2)? as u64;
        node.flush()?;
        merges += compact(node)?;
        aging.after(number)?;
        if number.is_multiple_of((load.flushes / TELLINGS).max(1)) {
            tell(number, load.flushes, clock::instant().duration_since(begun));
        }
    }
    // The last day settles too.
    node.runtime().block_on(async { tokio::time::sleep(SETTLE).await });
    merges += compact(node)?;
    let wall = clock::instant().duration_since(begun);
    Ok(Written { rows, rounds: load.flushes * rounds_per_flush, merges, wall, cpu: processor_time()? })
}

fn compact(node: &Node) -> Result<usize> {
    Ok(node.runtime().block_on(node.engine().compact(false))?)
}

#[expect(clippy::print_stderr, reason = "progress is for people")]
fn tell(number: u32, of: u32, spent: Duration) {
    eprintln!("{number} of {of} flushes, {:.0} s", spent.as_secs_f64());
}

/// What asks a node.
struct Queries<'a> {
    node: &'a Node,
    service: QueryService,
}

impl<'a> Queries<'a> {
    fn of(node: &'a Node) -> Result<Self> {
        let source = Source { engine: node.engine().clone(), external: ExternalTables::default() };
        let service = QueryService::new(source, Settings::new(node.folder().join("spill")))?;
        Ok(Self { node, service })
    }

    /// The time until an hour of one device is planned.
    fn planned(&self, load: Load, number: u32) -> Result<Duration> {
        let (sql, begun) = (hour_of_one_device(load, number), clock::instant());
        self.node.runtime().block_on(self.service.query(Some(DATABASE), &sql))?;
        Ok(clock::instant().duration_since(begun))
    }

    /// The time until an hour of one device is read.
    fn read(&self, load: Load, number: u32) -> Result<Duration> {
        let (sql, begun) = (hour_of_one_device(load, number), clock::instant());
        self.text(&sql)?;
        Ok(clock::instant().duration_since(begun))
    }

    /// The one number of an answer.
    fn number(&self, sql: &str) -> Result<u64> {
        let text = self.text(sql)?;
        let number = text.lines().nth(1).and_then(|line| line.parse().ok());
        number.ok_or_else(|| Error::Broken(format!("{sql} answers {text:?}, which is no number")))
    }

    /// An answer as CSV, read to its end.
    fn text(&self, sql: &str) -> Result<String> {
        let bytes: Vec<Bytes> = self.node.runtime().block_on(async {
            let answer = self.service.query(Some(DATABASE), sql).await?;
            query::format::encode(Format::Csv, answer)?.try_collect().await
        })?;
        Ok(String::from_utf8_lossy(&bytes.concat()).into_owned())
    }
}

/// An hour of one device: another one with each number, all over the time and the devices.
fn hour_of_one_device(load: Load, number: u32) -> String {
    let hours = (load.flushes * 24 / load.flushes_per_day.max(1)).max(1);
    let (hour, device) =
        (number.wrapping_mul(7_919) % hours, number.wrapping_mul(104_729) % load.devices.max(1));
    let from = START_NS + i64::from(hour * ROUNDS_PER_HOUR) * ROUND_NS;
    format!(
        "SELECT time, temp FROM {TABLE} WHERE device = '{}' AND {}",
        device_name(device),
        between(from, from + i64::from(ROUNDS_PER_HOUR) * ROUND_NS)
    )
}

/// A condition on the time.
fn between(from: i64, to: i64) -> String {
    format!("time >= to_timestamp_nanos({from}) AND time < to_timestamp_nanos({to})")
}
