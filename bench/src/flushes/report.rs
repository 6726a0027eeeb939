//! The figures of a run, and whether they are what is promised.

use std::collections::BTreeMap;
use std::fs::read_dir;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Load, Queries, Written, between};
use crate::data::{ROUND_NS, START_NS, TABLE};
use crate::error::{Error, Result};
use crate::node::Node;
use crate::usage::{peak_memory_kib, resident_memory_kib};

/// What is promised for files of a day once it has settled.
const FILES_PER_DAY: usize = 4;

/// What is promised for planning a query of one device and one hour.
const PLANNING: Duration = Duration::from_millis(20);

/// Days that the table's log keeps an entry, plus one for what waits for the next checkpoint.
const LOG_DAYS: u32 = 8;

/// A checkpoint comes once in so many commits, and what is too old goes with it.
const CHECKPOINT_COMMITS: u32 = 100;

/// A flush is a commit, and seldom followed by a merge, which is another.
const COMMITS_PER_FLUSH: u32 = 2;

const DAYS_OF_A_MONTH: u32 = 30;

/// Collects what does not hold while it prints.
#[derive(Debug, Default)]
pub(super) struct Report {
    broken: Vec<String>,
}

impl Report {
    #[expect(clippy::print_stdout, reason = "figures for people")]
    fn line(&self, what: &str, figure: &str) {
        println!("| {what} | {figure} |");
    }

    fn hold(&mut self, holds: bool, what: &str, figure: &str, limit: &str) {
        self.line(what, &format!("{figure}, limit {limit}{}", if holds { "" } else { ": BROKEN" }));
        if !holds {
            self.broken.push(format!("{what}: {figure}, limit {limit}"));
        }
    }

    #[expect(clippy::print_stdout, reason = "figures for people")]
    pub(super) fn heading(&self, load: Load, written: &Written) {
        println!(
            "\n## {} flushes, {} a day, {} devices: {} rows\n\n| what | |\n|---|---|",
            load.flushes, load.flushes_per_day, load.devices, written.rows
        );
        self.line("merges", &written.merges.to_string());
        let seconds = |spent: Duration| format!("{:.1} s", spent.as_secs_f64());
        self.line("processor time, making the lines included", &seconds(written.cpu));
        self.line("wall time", &seconds(written.wall));
    }

    /// Times and their limit. They depend on the machine, so they decide nothing.
    pub(super) fn planning(&self, what: &str, times: Vec<Duration>) {
        let worst = times.iter().max().copied().unwrap_or_default();
        let verdict = if worst <= PLANNING { "held" } else { "MISSED at worst" };
        self.line(what, &format!("{}, limit {PLANNING:?}: {verdict}", percentiles(times)));
    }

    pub(super) fn times(&self, what: &str, times: Vec<Duration>) {
        self.line(what, &percentiles(times));
    }

    /// Files of the days, and of the table's log.
    pub(super) fn files(&mut self, node: &Node, load: Load) -> Result<()> {
        let mut of_days: BTreeMap<i32, usize> = BTreeMap::new();
        let files = node.table().map(|(_, view)| view.files.clone()).unwrap_or_default();
        files.iter().for_each(|file| *of_days.entry(file.date).or_default() += 1);
        let most = of_days.values().max().copied().unwrap_or_default();
        let figure = format!("{most} at most, {} in {} days", files.len(), of_days.len());
        self.hold(most <= FILES_PER_DAY, "files of a day", &figure, &FILES_PER_DAY.to_string());
        let (mut entries, mut bytes) = (0, 0);
        for path in logs(&node.folder().join("data/tables"))? {
            for entry in read_dir(path)? {
                entries += 1;
                bytes += entry?.metadata()?.len();
            }
        }
        let kept = load.flushes.min(LOG_DAYS * load.flushes_per_day) * COMMITS_PER_FLUSH + CHECKPOINT_COMMITS;
        let figure = format!("{entries}, {} KiB", bytes >> 10);
        self.hold(entries <= kept, "files of the table's log", &figure, &kept.to_string());
        Ok(())
    }

    /// Counts all rows, and those of a month that begins and ends within days, after a restart.
    pub(super) fn month(&mut self, queries: &Queries<'_>, load: Load, written: &Written) -> Result<()> {
        let all = queries.number(&format!("SELECT count(*) FROM {TABLE}"))?;
        self.hold(all == written.rows, "rows in all", &all.to_string(), &format!("{} exactly", written.rows));
        let margin = written.rounds.min(90);
        let rounds = (written.rounds - margin).min(DAYS_OF_A_MONTH * super::ROUNDS_PER_DAY);
        let from = START_NS + i64::from(margin / 2) * ROUND_NS;
        let times = between(from, from + i64::from(rounds) * ROUND_NS);
        let begun = storage::clock::instant();
        let found = queries.number(&format!("SELECT count(temp) FROM {TABLE} WHERE {times}"))?;
        let spent = storage::clock::instant().duration_since(begun);
        let wanted = u64::from(rounds) * u64::from(load.devices);
        let figure = format!("{found} in {:.2} s", spent.as_secs_f64());
        self.hold(
            found == wanted,
            "rows of a month, or what there is of it",
            &figure,
            &format!("{wanted} exactly"),
        );
        Ok(())
    }

    pub(super) fn memory(&self) -> Result<()> {
        let figure =
            format!("{} MiB, {} MiB at its peak", resident_memory_kib()? >> 10, peak_memory_kib()? >> 10);
        self.line("memory of the process", &figure);
        Ok(())
    }

    pub(super) fn verdict(self) -> Result<()> {
        if self.broken.is_empty() { Ok(()) } else { Err(Error::Broken(self.broken.join("; "))) }
    }
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |part: usize| times.get((times.len() * part / 100).min(times.len().saturating_sub(1)));
    let text =
        |time: Option<&Duration>| format!("{:.1} ms", time.copied().unwrap_or_default().as_secs_f64() * 1e3);
    if times.len() < 2 {
        return text(at(0));
    }
    format!("p50 {}, p99 {}, worst {}", text(at(50)), text(at(99)), text(at(100)))
}

/// The folders of table logs below a folder.
fn logs(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in read_dir(folder)? {
        let path = entry?.path();
        if path.ends_with("_delta_log") {
            found.push(path);
        } else if path.is_dir() {
            found.extend(logs(&path)?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::percentiles;

    #[test]
    fn percentiles_are_those_of_the_sorted_times() {
        let times = (0..200).rev().map(Duration::from_millis).collect();
        assert_eq!(percentiles(times), "p50 100.0 ms, p99 198.0 ms, worst 199.0 ms");
        assert_eq!(percentiles(vec![Duration::from_millis(7)]), "7.0 ms");
        assert_eq!(percentiles(Vec::new()), "0.0 ms");
    }
}
