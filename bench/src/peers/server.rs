//! The servers that are compared: how each is started, told to write what it holds, and asked for its version.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde::Serialize;
use storage::clock;

use super::process::Process;
use crate::error::{Error, Result};

/// How long a server may take until it answers.
const STARTING: Duration = Duration::from_secs(60);

/// How often it is asked.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// The database that rows are written to.
const DATABASE: &str = "loadgen";

/// A server that takes line protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Server {
    /// This engine, with its defaults.
    Busbar,
    /// VictoriaMetrics, single node: no log, so what was acknowledged may be lost.
    VictoriaMetrics,
    /// InfluxDB 1: syncs its log before it answers.
    Influxdb,
}

/// A server that runs, in a folder of its own.
#[derive(Debug)]
pub(super) struct Running {
    server: Server,
    pub(super) process: Process,
    url: String,
    client: Client,
}

impl Server {
    /// Its name in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Busbar => "Busbar",
            Self::VictoriaMetrics => "VictoriaMetrics",
            Self::Influxdb => "InfluxDB",
        }
    }

    /// The name of its program.
    pub(super) fn program(self) -> &'static str {
        match self {
            Self::Busbar => "busbar",
            Self::VictoriaMetrics => "victoria-metrics",
            Self::Influxdb => "influxd",
        }
    }

    /// What is set apart from its defaults, and why.
    pub(super) fn settings(self) -> &'static str {
        match self {
            Self::Busbar => "defaults",
            Self::VictoriaMetrics => "defaults; -retentionPeriod=100y, so that rows of any time are taken",
            Self::Influxdb => {
                "defaults; index-version = tsi1 and max-series-per-database = 0, so that it can hold a million series; \
                 no reporting, no monitoring of itself, no log of requests"
            }
        }
    }

    /// What the program says of its version.
    pub(super) fn version(self, program: &Path) -> Result<String> {
        let argument = match self {
            Self::Busbar => "--version",
            Self::VictoriaMetrics => "-version",
            Self::Influxdb => "version",
        };
        let said =
            Command::new(program).arg(argument).output().map_err(|error| cannot_run(program, &error))?;
        let text = [said.stdout, said.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let first = text.lines().map(str::trim).find(|line| !line.is_empty());
        Ok(first.unwrap_or("it does not tell its version").to_owned())
    }

    /// Starts it in `folder`, and waits until it answers.
    pub(super) async fn start(self, program: &Path, folder: &Path) -> Result<Running> {
        let port = free_port()?;
        let mut command = self.command(program, folder, port)?;
        let log = folder.join("server.log");
        let process = Process::start(&mut command, &log).map_err(|error| match error {
            Error::Start(error) => cannot_run(program, &error),
            other => other,
        })?;
        let client = Client::builder().no_proxy().build()?;
        let running = Running { server: self, process, url: format!("http://127.0.0.1:{port}"), client };
        running.until_ready(&log).await?;
        if self == Self::Influxdb {
            let statement = format!("CREATE DATABASE {DATABASE}");
            running.call(running.client.post(running.at("/query")).query(&[("q", statement)])).await?;
        }
        Ok(running)
    }

    fn command(self, program: &Path, folder: &Path, port: u16) -> Result<Command> {
        let mut command = Command::new(program);
        let address = format!("127.0.0.1:{port}");
        match self {
            Self::Busbar => {
                command.arg("serve").arg("--data-dir").arg(folder.join("data"));
                command.args(["--http-addr", &address, "--mqtt-addr", "127.0.0.1:0"]);
                // What the shell has set for another one is not for this one.
                for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BUSBAR")) {
                    command.env_remove(name);
                }
            }
            Self::VictoriaMetrics => {
                let data = folder.join("data");
                command.arg(format!("-storageDataPath={}", data.display()));
                command.args([format!("-httpListenAddr={address}"), "-retentionPeriod=100y".to_owned()]);
            }
            Self::Influxdb => {
                let file = folder.join("influxdb.conf");
                std::fs::write(&file, influxdb_settings(folder, &address)?)?;
                command.arg("-config").arg(file);
            }
        }
        Ok(command)
    }

    fn ready_path(self) -> &'static str {
        match self {
            Self::Busbar => "/ready",
            Self::VictoriaMetrics => "/health",
            Self::Influxdb => "/ping",
        }
    }
}

impl Running {
    /// Its base address.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Asks it to write what it has in memory, as far as it can be asked.
    pub(super) async fn flush(&self) -> Result<()> {
        match self.server {
            Server::Busbar => self.call(self.client.post(self.at("/api/v1/flush"))).await,
            Server::VictoriaMetrics => self.call(self.client.get(self.at("/internal/force_flush"))).await,
            Server::Influxdb => Ok(()),
        }
    }

    async fn until_ready(&self, log: &Path) -> Result<()> {
        let begun = clock::instant();
        loop {
            let answer = self.client.get(self.at(self.server.ready_path())).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            if self.process.usage().has_ended()? || clock::instant().duration_since(begun) > STARTING {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                let last: Vec<&str> = said.lines().rev().take(5).collect();
                let name = self.server.name();
                return Err(Error::Peer(format!("{name} does not answer; it said last: {last:?}")));
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    async fn call(&self, request: reqwest::RequestBuilder) -> Result<()> {
        let answer = request.send().await?;
        let status = answer.status();
        if status.is_success() || status == StatusCode::NO_CONTENT {
            return Ok(());
        }
        let text = answer.text().await.unwrap_or_default();
        Err(Error::Peer(format!("{} answered {status}: {}", self.server.name(), text.trim())))
    }
}

/// The configuration of InfluxDB, everything in `folder`.
fn influxdb_settings(folder: &Path, address: &str) -> Result<String> {
    let place = |name: &str| -> PathBuf { folder.join("data").join(name) };
    let rpc = format!("127.0.0.1:{}", free_port()?);
    Ok(format!(
        "reporting-disabled = true\nbind-address = \"{rpc}\"\n\
         [meta]\ndir = {:?}\n\
         [data]\ndir = {:?}\nwal-dir = {:?}\nindex-version = \"tsi1\"\nmax-series-per-database = 0\n\
         [http]\nbind-address = \"{address}\"\nlog-enabled = false\n\
         [monitor]\nstore-enabled = false\n",
        place("meta"),
        place("data"),
        place("wal"),
    ))
}

/// A port of this machine that nothing listens on.
fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn cannot_run(program: &Path, error: &std::io::Error) -> Error {
    Error::Peer(format!("{} cannot be run: {error}; see `bench peers --help`", program.display()))
}
