//! `busbar backup`: asks the running engine for a backup, or takes one of a stopped engine; `busbar backup list`.
//!
//! Invariant: the exit code is 0 only when the backup is whole at its place.

use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use serde::Deserialize;
use storage::backup::{Counts, Destination, Manifest, Place, Progress, back_up};
use storage::engine::{Engine, EngineConfig, is_in_use};
use storage::{quarantine, stream};

use super::asked::{self, Asked};
use super::progress::{Shown, line, mebibytes, watched};
use super::{Failure, load, print, with_settings};
use crate::app;
use crate::config::Config;
use crate::health_client;

const ABOUT: &str = "Back up everything of one moment: log, tables, registry, rules and alerts. A running engine is asked \
                     to, the data directory of a stopped one is read here. Data files that the place has are not copied \
                     again";

/// What the engine says of a backup.
#[derive(Deserialize)]
struct Job {
    status: String,
    stage: String,
    files: u64,
    files_done: u64,
    bytes: u64,
    bytes_done: u64,
    bytes_copied: u64,
    backup: Option<String>,
    error: Option<String>,
}

pub(super) fn command() -> Command {
    let place = "A folder, or s3://BUCKET/PREFIX on the server of [store]";
    let to = Arg::new("to").long("to").value_name("DEST").required(true).help(place);
    let keep = Arg::new("keep")
        .long("keep")
        .value_name("COUNT")
        .value_parser(clap::value_parser!(u32).range(1..))
        .help("Afterwards drop all but the newest COUNT backups [default: keep all]");
    let of = Arg::new("place").value_name("DEST").required(true).help(place);
    let list = with_settings(Command::new("list").about("List the backups at a place, oldest first")).arg(of);
    with_settings(Command::new("backup").about(ABOUT))
        .args([to, keep])
        .args(asked::arguments())
        .subcommand(list)
        .subcommand_negates_reqs(true)
        .args_conflicts_with_subcommands(true)
}

pub(super) fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let Some(("list", matches)) = matches.subcommand() {
        let place = matches.get_one::<String>("place").map_or("", String::as_str);
        return runtime.block_on(list(&load(matches)?, place));
    }
    let config = load(matches)?;
    let to = absolute(matches.get_one::<String>("to").map_or("", String::as_str))?;
    let keep = matches.get_one::<u32>("keep").map(|keep| *keep as usize);
    let named = Asked::named(matches)?;
    let running = is_in_use(&config.data_dir).then(|| health_client::reachable(config.http.addr).to_string());
    match named.or(running) {
        Some(host) => runtime.block_on(ask(&Asked::new(host, matches)?, &to, keep)),
        None => runtime.block_on(take(&config, &to, keep)),
    }
}

/// The place as the engine sees it: it was started in another folder.
pub(super) fn absolute(to: &str) -> Result<String, Failure> {
    if to.contains("://") {
        return Ok(to.to_owned());
    }
    let path = std::path::absolute(to)?;
    path.into_os_string().into_string().map_err(|path| format!("{path:?} is not UTF-8").into())
}

/// Asks a running engine for a backup.
async fn ask(engine: &Asked, to: &str, keep: Option<usize>) -> Result<ExitCode, Failure> {
    let body = serde_json::json!({ "to": to, "keep": keep });
    let mut shown = Shown::default();
    let show = |job: &serde_json::Value| {
        let line = Job::deserialize(job).map(|job| job.line());
        shown.show(line.unwrap_or_default());
    };
    let job: Job = serde_json::from_value(engine.job("/api/v1/backups", &body, show).await?)?;
    match job.backup {
        Some(backup) => print(&format!("{backup}\n")),
        None => Err(format!("there is no backup: {}", job.error.unwrap_or(job.status)).into()),
    }
}

impl Job {
    fn line(&self) -> String {
        let Self { files, files_done, bytes, bytes_done, bytes_copied, .. } = *self;
        let counts = Counts { stage: "", files, files_done, bytes, bytes_done, bytes_copied };
        format!("{}{}", self.stage, line(&counts))
    }
}

/// Takes a backup of a data directory that nobody has open.
async fn take(config: &Config, to: &str, keep: Option<usize>) -> Result<ExitCode, Failure> {
    if !config.data_dir.is_dir() {
        return Err(format!("{} is not a folder; give --data-dir or --url", config.data_dir.display()).into());
    }
    let (place, data_dir) = (config.backup_place(to)?, config.data_dir.clone());
    let destination = Destination::open(&place, &data_dir)?;
    let settings = EngineConfig { background: false, ..app::engine_config(config, &config.memory_plan()?)? };
    let (engine, _committer) = Engine::open(settings).await?;
    let progress = Progress::default();
    let streams = async {
        let mut streams = stream::freeze_all(&data_dir.join("alerting"))?;
        streams.extend(stream::freeze_all(&data_dir.join(quarantine::FOLDER))?);
        Ok(streams)
    };
    let manifest = watched(&progress, Box::pin(back_up(&engine, streams, &destination, &progress))).await?;
    if let Some(keep) = keep {
        destination.keep_newest(keep).await?;
    }
    print(&format!("{}\n", manifest.id))
}

async fn list(config: &Config, place: &str) -> Result<ExitCode, Failure> {
    let place: Place = config.backup_place(place)?;
    let destination = Destination::open_to_read(&place)?;
    let mut lines = String::new();
    for id in destination.ids().await? {
        let line = match destination.manifest(&id).await {
            Ok(manifest) => described(&manifest),
            Err(error) => format!("{id}  {error}"),
        };
        lines.push_str(&line);
        lines.push('\n');
    }
    print(&lines)
}

fn described(manifest: &Manifest) -> String {
    let time = manifest.time().to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let (files, bytes) = (manifest.files.len(), mebibytes(manifest.bytes()));
    format!("{}  {time}  {files} files  {bytes} MiB", manifest.id)
}

#[cfg(test)]
mod tests {
    use super::absolute;

    #[test]
    fn a_place_is_named_from_the_root() {
        assert_eq!(absolute("s3://bucket/a").unwrap(), "s3://bucket/a");
        assert_eq!(absolute("/a/b").unwrap(), "/a/b");
        assert!(absolute("b").unwrap().starts_with('/'));
    }
}
