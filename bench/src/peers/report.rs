//! Medians of runs, and how far they lie apart, as a table for people and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::profile::Profile;
use super::run::{Case, Outcome};
use super::server::Server;
use crate::error::{Error, Result};

/// What it is called.
pub(super) const TITLE: &str = "Busbar beside its peers";

/// The heading of where its time goes.
pub(super) const PROFILE: &str = "Where Busbar's time goes";

/// The server that others are compared with.
const COMPARED_WITH: Server = Server::VictoriaMetrics;

/// The columns of a set's table.
pub(super) const COLUMNS: [&str; 12] = [
    "connections",
    "server",
    "thousand rows/s",
    "CPU",
    "times",
    "until acknowledged",
    "cold",
    "ack p50 ms",
    "ack p99 ms",
    "peak MiB",
    "disk B/row",
    "client CPU",
];

/// All runs.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    runs: u32,
    machine: Machine,
    servers: Vec<Described>,
    rows: Vec<Row>,
    profiles: Vec<Profiled>,
}

/// A case of Busbar, and where its time went.
#[derive(Debug, Serialize)]
struct Profiled {
    set: String,
    connections: u32,
    #[serde(flatten)]
    profile: Profile,
}

/// Where it ran.
#[derive(Debug, Serialize)]
struct Machine {
    processor: String,
    processors: usize,
    memory_kib: u64,
}

#[derive(Debug, Serialize)]
struct Described {
    server: Server,
    version: String,
    settings: &'static str,
}

/// One run.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    server: Server,
    set: String,
    connections: u32,
    #[serde(flatten)]
    outcome: Outcome,
}

impl Row {
    pub(super) fn of(case: Case, outcome: Outcome) -> Self {
        Self { server: case.server, set: case.set.name(), connections: case.connections, outcome }
    }

    /// For whoever waits.
    pub(super) fn line(&self) -> String {
        let Self { server, set, connections, outcome } = self;
        format!(
            "{set}, {connections} connections, {}: {:.0} rows/s, {:.3} CPU s per million rows, p99 {:.1} ms, {} MiB",
            server.name(),
            outcome.rows_per_second,
            outcome.cpu,
            outcome.ack_p99_ms,
            outcome.peak_memory_bytes >> 20
        )
    }
}

impl Report {
    pub(super) fn new(runs: u32) -> Self {
        Self { runs, machine: Machine::this(), servers: Vec::new(), rows: Vec::new(), profiles: Vec::new() }
    }

    pub(super) fn add_server(&mut self, server: Server, version: String) {
        self.servers.push(Described { server, version, settings: server.settings() });
    }

    pub(super) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    pub(super) fn add_profile(&mut self, case: Case, profile: Profile) {
        self.profiles.push(Profiled { set: case.set.name(), connections: case.connections, profile });
    }

