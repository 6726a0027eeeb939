//! Where a server's processor time goes, by stage: `perf` looks at its stacks many times a second, and of each stack the
//! innermost function that belongs to a stage counts.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::Serialize;
use sysinfo::{Pid, ProcessesToUpdate, Signal, System};

use crate::error::{Error, Result};

/// Looks in a second of processor time; not a round number, so as not to keep time with anything.
const LOOKS_PER_SECOND: u32 = 997;

/// Bytes of a stack that are kept at each look: the frames of a flush are many.
const CALL_GRAPH: &str = "dwarf,32768";

/// Memory of each processor for looks that are not written yet: a thousand of them.
const BUFFER: &str = "32M";

/// What `perf` takes until it looks.
const ATTACHING: Duration = Duration::from_secs(1);

/// How much of the server's time must have been seen.
const SEEN: f64 = 0.8;

/// The stages, and what the names of their functions hold. Of one function the first stage that has it counts.
const STAGES: [(&str, &[&str]); 10] = [
    ("parse", &["ingest::line_protocol", "ingest::intake"]),
    (
        "sort",
        &["storage::memtable::sorted", "storage::series::order", "storage::series::keys", "storage::rows"],
    ),
    (
        "lookup",
        &[
            "storage::series::lookup",
            "storage::series::aliases",
            "storage::series::by_key",
            "storage::series::SeriesIndex",
        ],
    ),
    ("log", &["storage::log", "ingest::writer", "ingest::ring"]),
    ("memtable", &["storage::memtable", "storage::view"]),
    ("last values", &["storage::last_value"]),
    ("encode", &["storage::parquet_file", "parquet::"]),
    (
        "put",
        &[
            "storage::object",
            "storage::delta",
            "storage::flush",
            "object_store::",
            "deltalake_core::",
            "delta_kernel::",
        ],
    ),
    // Only what is neither read nor encoded.
    ("merge", &["storage::compaction", "storage::merge"]),
    ("HTTP", &["api::", "hyper::", "axum::", "tower::"]),
];

/// What is none of them: threads that are woken and put to sleep, and what has no name.
const OTHERS: &str = "others";

/// Shares of a server's processor time, by stage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Profile {
    /// Looks that the shares are of.
    pub(super) looks: u32,
    /// From 0 to 1.
    pub(super) shares: BTreeMap<&'static str, f64>,
}

impl Profile {
    /// The stages, in the order in which a row passes them.
    pub(super) fn stages() -> impl Iterator<Item = &'static str> {
        const ORDER: [&str; 11] = [
            "HTTP",
            "parse",
            "lookup",
            "log",
            "memtable",
            "last values",
            "sort",
            "encode",
            "put",
            "merge",
            OTHERS,
        ];
        ORDER.into_iter()
    }

    /// Of what `perf script` prints: stacks from the innermost function on, with an empty line behind each.
    fn of(script: impl BufRead) -> Result<Self> {
        let mut counts: BTreeMap<&'static str, u32> = BTreeMap::new();
        let (mut is_in_stack, mut found) = (false, None);
        for line in script.split(b'\n').chain([Ok(Vec::new())]) {
            let line = line?;
            if !line.trim_ascii().is_empty() {
                is_in_stack = true;
                found = found.or_else(|| stage_of(&String::from_utf8_lossy(&line)));
            } else if std::mem::take(&mut is_in_stack) {
                *counts.entry(found.take().unwrap_or(OTHERS)).or_default() += 1;
            }
        }
        let looks = counts.values().sum();
        let shares = counts.into_iter().map(|(stage, count)| (stage, f64::from(count) / f64::from(looks)));
        Ok(Self { looks, shares: shares.collect() })
    }
}

fn stage_of(function: &str) -> Option<&'static str> {
    let has = |(_, names): &&(&'static str, &[&str])| names.iter().any(|name| function.contains(name));
    STAGES.iter().find(has).map(|(stage, _)| *stage)
}

/// `perf` that looks at a server. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Recording {
    perf: Child,
    file: PathBuf,
    words: PathBuf,
}

