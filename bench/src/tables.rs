//! What many small tables cost: each gets a row a second, and a flush takes ten minutes of all.
//!
//! Rows are written as fast as they go, so the share of a processor is what their cost is of the time that they stand
//! for.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;

use crate::data::START_NS;
use crate::error::Result;
use crate::node::Node;
use crate::usage::{peak_memory_kib, processor_time};

/// Lines of a body: a second of all tables of the default number.
const LINES_PER_BODY: usize = 2_000;

/// Seconds between two flushes, as by default.
const SECONDS_OF_FLUSH: u32 = 600;

/// More than a flush takes: it is asked for, and so are merges.
const MEMORY_BYTES: usize = 1 << 30;

const SECOND_NS: i64 = 1_000_000_000;

/// The seconds from `first`, in bodies.
fn bodies(tables: u32, first: u32, seconds: u32) -> Vec<Bytes> {
    let mut bodies = Vec::new();
    let (mut body, mut lines) = (String::new(), 0);
    for second in first..first + seconds {
        let time = START_NS + i64::from(second) * SECOND_NS;
        for table in 0..tables {
            let (tens, tenths) = (20 + table % 7, (second.wrapping_mul(7) + table) % 10);
            let _infallible = writeln!(body, "t{table:04},device=d{table:04} temp={tens}.{tenths} {time}");
            lines += 1;
            if lines == LINES_PER_BODY {
                bodies.push(std::mem::take(&mut body).into());
                lines = 0;
            }
        }
    }
    if !body.is_empty() {
        bodies.push(body.into());
    }
    bodies
}

/// Measures so many tables over so many flushes and prints a row per figure.
///
/// # Errors
/// The failure of the node or of `/proc`.
#[expect(clippy::print_stdout, reason = "figures for people")]
pub fn measure(tables: u32, flushes: u32) -> Result<()> {
    let node = Node::start_with(|config| {
        config.memory_limit = MEMORY_BYTES;
        config.flush_bytes = MEMORY_BYTES;
        config.flush_age = Duration::MAX;
        config.compaction.enabled = false;
    })?;
    let (mut write, mut flush, mut merge) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for number in 0..flushes {
        for second in 0..SECONDS_OF_FLUSH {
            let bodies = bodies(tables, number * SECONDS_OF_FLUSH + second, 1);
            add_cost(&mut write, || node.write(&bodies, 2))?;
        }
        add_cost(&mut flush, || node.flush())?;
        add_cost(&mut merge, || compact(&node, false))?;
    }
    let while_filling = most_files(&node);
    let mut settling = Duration::ZERO;
    add_cost(&mut settling, || compact(&node, true))?;
    let stands_for = f64::from(flushes * SECONDS_OF_FLUSH);
    let share = |spent: Duration| {
        format!("{:.1} s, {:.2} %", spent.as_secs_f64(), spent.as_secs_f64() / stands_for * 100.0)
    };
    println!(
        "\n## {tables} tables, a row a second each, {flushes} flushes\n\n| what | processor time, share of one |\n|---|---|"
    );
    println!("| write | {} |", share(write));
    println!("| flush | {} |", share(flush));
    println!("| merge while the day is filled | {} |", share(merge));
    println!("| merge of the settled day, once | {:.1} s |", settling.as_secs_f64());
    println!("| files of a table and day | {while_filling}, settled {} |", most_files(&node));
    println!("| peak memory of the process | {} MiB |", peak_memory_kib()? >> 10);
    Ok(())
}

fn compact(node: &Node, all: bool) -> Result<usize> {
    Ok(node.runtime().block_on(node.engine().compact(all))?)
}

/// Adds the processor time of some work.
fn add_cost<T>(spent: &mut Duration, work: impl FnOnce() -> Result<T>) -> Result<()> {
    let before = processor_time()?;
    work()?;
    *spent += processor_time()?.saturating_sub(before);
    Ok(())
}

/// The most files of a table and day.
fn most_files(node: &Node) -> usize {
    let mut of_days: BTreeMap<_, usize> = BTreeMap::new();
    for (table, view) in node.engine().snapshot().tables() {
        view.files.iter().for_each(|file| *of_days.entry((table, file.date)).or_default() += 1);
    }
    of_days.values().max().copied().unwrap_or_default()
}
