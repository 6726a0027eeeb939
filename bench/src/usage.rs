//! What a process uses of processor and memory, as `/proc` tells it.

use std::time::Duration;

use crate::error::Result;

/// Linux counts a process' time in hundredths of a second (`getconf CLK_TCK`).
const TICK: Duration = Duration::from_millis(10);

/// The process that asks.
const SELF: &str = "self";

/// A process, as `/proc` names it.
#[derive(Debug, Clone)]
pub(crate) struct Usage {
    folder: String,
}

impl Usage {
    /// That of the process with this id.
    pub(crate) fn of(process: u32) -> Self {
        Self { folder: format!("/proc/{process}") }
    }

    /// Processor time that it has used. It is told until its parent has waited for it.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        // Fields 14 and 15.
        let ticks = self.stat()?.iter().skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
        Ok(TICK * ticks)
    }

    /// Whether it has ended, and its parent has not waited for it yet.
    pub(crate) fn has_ended(&self) -> Result<bool> {
        Ok(self.stat()?.first().is_some_and(|state| state == "Z"))
    }

    /// The most memory that it had, in KiB.
    pub(crate) fn peak_memory_kib(&self) -> Result<u64> {
        self.status_kib("VmHWM:")
    }

    /// The fields of `stat` from the third one on, its state. The second is the name in parentheses, which may hold
    /// spaces.
    fn stat(&self) -> Result<Vec<String>> {
        let stat = std::fs::read_to_string(format!("{}/stat", self.folder))?;
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        Ok(fields.split_whitespace().map(str::to_owned).collect())
    }

    fn status_kib(&self, key: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("{}/status", self.folder))?;
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        Ok(line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default())
    }
}

impl Default for Usage {
    /// That of this process.
    fn default() -> Self {
        Self { folder: format!("/proc/{SELF}") }
    }
}

/// Processor time that this process has used.
pub(crate) fn processor_time() -> Result<Duration> {
    Usage::default().processor_time()
}

/// The most memory that this process had, in KiB.
pub(crate) fn peak_memory_kib() -> Result<u64> {
    Usage::default().peak_memory_kib()
}

/// The memory that this process has, in KiB.
pub(crate) fn resident_memory_kib() -> Result<u64> {
    Usage::default().status_kib("VmRSS:")
}