    /// For machines: every run.
    pub(super) fn json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self).map_err(|error| Error::Peer(error.to_string()))
    }

    /// For people who read text.
    pub(super) fn markdown(&self) -> String {
        let mut text = String::new();
        add(&mut text, format_args!("# {TITLE}\n\n{}\n", self.preface()));
        for server in self.servers() {
            add(&mut text, format_args!("- {server}"));
        }
        for set in self.sets() {
            add(&mut text, format_args!("\n## {}\n", self.heading(set)));
            add(&mut text, format_args!("| {} |\n|{}", COLUMNS.join(" | "), "---|".repeat(COLUMNS.len())));
            for row in self.table(set) {
                add(&mut text, format_args!("| {} |", row.join(" | ")));
            }
        }
        if let Some((head, rows)) = self.profile_table() {
            add(&mut text, format_args!("\n## {PROFILE}\n\n{}\n", self.profile_preface()));
            add(&mut text, format_args!("| {} |\n|{}", head.join(" | "), "---|".repeat(head.len())));
            for row in rows {
                add(&mut text, format_args!("| {} |", row.join(" | ")));
            }
        }
        text
    }

    /// Where and how it was measured, and what the columns are.
    pub(super) fn preface(&self) -> String {
        let Machine { processor, processors, memory_kib } = &self.machine;
        let memory = memory_kib >> 20;
        format!(
            "{processors} processors ({processor}), {memory} GiB; client and server share them. Medians of {} runs, and in \
             parentheses the least and the greatest. \"CPU\" is processor seconds of the server per million rows, warm, \
             until everything is written and the server has ended; \"until acknowledged\" is the part of it up to the last \
             acknowledgement; \"cold\" is the same rows before, in another table. \"Times\" is the CPU of {} divided by this one. \
             \"Disk\" is the bytes per row of both passes, not merged.",
            self.runs,
            COMPARED_WITH.name()
        )
    }

    /// The servers, with version and settings.
    pub(super) fn servers(&self) -> impl Iterator<Item = String> {
        let described = |it: &Described| format!("{}: {}; {}", it.server.name(), it.version, it.settings);
        self.servers.iter().map(described)
    }

    /// The sets in the order in which they were first run.
    pub(super) fn sets(&self) -> Vec<&str> {
        let mut sets: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !sets.contains(&row.set.as_str()) {
                sets.push(&row.set);
            }
        }
        sets
    }

    /// A set, with its size.
    pub(super) fn heading(&self, set: &str) -> String {
        let first = self.rows.iter().find(|row| row.set == set).map(|row| &row.outcome);
        let rows = first.map_or(0, |outcome| outcome.rows);
        let bytes = first.map_or(0, |outcome| outcome.body_bytes / outcome.rows.max(1));
        format!("{set}: {rows} rows of {bytes} B")
    }

    /// The runs of a set by connections and server.
    pub(super) fn groups(&self, set: &str) -> BTreeMap<(u32, Server), Vec<&Outcome>> {
        let mut groups: BTreeMap<(u32, Server), Vec<&Outcome>> = BTreeMap::new();
        for row in self.rows.iter().filter(|row| row.set == set) {
            groups.entry((row.connections, row.server)).or_default().push(&row.outcome);
        }
        groups
    }

    /// What the columns of the profile are.
    pub(super) fn profile_preface(&self) -> String {
        let looks = self.profiles.iter().map(|profiled| profiled.profile.looks).min().unwrap_or_default();
        format!(
            "Processor seconds per million rows: the shares that `perf` saw in a run of its own ({looks} looks or more), warm, \
             from the first body until everything is written, of the median above. Where files are merged, what is read and \
             encoded for that is among \"encode\"."
        )
    }

    /// Head and rows of the table of profiles, if there are any: a row for each stage.
    pub(super) fn profile_table(&self) -> Option<(Vec<String>, Vec<Vec<String>>)> {
        if self.profiles.is_empty() {
            return None;
        }
        let title = |it: &Profiled| format!("{}, {} connections", it.set, it.connections);
        let head = std::iter::once("stage".to_owned()).chain(self.profiles.iter().map(title)).collect();
        let cost = |it: &Profiled, stage: &str| {
            let groups = self.groups(&it.set);
            let cpu = groups
                .get(&(it.connections, Server::Busbar))
                .map(|all| Spread::of(all, |one| one.cpu).median);
            let share = it.profile.shares.get(stage).copied().unwrap_or_default();
            format!("{:.3}", cpu.unwrap_or(f64::NAN) * share)
        };
        let row = |stage: &'static str| {
            let costs = self.profiles.iter().map(|it| cost(it, stage));
            std::iter::once(stage.to_owned()).chain(costs).collect()
        };
        Some((head, Profile::stages().map(row).collect()))
    }

    /// The cells of a set's table, a row for each number of connections and server.
    pub(super) fn table(&self, set: &str) -> Vec<Vec<String>> {
        let groups = self.groups(set);
        let row = |((connections, server), outcomes): (&(u32, Server), &Vec<&Outcome>)| {
            let of = |figure: fn(&Outcome) -> f64| Spread::of(outcomes, figure);
            let cpu = of(|outcome| outcome.cpu);
            let peer = groups.get(&(*connections, COMPARED_WITH));
            let times = peer.map(|peer| Spread::of(peer, |outcome| outcome.cpu).median / cpu.median);
            vec![
                connections.to_string(),
                server.name().to_owned(),
                of(|outcome| outcome.rows_per_second / 1e3).text(0),
                cpu.text(3),
                times.map_or_else(|| "-".to_owned(), |times| format!("{times:.1}")),
                format!("{:.3}", of(|outcome| outcome.cpu_acknowledged).median),
                format!("{:.3}", of(|outcome| outcome.cpu_cold).median),
                format!("{:.1}", of(|outcome| outcome.ack_p50_ms).median),
                of(|outcome| outcome.ack_p99_ms).text(1),
                of(|outcome| mib(outcome.peak_memory_bytes)).text(0),
                format!("{:.2}", of(|outcome| per_row(outcome.disk_bytes, 2 * outcome.rows)).median),
                format!("{:.3}", of(|outcome| outcome.client_cpu).median),
            ]
        };
        groups.iter().map(row).collect()
    }
}

impl Machine {
    fn this() -> Self {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = info.lines().find(|line| line.starts_with("model name"));
        let processor =
            processor.and_then(|line| line.split_once(':')).map_or("unknown", |(_, name)| name.trim());
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kib = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next());
        Self {
            processor: processor.to_owned(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory_kib: kib.and_then(|kib| kib.parse().ok()).unwrap_or_default(),
        }
    }
}

/// A figure of some runs.
pub(super) struct Spread {
    least: f64,
    /// The one in the middle, of two the lower.
    pub(super) median: f64,
    greatest: f64,
}

impl Spread {
    /// Of at least one run.
    pub(super) fn of(outcomes: &[&Outcome], figure: fn(&Outcome) -> f64) -> Self {
        Self::of_figures(outcomes.iter().map(|outcome| figure(outcome)))
    }

    fn of_figures(figures: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = figures.collect();
        sorted.sort_by(f64::total_cmp);
        let at = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
        let last = sorted.len().saturating_sub(1);
        Self { least: at(0), median: at(last / 2), greatest: at(last) }
    }

    fn text(&self, digits: usize) -> String {
        let Self { least, median, greatest } = self;
        format!("{median:.digits$} ({least:.digits$}-{greatest:.digits$})")
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn per_row(bytes: u64, rows: u64) -> f64 {
    bytes as f64 / rows.max(1) as f64
}

/// One line more; writing into a `String` does not fail.
fn add(text: &mut String, line: std::fmt::Arguments<'_>) {
    let _infallible = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn a_spread_is_the_least_the_middle_and_the_greatest() {
        let text = |figures: &[f64]| Spread::of_figures(figures.iter().copied()).text(1);
        assert_eq!(text(&[3.0, 1.0, 2.0]), "2.0 (1.0-3.0)");
        assert_eq!(text(&[4.0, 1.0]), "1.0 (1.0-4.0)");
        assert_eq!(text(&[5.0]), "5.0 (5.0-5.0)");
    }
}
