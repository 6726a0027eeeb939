//! One run: a server in an empty folder, a pass that is not measured, and one that is.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::profile::{Profile, Recording};
use super::server::Server;
use super::set::Set;
use crate::error::{Error, Result};

/// How long a server may go on with what it was given after it has acknowledged it.
const SETTLING: Duration = Duration::from_secs(60);

/// What the tables of the first pass begin with.
const WARM: &str = "warm_";

/// What is sent to whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    pub(super) server: Server,
    pub(super) set: Set,
    pub(super) connections: u32,
    /// So many times fewer rows than the set has.
    pub(super) divisor: u64,
}

/// The programs.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) loadgen: PathBuf,
    pub(super) server: PathBuf,
}

/// What a run came to.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Outcome {
    /// Rows of the measured pass, each acknowledged.
    pub(super) rows: u64,
    /// Bytes of their bodies.
    pub(super) body_bytes: u64,
    /// Rows acknowledged in a second.
    pub(super) rows_per_second: f64,
    /// From the sending of a body until it was acknowledged.
    pub(super) ack_p50_ms: f64,
    /// As above, 99 of 100.
    pub(super) ack_p99_ms: f64,
    /// Processor seconds of the server per million rows until the last one was acknowledged.
    pub(super) cpu_acknowledged: f64,
    /// And until all was written where it stays, and the server had ended.
    pub(super) cpu: f64,
    /// Processor seconds of the client per million rows.
    pub(super) client_cpu: f64,
    /// The first pass, processor seconds of the server per million rows until its rows were written.
    pub(super) cpu_cold: f64,
    /// The most memory of the server.
    pub(super) peak_memory_bytes: u64,
    /// What its folder holds in the end, rows of both passes.
    pub(super) disk_bytes: u64,
}

/// What `loadgen` reports of a pass.
#[derive(Debug, Deserialize)]
struct Pass {
    ok: bool,
    acknowledged_rows: u64,
    bytes: u64,
    rows_per_second: f64,
    client_cpu_seconds: Option<f64>,
    latency: Latency,
    messages: std::collections::BTreeMap<String, u64>,
}

#[derive(Debug, Deserialize)]
struct Latency {
    p50_ms: f64,
    p99_ms: f64,
}

/// Makes a run.
pub(super) async fn run(case: Case, programs: &Programs) -> Result<Outcome> {
    let folder = TempDir::with_prefix("busbar-peers-")?;
    let running = case.server.start(&programs.server, folder.path()).await?;
    let usage = running.process.usage().clone();
    let started = usage.processor_time()?;
    pass(case, programs, running.url(), WARM, folder.path()).await?;
    running.flush().await?;
    running.process.quiet(SETTLING).await?;
    let before = usage.processor_time()?;
    let sent = pass(case, programs, running.url(), "", folder.path()).await?;
    let acknowledged = usage.processor_time()?;
    running.flush().await?;
    running.process.quiet(SETTLING).await?;
    let peak_memory_bytes = usage.peak_memory_kib()? << 10;
    let ended = running.process.stop().await?;
    let rows = sent.acknowledged_rows;
    let per_million = |spent: Duration| of_million(spent.as_secs_f64(), rows);
    Ok(Outcome {
        rows,
        body_bytes: sent.bytes,
        rows_per_second: sent.rows_per_second,
        ack_p50_ms: sent.latency.p50_ms,
        ack_p99_ms: sent.latency.p99_ms,
        cpu_acknowledged: per_million(acknowledged.saturating_sub(before)),
        cpu: per_million(ended.saturating_sub(before)),
        client_cpu: of_million(sent.client_cpu_seconds.unwrap_or(f64::NAN), rows),
        cpu_cold: per_million(before.saturating_sub(started)),
        peak_memory_bytes,
        disk_bytes: bytes_below(&folder.path().join("data"))?,
    })
}

/// As [`run`], and says where the time of the measured pass went, until everything was written.
pub(super) async fn profile(case: Case, programs: &Programs) -> Result<Profile> {
    let folder = TempDir::with_prefix("busbar-peers-")?;
    let running = case.server.start(&programs.server, folder.path()).await?;
    pass(case, programs, running.url(), WARM, folder.path()).await?;
    running.flush().await?;
    running.process.quiet(SETTLING).await?;
    let recording = Recording::start(running.process.id(), folder.path()).await?;
    let before = running.process.usage().processor_time()?;
    pass(case, programs, running.url(), "", folder.path()).await?;
    running.flush().await?;
    running.process.quiet(SETTLING).await?;
    let used = running.process.usage().processor_time()?.saturating_sub(before);
    let profile = recording.finish(used)?;
    running.process.stop().await?;
    Ok(profile)
}

/// Sends all rows of the set, encoded before the clock starts, to tables of their own.
async fn pass(case: Case, programs: &Programs, url: &str, prefix: &str, folder: &Path) -> Result<Pass> {
    let report = folder.join("pass.json");
    let mut command = tokio::process::Command::new(&programs.loadgen);
    command.arg("fleet").args(case.set.arguments(case.divisor));
    command.args(["--prepare", "--no-verify", "--threads", "1"]);
    command.args(["--url", url, "--connections", &case.connections.to_string()]);
    command.args(["--table-prefix", prefix]).arg("--json").arg(&report);
    let said = command.stdin(Stdio::null()).kill_on_drop(true).output().await?;
    let failed = || {
        let text = String::from_utf8_lossy(&said.stderr);
        Error::Peer(format!("loadgen ended with {}: {}", said.status, text.trim()))
    };
    let Ok(bytes) = std::fs::read(&report) else { return Err(failed()) };
    let pass: Pass = serde_json::from_slice(&bytes).map_err(|error| Error::Peer(error.to_string()))?;
    if !pass.ok || !said.status.success() {
        return Err(Error::Peer(format!("not every row was acknowledged: {:?}", pass.messages)));
    }
    Ok(pass)
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn of_million(seconds: f64, rows: u64) -> f64 {
    seconds / rows.max(1) as f64 * 1e6
}

/// Bytes of all files below a folder.
fn bytes_below(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)))?;
        bytes += if kind.is_dir() { bytes_below(&path)? } else { kind.len() };
    }
    Ok(bytes)
}
