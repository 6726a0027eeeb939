//! Options that say where to send and how, shared by `replay` and `fleet`.

use crate::error::LoadError;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// Lines of one HTTP body when `--batch` is not given: about 670 kB of 134-byte lines, well below the
/// 10 MiB that servers accept, and enough that the cost of a request disappears.
pub const DEFAULT_HTTP_BATCH: usize = 5_000;
/// Lines of one MQTT publish when `--batch` is not given: what a device does.
pub const DEFAULT_MQTT_BATCH: usize = 1;
/// More lines than this make bodies beyond every server's limit (10 MiB at about 100 bytes a line).
pub const MAX_BATCH: u64 = 100_000;
/// One process has about this many ports towards one address.
pub const MAX_CONNECTIONS: u64 = 28_000;
/// MQTT packet identifiers are 16 bits wide and 0 is not one.
pub const MAX_INFLIGHT: u64 = 65_535;

/// The write endpoint whose manners are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Api {
    /// `POST /write?db=&precision=ns`
    V1,
    /// `POST /api/v2/write?bucket=&precision=ns`
    V2,
    /// `POST /api/v3/write_lp?db=&precision=nanosecond`
    V3,
}

/// What MQTT promises of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Qos {
    /// Nobody acknowledges it.
    #[value(name = "0")]
    AtMostOnce,
    /// The server acknowledges it, and it is sent again until then.
    #[value(name = "1")]
    AtLeastOnce,
}

/// Where to send, over how many connections, and what to report.
#[derive(Debug, Clone, Args)]
pub struct Target {
    /// HTTP base of the server: writes go here (unless MQTT is used), and SQL for the read-back.
    #[arg(long, default_value = "http://127.0.0.1:8181", value_name = "URL", help_heading = "Target")]
    pub url: Url,

    /// Write endpoint: v1 `/write`, v2 `/api/v2/write`, v3 `/api/v3/write_lp`.
    #[arg(long, value_enum, default_value_t = Api::V1, help_heading = "Target")]
    pub api: Api,

    /// Publish over MQTT (topic busbar/DB/lp) to this address, e.g. 127.0.0.1:1883.
    #[arg(long, value_name = "HOST:PORT", help_heading = "Target")]
    pub mqtt: Option<String>,

    /// MQTT quality of service: 0 = nobody acknowledges, so nothing is known to be stored; 1 = acknowledged.
    #[arg(long, value_enum, default_value_t = Qos::AtLeastOnce, help_heading = "Target")]
    pub qos: Qos,

    /// Database (v2: bucket).
    #[arg(long, default_value = "loadgen", help_heading = "Target")]
    pub db: String,

    /// Organisation of the v2 endpoint.
    #[arg(long, default_value = "busbar", help_heading = "Target")]
    pub org: String,

    /// API token; over MQTT it is the password.
    #[arg(long, env = "BUSBAR_TOKEN", hide_env_values = true, help_heading = "Target")]
    pub token: Option<String>,

    /// MQTT user name that goes with the token.
    #[arg(long, default_value = "loadgen", help_heading = "Target")]
    pub mqtt_user: String,

    /// Compress HTTP bodies.
    #[arg(long, help_heading = "Target")]
    pub gzip: bool,

    /// Connections, each with one HTTP request (or --inflight MQTT publishes) under way.
    #[arg(long, default_value_t = 1, value_parser = up_to(MAX_CONNECTIONS), help_heading = "Target")]
    pub connections: usize,

    /// Lines per body or publish [default: 5000 over HTTP, 1 over MQTT].
    #[arg(long, value_parser = up_to(MAX_BATCH), value_name = "LINES", help_heading = "Target")]
    pub batch: Option<usize>,

    /// MQTT publishes per connection that wait for their PUBACK.
    #[arg(long, default_value_t = 100, value_parser = up_to(MAX_INFLIGHT), help_heading = "Target")]
    pub inflight: usize,

    /// How long one request (or PUBACK) may take before it is tried again.
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration, help_heading = "Target")]
    pub timeout: Duration,

    /// How long a batch is retried before its connection gives up.
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration, help_heading = "Target")]
    pub retry_for: Duration,

    /// HTTP base for the read-back, if it is not --url.
    #[arg(long, value_name = "URL", help_heading = "Report")]
    pub verify_url: Option<Url>,

    /// Do not read back.
    #[arg(long, help_heading = "Report")]
    pub no_verify: bool,

    /// Read back by SQL and compare (this is the default).
    #[arg(long, conflicts_with = "no_verify", help_heading = "Report")]
    pub verify: bool,

    /// Write the summary to this file, as JSON.
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub json: Option<PathBuf>,

    /// Write a page with plots of rates and latencies over time to this file.
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub html: Option<PathBuf>,
}

impl Target {
    /// Lines per body or publish.
    #[must_use]
    pub fn batch_lines(&self) -> usize {
        let default = if self.mqtt.is_some() { DEFAULT_MQTT_BATCH } else { DEFAULT_HTTP_BATCH };
        self.batch.unwrap_or(default)
    }

    /// Refuses combinations that have no meaning.
    pub fn check(&self) -> Result<(), LoadError> {
        if self.mqtt.is_some() && self.gzip {
            return Err(LoadError::Options(
                "--gzip is for HTTP; MQTT payloads are sent as they are".to_owned(),
            ));
        }
        if self.mqtt.is_none() && self.qos == Qos::AtMostOnce {
            return Err(LoadError::Options("--qos is for MQTT; over HTTP each body is answered".to_owned()));
        }
        if self.db.is_empty() {
            return Err(LoadError::Options("--db is empty: name a database".to_owned()));
        }
        if self.mqtt.is_some() && self.db.contains(['/', '+', '#']) {
            return Err(LoadError::Options(
                "a database with /, + or # cannot be part of an MQTT topic".to_owned(),
            ));
        }
        Ok(())
    }
}

/// A number from 1 to `limit`.
pub fn up_to(limit: u64) -> impl Fn(&str) -> Result<usize, String> + Clone + Send + Sync + 'static {
    move |text| match text.replace('_', "").parse::<u64>() {
        Ok(number) if (1..=limit).contains(&number) => usize::try_from(number).map_err(|e| e.to_string()),
        _ => Err(format!("give a whole number from 1 to {limit}")),
    }
}

/// `key=value`, neither empty.
pub fn parse_tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("give key=value".to_owned()),
    }
}
