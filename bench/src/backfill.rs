//! What a backfill costs: years of rows that come one series after the other, beside the same rows in the order of time.
//!
//! The engine runs as a server's does: it flushes and merges by itself. Afterwards what is left is flushed, and what
//! is due is merged.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use storage::clock;

use crate::data::{START_NS, TABLE, device_name};
use crate::error::Result;
use crate::node::Node;
use crate::usage::{peak_memory_kib, processor_time};

/// Lines of a body.
const LINES_PER_BODY: usize = 5_000;

/// Bodies that are made and sent at a time.
const BODIES_AT_ONCE: usize = 16;

/// Bytes in memtables before a writer waits, as a server's would be told to.
const MEMORY_BYTES: usize = 256 << 20;

/// The time between two rows of a series: an hour.
const STEP_NS: i64 = 3_600_000_000_000;

/// In which order rows come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Way {
    /// All rows of a series, then those of the next.
    Series,
    /// All rows of an hour, then those of the next.
    Time,
}

/// What is written.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// The order.
    pub way: Way,
    /// Number of series.
    pub series: u32,
    /// Days of each series.
    pub days: u32,
    /// Whether flushes that spread over many days are staged as runs.
    pub runs: bool,
}

impl Load {
    /// The lines in their order, in bodies.
    fn bodies(self) -> impl Iterator<Item = Bytes> {
        let hours = self.days * 24;
        let (outer, inner) = match self.way {
            Way::Series => (self.series, hours),
            Way::Time => (hours, self.series),
        };
        let mut points = (0..outer).flat_map(move |outer| {
            (0..inner).map(move |inner| match self.way {
                Way::Series => (outer, inner),
                Way::Time => (inner, outer),
            })
        });
        std::iter::from_fn(move || {
            let mut body = String::new();
            points.by_ref().take(LINES_PER_BODY).for_each(|(series, hour)| put_line(&mut body, series, hour));
            (!body.is_empty()).then(|| body.into())
        })
    }
}

/// A series keeps near a level of its own.
fn put_line(body: &mut String, series: u32, hour: u32) {
    let time = START_NS - 5 * 366 * 24 * STEP_NS + i64::from(hour) * STEP_NS;
    let mixed = (u64::from(series) << 32 | u64::from(hour)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let (celsius, humidity) = (1_800 + series % 400 + (mixed % 97) as u32, 350 + (mixed % 89) as u32);
    let (co2, watts) = (420 + series % 300 + (mixed % 127) as u32, 200 + (mixed % 4_799) as u32);
    let device = device_name(series);
    let _infallible = writeln!(
        body,
        "{TABLE},building=b{:03},device={device} co2={co2}i,humidity={}.{},power={}.{},temp={}.{:02} {time}",
        series / 100,
        humidity / 10,
        humidity % 10,
        watts / 10,
        watts % 10,
        celsius / 100,
        celsius % 100,
    );
}

/// Measures one load and prints a row per figure.
///
/// # Errors
/// The failure of the node or of `/proc`.
#[expect(clippy::cast_precision_loss, clippy::print_stdout, reason = "figures for people")]
pub fn measure(load: Load) -> Result<()> {
    let node = Node::start_with(|config| {
        config.memory_limit = 2 * MEMORY_BYTES;
        if !load.runs {
            config.runs.min_partitions = usize::MAX;
        }
    })?;
    let (started, mut making) = (clock::instant(), Duration::ZERO);
    let mut bodies = load.bodies();
    let mut rows = 0;
    loop {
        let before = processor_time()?;
        let part: Vec<Bytes> = bodies.by_ref().take(BODIES_AT_ONCE).collect();
        making += processor_time()?.saturating_sub(before);
        if part.is_empty() {
            break;
        }
        rows += node.write(&part, 2)?;
        while !node.engine().has_room(MEMORY_BYTES) {
            node.runtime().block_on(async { tokio::time::sleep(Duration::from_millis(10)).await });
        }
    }
    let written = (clock::instant().duration_since(started), processor_time()?.saturating_sub(making));
    node.flush()?;
    let merges = node.runtime().block_on(node.engine().compact(false))?;
    let cpu = processor_time()?.saturating_sub(making);
    let wall = clock::instant().duration_since(started);
    let files = node.table().map(|(_, view)| view.files.clone()).unwrap_or_default();
    let mut of_partitions: BTreeMap<i32, usize> = BTreeMap::new();
    files.iter().for_each(|file| *of_partitions.entry(file.date).or_default() += 1);
    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    println!(
        "\n## {:?}: {rows} rows, {} series, {} days\n\n| what | |\n|---|---|",
        load.way, load.series, load.days
    );
    println!(
        "| processor time | {:.1} s, until the last row {:.1} s |",
        cpu.as_secs_f64(),
        written.1.as_secs_f64()
    );
    println!(
        "| wall time | {:.1} s, until the last row {:.1} s |",
        wall.as_secs_f64(),
        written.0.as_secs_f64()
    );
    println!(
        "| files | {} in {} partitions, at most {} in one, {:.2} B/row |",
        files.len(),
        of_partitions.len(),
        of_partitions.values().max().copied().unwrap_or_default(),
        bytes as f64 / rows as f64
    );
    println!("| merges at the end | {merges} |");
    println!("| peak memory of the process | {} MiB |", peak_memory_kib()? >> 10);
    Ok(())
}