impl Recording {
    /// Begins to look at the process with this id.
    pub(super) async fn start(process: u32, folder: &Path) -> Result<Self> {
        let (file, words) = (folder.join("perf.data"), folder.join("perf.log"));
        let mut command = Command::new("perf");
        command.args([
            "record",
            "--no-buildid-cache",
            "-e",
            "cpu-clock",
            "-F",
            &LOOKS_PER_SECOND.to_string(),
        ]);
        command.args(["--call-graph", CALL_GRAPH, "-m", BUFFER, "-p", &process.to_string(), "-o"]).arg(&file);
        let said = File::create(&words)?;
        command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
        let cannot = |error| Error::Peer(format!("perf cannot be run: {error}; Debian has it as linux-perf"));
        let mut recording = Self { perf: command.spawn().map_err(cannot)?, file, words };
        tokio::time::sleep(ATTACHING).await;
        if recording.perf.try_wait()?.is_some() {
            return Err(recording.failed("perf cannot look at the server"));
        }
        Ok(recording)
    }

    /// Ends it, and says what it saw of the time that the server has used.
    pub(super) fn finish(mut self, used: Duration) -> Result<Profile> {
        let (id, mut system) = (Pid::from_u32(self.perf.id()), System::new());
        system.refresh_processes(ProcessesToUpdate::Some(&[id]), false);
        if system.process(id).and_then(|process| process.kill_with(Signal::Interrupt)) != Some(true) {
            return Err(self.failed("perf has ended early"));
        }
        self.perf.wait()?;
        // Without the functions that were put into others: to find these takes minutes.
        let mut script = Command::new("perf");
        script.args(["script", "--no-inline", "-F", "ip,sym", "-i"]).arg(&self.file);
        let said = File::options().append(true).open(&self.words)?;
        let mut script = script.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(said).spawn()?;
        let profile = script.stdout.take().map(|said| Profile::of(BufReader::new(said))).transpose()?;
        let (status, profile) = (script.wait()?, profile.filter(|profile| profile.looks > 0));
        let Some(profile) = profile.filter(|_| status.success()) else {
            return Err(self.failed("perf does not say what it saw"));
        };
        let seen = f64::from(profile.looks) / f64::from(LOOKS_PER_SECOND) / used.as_secs_f64();
        if seen < SEEN {
            let reason =
                format!("perf saw {:.0} % of the server's time: may it see the kernel's?", 100.0 * seen);
            return Err(self.failed(&reason));
        }
        Ok(profile)
    }

    fn failed(&self, what: &str) -> Error {
        let said = std::fs::read_to_string(&self.words).unwrap_or_default();
        Error::Peer(format!("{what}; it said: {}", said.trim()))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.perf.kill();
        let _waited = self.perf.wait();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::{OTHERS, Profile, STAGES};

    const SCRIPT: &str = "\t 1 __memmove_avx512\n\t 2 <storage::series::lookup::SeriesLookup>::by_spellings\n\
                          \t 3 ingest::intake::together::Together::advance\n\t 4 hyper::proto::h1::dispatch\n\n\
                          \t 1 fdatasync\n\t 2 storage::disk::sync\n\t 3 storage::log::writer::LogWriter::sync\n\n\
                          \t 1 storage::series::order::SeriesOrder::rank\n\t 2 storage::flush::round::flush\n\n\
                          \t 1 epoll_wait\n\t 2 tokio::runtime::park\n\n";

    #[test]
    fn of_a_stack_the_innermost_function_that_belongs_to_a_stage_counts() {
        let profile = Profile::of(SCRIPT.as_bytes()).unwrap();
        assert_eq!(profile.looks, 4);
        let stages: Vec<_> = profile.shares.into_iter().collect();
        assert_eq!(stages, [("log", 0.25), ("lookup", 0.25), (OTHERS, 0.25), ("sort", 0.25)]);
    }

    #[test]
    fn every_stage_has_its_place_on_the_way_of_a_row() {
        let mut known: Vec<_> = STAGES.iter().map(|(name, _)| *name).chain([OTHERS]).collect();
        let mut shown: Vec<_> = Profile::stages().collect();
        known.sort_unstable();
        shown.sort_unstable();
        assert_eq!(known, shown);
    }
}
