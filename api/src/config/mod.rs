//! The configuration: one TOML file, overridden by `BUSBAR_*` variables, overridden by flags.
//!
//! Invariants:
//! - every key has a default, so an empty file is a whole configuration;
//! - a key that is not known is an error that names it;
//! - a [`Config`] that came from [`load()`] has passed [`Config::check`];
//! - what is printed never holds a secret.

mod cluster;
mod compaction;
mod last_values;
mod load;
mod memory;
mod quantity;
mod quarantine;
mod render;
mod resources;
mod retention;
mod setting;
mod store;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

pub use cluster::Cluster;
pub use compaction::Compaction;
pub use last_values::LastValues;
pub use load::{ConfigError, load};
pub use memory::{Auto, Memory, MemoryPlan};
pub use quantity::{ByteSize, Span};
pub use quarantine::Quarantine;
pub use render::render;
pub use retention::{Period, Retention};
pub use setting::{SETTINGS, Setting};
pub use store::{Cache, Disk, Store};

use crate::auth::TokenHash;

/// The smallest segment of the log: below it, more time goes into making segments than into rows.
const LEAST_SEGMENT: ByteSize = ByteSize(64 << 10);

/// Segments of the log that fit into the disk's budget: one that is written, one that waits for the rules, and as
/// much again for what was staged of them.
const LEAST_SEGMENTS: usize = 4;

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Folder of the log, the tables and the registry.
    pub data_dir: PathBuf,
    /// Whether a listener may be reachable from other machines although no token is configured.
    pub insecure: bool,
    /// The HTTP listener.
    pub http: Http,
    /// The MQTT listener.
    pub mqtt: Mqtt,
    /// Memory.
    pub memory: Memory,
    /// Bounds of requests.
    pub limits: Limits,
    /// The write path.
    pub write: Write,
    /// The log on disk.
    pub log: Log,
    /// From memory to files.
    pub flush: Flush,
    /// The local disk.
    pub disk: Disk,
    /// Where tables are.
    pub store: Store,
    /// Nodes with the same tables.
    pub cluster: Cluster,
    /// How files are merged.
    pub compaction: Compaction,
    /// Last values.
    pub last_values: LastValues,
    /// Lines that cannot be stored.
    pub quarantine: Quarantine,
    /// How long rows are kept.
    pub retention: Retention,
    /// SQL.
    pub query: Query,
    /// What the process says of itself.
    pub logging: Logging,
    /// Who may use the engine. None: everybody who reaches a loopback listener.
    pub tokens: Vec<Token>,
    /// A YAML file of alert rules.
    pub rules_file: Option<PathBuf>,
    /// Alert rules, as `alerting` reads them.
    pub rules: Vec<toml::Table>,
    /// Receivers of alerts, as `alerting` reads them.
    pub webhooks: Vec<toml::Table>,
}

/// The HTTP listener.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Connections at one time; further ones wait in the kernel's queue.
    pub connections: usize,
    /// How long a request may take from its head to the head of its answer.
    pub request_timeout: Span,
    /// How long requests may go on after a stop was asked for.
    pub drain_timeout: Span,
}

/// The MQTT listener.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mqtt {
    /// Where it listens.
    pub addr: SocketAddr,
    /// From JSON payloads to rows, as `ingest` reads them.
    pub mappings: Vec<toml::Table>,
}

/// Bounds of requests.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Body of `/write`, before and after decompression.
    pub v1_body_bytes: ByteSize,
    /// Body of `/api/v2/write`, before and after decompression.
    pub v2_body_bytes: ByteSize,
    /// Body of `/api/v3/write_lp`, before and after decompression.
    pub v3_body_bytes: ByteSize,
    /// All bodies that are in memory at one time.
    pub body_memory: Auto,
}

/// The write path.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Write {
    /// Whether a write to a database that does not exist makes it.
    pub create_on_write: bool,
    /// Rows in memory, not yet in files. At this bound writes are told to come again later.
    pub memtable_bytes: Auto,
    /// The series index. At half of it, series that nothing refers to are forgotten; at all of it new ones are refused.
    pub series_bytes: Auto,
}

/// The log on disk.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// One segment: the log is trimmed by whole segments.
    pub segment_bytes: ByteSize,
    /// What a start does with a log that holds damage.
    pub recovery: Recovery,
}

/// What a start does with a log that holds damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recovery {
    /// It refuses, and says where the damage is.
    Strict,
    /// It keeps the damaged segments aside, reports what is lost, and goes on with the rest.
    Salvage,
}

/// From memory to files.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Flush {
    /// A flush begins when rows take this much memory, all tables together.
    pub bytes: Auto,
    /// A flush begins when the oldest row in memory is this old.
    pub age: Span,
}

/// SQL.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    /// How long a query may run.
    pub deadline: Span,
    /// Memory of all queries together.
    pub memory_bytes: Auto,
    /// Queries at one time; further ones are told to come again later.
    pub concurrency: usize,
}

