//! What files cost: processor time of write, flush and compaction, bytes on the disk, and memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parquet::file::reader::{FileReader, SerializedFileReader};
use storage::clock;
use storage::engine::EngineConfig;
use storage::model::DataFile;

use crate::data::Fleet;
use crate::error::Result;
use crate::node::Node;
use crate::usage::{peak_memory_kib, processor_time};

/// Lines of a body.
const LINES_PER_BODY: usize = 5_000;

/// Bodies that are made at a time, so that they take little of the memory that is measured.
const ROUNDS_AT_ONCE: u32 = 1;

/// A set of rows with 5 tags and 4 fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Set {
    /// 1,000 series of 3,000 points.
    Few,
    /// 100,000 series of 30 points.
    Many,
    /// 1,000,000 series of 10 points.
    Million,
}

impl Set {
    fn shape(self) -> (Fleet, u32) {
        match self {
            Self::Few => (Fleet::steady(1_000), 3_000),
            Self::Many => (Fleet::steady(100_000), 30),
            Self::Million => (Fleet::steady(1_000_000), 10),
        }
    }
}

/// Processor time and wall time of one part, over all its turns.
#[derive(Debug, Default)]
struct Cost {
    cpu: Duration,
    wall: Duration,
}

impl Cost {
    fn of<T>(&mut self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let (cpu, wall) = (processor_time()?, clock::instant());
        let done = work()?;
        self.cpu += processor_time()?.saturating_sub(cpu);
        self.wall += clock::instant().duration_since(wall);
        Ok(done)
    }

    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    fn per_million(&self, rows: usize) -> String {
        format!("{:.3} ({:.1} s)", self.cpu.as_secs_f64() / rows as f64 * 1e6, self.wall.as_secs_f64())
    }
}

/// The flushes of some rows.
#[derive(Debug, Default)]
struct Flushes {
    cost: Cost,
    rows: usize,
}

impl Flushes {
    fn add(&mut self, node: &Node, rows: usize) -> Result<()> {
        self.rows += rows;
        self.cost.of(|| node.flush())
    }

    fn per_million(&self) -> String {
        format!("{}, {} rows", self.cost.per_million(self.rows), self.rows)
    }
}

/// Measures one set, with the scales of its floats declared or not, and prints a row per figure.
///
/// # Errors
/// The failure of the node, of a file or of `/proc`.
#[expect(clippy::cast_precision_loss, clippy::print_stdout, reason = "figures for people")]
pub fn measure(set: Set, scales: bool) -> Result<()> {
    let (fleet, rounds) = set.shape();
    let node = Node::start()?;
    if scales {
        node.declare_scales()?;
    }
    let (mut write, mut merge) = (Cost::default(), Cost::default());
    // What a series costs once is in the first flush, at the latest when every series has had a row.
    let (mut new, mut known) = (Flushes::default(), Flushes::default());
    let (mut rows, mut flushed_rows) = (0, 0);
    let mut data = fleet.rounds();
    let by_default = EngineConfig::new("");
    for _ in (0..rounds).step_by(ROUNDS_AT_ONCE as usize) {
        let bodies = data.bodies(ROUNDS_AT_ONCE, LINES_PER_BODY);
        for part in bodies.chunks(16) {
            rows += write.of(|| node.write(part, 2))?;
            if node.engine().memory_bytes() >= by_default.flush_begins(node.engine().series().len()) {
                let flushes = if flushed_rows < fleet.devices as usize { &mut new } else { &mut known };
                flushes.add(&node, rows - flushed_rows)?;
                flushed_rows = rows;
            }
        }
    }
    known.add(&node, rows - flushed_rows)?;
    let flush = Cost { cpu: new.cost.cpu + known.cost.cpu, wall: new.cost.wall + known.cost.wall };
    let files = |node: &Node| node.table().map(|(_, view)| view.files.clone()).unwrap_or_default();
    let (flushed, flushed_bytes) = (files(&node).len(), files(&node).iter().map(|f| f.bytes).sum::<u64>());
    let merges = merge.of(|| Ok(node.runtime().block_on(node.engine().compact(true))?))?;
    let live = files(&node);
    let live_bytes: u64 = live.iter().map(|file| file.bytes).sum();
    let tables = node.folder().join("data/tables");
    let log_bytes = delta_bytes(&tables)?;
    let count = rows as f64;
    let per_row = |bytes: u64| bytes as f64 / count;
    let floats = if scales { "decimals" } else { "doubles" };
    println!("\n## {set:?}, floats are {floats}: {rows} rows of {} series\n", fleet.devices);
    println!("| what | processor s per million rows (wall) |\n|---|---|");
    println!("| write, 2 connections, acknowledged | {} |", write.per_million(rows));
    println!("| flush | {} |", flush.per_million(rows));
    println!("| of it with series that are new | {} |", new.per_million());
    println!("| of it of known series | {} |", known.per_million());
    println!("| compaction, {merges} merges | {} |", merge.per_million(rows));
    println!("\n| what | |\n|---|---|");
    println!("| files, flushed | {flushed}, {:.2} B/row |", per_row(flushed_bytes));
    println!("| files, merged | {}, {:.2} B/row |", live.len(), per_row(live_bytes));
    println!("| Delta log | {log_bytes} B, {:.3} B/row |", per_row(log_bytes));
    println!("| merged files and Delta log | {:.2} B/row |", per_row(live_bytes + log_bytes));
    println!("| entropy of the data | {:.2} B/row |", data.entropy_bytes());
    for (column, bytes) in column_bytes(&tables, &live)? {
        println!("| column {column} | {:.3} B/row |", per_row(bytes));
    }
    println!(
        "| series index | {} B per series |",
        node.engine().series().memory_bytes() / fleet.devices as usize
    );
    println!("| peak memory of the process | {} MiB |", peak_memory_kib()? >> 10);
    Ok(())
}

/// Bytes that each column has in files, as their footers say.
fn column_bytes(tables: &Path, files: &[Arc<DataFile>]) -> Result<BTreeMap<String, u64>> {
    let mut columns = BTreeMap::new();
    for file in files {
        let path: PathBuf = tables.join(file.path.as_ref());
        let reader = SerializedFileReader::new(File::open(path)?)?;
        for column in reader.metadata().row_groups().iter().flat_map(|group| group.columns()) {
            let bytes = u64::try_from(column.compressed_size()).unwrap_or_default();
            *columns.entry(column.column_path().string()).or_default() += bytes;
        }
    }
    Ok(columns)
}

/// Bytes of the table logs below a folder.
fn delta_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let (path, kind) = entry.and_then(|e| Ok((e.path(), e.metadata()?)))?;
        if kind.is_dir() {
            bytes += delta_bytes(&path)?;
        } else if folder.ends_with("_delta_log") {
            bytes += kind.len();
        }
    }
    Ok(bytes)
}