/// What the process says of itself.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Logging {
    /// Text for people or JSON for machines.
    pub format: LogFormat,
    /// What is logged, as `tracing` filters it.
    pub filter: String,
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Who may use the engine.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Names the holder in logs.
    pub name: String,
    /// SHA-256 of the token, 64 hexadecimal digits.
    pub sha256: TokenHash,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "./busbar-data".into(),
            insecure: false,
            http: Http::default(),
            mqtt: Mqtt::default(),
            memory: Memory::default(),
            limits: Limits::default(),
            write: Write::default(),
            log: Log::default(),
            flush: Flush::default(),
            disk: Disk::default(),
            store: Store::default(),
            cluster: Cluster::default(),
            compaction: Compaction::default(),
            last_values: LastValues::default(),
            quarantine: Quarantine::default(),
            retention: Retention::default(),
            query: Query::default(),
            logging: Logging::default(),
            tokens: Vec::new(),
            rules_file: None,
            rules: Vec::new(),
            webhooks: Vec::new(),
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            addr: SocketAddr::from(([127, 0, 0, 1], 8181)),
            // A connection costs about 20 KiB, so this is 80 MiB at worst.
            connections: 4_096,
            // A body of 25 MB over a line of 4 Mbit/s takes 50 s.
            request_timeout: Span(Duration::from_secs(60)),
            // Half of what Kubernetes gives by default, so that the flush has the other half.
            drain_timeout: Span(Duration::from_secs(15)),
        }
    }
}

impl Default for Mqtt {
    fn default() -> Self {
        Self { addr: SocketAddr::from(([127, 0, 0, 1], 1883)), mappings: Vec::new() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // InfluxDB 1's `max-body-size`.
            v1_body_bytes: ByteSize(25_000_000),
            // InfluxDB 2 has no limit; 1's does, and its clients split a batch at 413.
            v2_body_bytes: ByteSize(25_000_000),
            // InfluxDB 3's `max-http-request-size`.
            v3_body_bytes: ByteSize::mebibytes(10),
            body_memory: Auto::default(),
        }
    }
}

impl Default for Write {
    fn default() -> Self {
        Self { create_on_write: true, memtable_bytes: Auto::default(), series_bytes: Auto::default() }
    }
}

impl Default for Log {
    fn default() -> Self {
        // As much as a flush: a segment or two are kept beside what is in memory.
        Self { segment_bytes: ByteSize::mebibytes(64), recovery: Recovery::Strict }
    }
}

impl Default for Flush {
    fn default() -> Self {
        Self { bytes: Auto::default(), age: Span(Duration::from_secs(600)) }
    }
}

impl Default for Query {
    fn default() -> Self {
        Self { deadline: Span(Duration::from_secs(30)), memory_bytes: Auto::default(), concurrency: 16 }
    }
}

impl Default for Logging {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info,buoyant_kernel=warn,deltalake_core=warn".into() }
    }
}

impl Config {
    /// Checks what a single key cannot say.
    ///
    /// # Errors
    /// The first rule that is broken, with the key to change.
    pub fn check(&self) -> Result<(), ConfigError> {
        let fail = |message: String| Err(ConfigError::Rule(message));
        let largest = self.limits.v1_body_bytes.max(self.limits.v2_body_bytes).max(self.limits.v3_body_bytes);
        let memory = self.memory_plan()?;
        if memory.bodies < largest.0 {
            return fail(format!(
                "limits.body_memory is {} but one body may have {largest}: raise limits.body_memory",
                ByteSize(memory.bodies)
            ));
        }
        if memory.memtables < memory.flush_begins {
            return fail(format!(
                "write.memtable_bytes is {} but a flush begins at flush.bytes = {}: raise write.memtable_bytes",
                ByteSize(memory.memtables),
                ByteSize(memory.flush_begins)
            ));
        }
        if self.log.segment_bytes < LEAST_SEGMENT {
            return fail(format!(
                "log.segment_bytes is {} but a segment holds at least {LEAST_SEGMENT}: raise log.segment_bytes",
                self.log.segment_bytes
            ));
        }
        if self.disk.max_bytes.0 / LEAST_SEGMENTS < self.log.segment_bytes.0 {
            return fail(format!(
                "disk.max_bytes is {} but must hold {LEAST_SEGMENTS} segments of log.segment_bytes = {}: raise \
                 disk.max_bytes",
                self.disk.max_bytes, self.log.segment_bytes
            ));
        }
        self.check_cluster()?;
        self.check_compaction()?;
        self.retention()?;
        for (key, count) in
            [("http.connections", self.http.connections), ("query.concurrency", self.query.concurrency)]
        {
            if count == 0 {
                return fail(format!("{key} must be at least 1"));
            }
        }
        for (at, token) in self.tokens.iter().enumerate() {
            if token.name.is_empty() {
                return fail("a token must have a name: set tokens.name".into());
            }
            if self.tokens.iter().take(at).any(|other| other.name == token.name) {
                return fail(format!("two tokens are called {:?}: give each its own name", token.name));
            }
        }
        Ok(())
    }

    /// Refuses listeners that other machines can reach while no token is configured.
    ///
    /// # Errors
    /// The first such listener, and the ways out.
    pub fn check_exposure(&self) -> Result<(), ConfigError> {
        if !self.tokens.is_empty() || self.insecure {
            return Ok(());
        }
        for (key, addr) in [("http.addr", self.http.addr), ("mqtt.addr", self.mqtt.addr)] {
            if !addr.ip().to_canonical().is_loopback() {
                return Err(ConfigError::Exposed { key, addr });
            }
        }
        Ok(())
    }
}
