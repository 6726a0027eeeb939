//! `busbar restore`: makes a data directory of a backup.
//!
//! Invariant: nothing that exists is overwritten.

use std::process::ExitCode;

use chrono::DateTime;
use clap::{Arg, ArgMatches, Command};
use storage::backup::{BackupId, Destination, Progress, Target, restore};
use storage::object::StoreSettings;

use super::progress::{mebibytes, watched};
use super::{Failure, load, print, with_settings};
use crate::config::Config;

const ABOUT: &str = "Make an empty data directory what it was at the moment of a backup; the next `busbar serve` takes it \
                     from there";

pub(super) fn command() -> Command {
    let from = Arg::new("from").long("from").value_name("DEST[/ID]").required(true).help(
        "The place of the backups, as `busbar backup --to` has it, and which one [default: the newest]",
    );
    let at = Arg::new("at")
        .long("at")
        .value_name("TIME")
        .help("The newest backup of this time or before, such as 2026-11-26T08:00:00Z");
    with_settings(Command::new("restore").about(ABOUT)).args([from, at])
}

pub(super) fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let config = load(matches)?;
    let (place, id) = split(matches.get_one::<String>("from").map_or("", String::as_str));
    let at = matches.get_one::<String>("at").map(|text| millis(text)).transpose()?;
    if id.is_some() && at.is_some() {
        return Err("--from names one backup: leave --at out".into());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(bring_back(&config, place, id, at))
}

async fn bring_back(
    config: &Config,
    place: &str,
    id: Option<BackupId>,
    at: Option<u64>,
) -> Result<ExitCode, Failure> {
    let destination = Destination::open_to_read(&config.backup_place(place)?)?;
    let manifest = match id {
        Some(id) => destination.manifest(&id).await?,
        None => destination.newest(at).await?,
    };
    let store = StoreSettings { tables: config.table_store()?, ..StoreSettings::default() };
    let target = Target { data_dir: config.data_dir.clone(), store };
    let progress = Progress::default();
    watched(&progress, Box::pin(restore(&destination, &manifest, &target, &progress))).await?;
    print(&format!(
        "restored {} into {}: {} files, {} MiB, as of {}; start it with `busbar serve`\n",
        manifest.id,
        config.data_dir.display(),
        manifest.files.len(),
        mebibytes(manifest.bytes()),
        manifest.time().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
    ))
}

/// The place, and the backup if one is named.
fn split(from: &str) -> (&str, Option<BackupId>) {
    let from = from.trim_end_matches('/');
    // A name alone is one in this folder.
    let (place, last) = from.rsplit_once('/').unwrap_or((".", from));
    match BackupId::parse(last) {
        Some(id) => (place, Some(id)),
        None => (from, None),
    }
}

fn millis(text: &str) -> Result<u64, Failure> {
    let time = DateTime::parse_from_rfc3339(text)
        .map_err(|error| format!("--at {text:?} is not a time such as 2026-11-26T08:00:00Z: {error}"))?;
    u64::try_from(time.timestamp_millis()).map_err(|_| "--at is before 1970".into())
}

#[cfg(test)]
mod tests {
    use super::{millis, split};

    #[test]
    fn a_place_may_end_with_the_name_of_a_backup() {
        let id = "20261126T081640123Z-0000000000000abc";
        let check = |from: &str, place: &str, named: bool| {
            let found = split(from);
            assert_eq!((found.0, found.1.is_some()), (place, named), "{from}");
        };
        check("/backups", "/backups", false);
        check("/backups/", "/backups", false);
        check(&format!("/backups/{id}"), "/backups", true);
        check(&format!("s3://bucket/b/{id}/"), "s3://bucket/b", true);
        check(id, ".", true);
        check("s3://bucket", "s3://bucket", false);
    }

    #[test]
    fn a_time_has_a_zone() {
        assert_eq!(millis("1970-01-01T00:00:01.5Z").unwrap(), 1_500);
        assert_eq!(millis("1970-01-01T01:00:01+01:00").unwrap(), 1_000);
        assert!(millis("1970-01-01T00:00:01").is_err());
    }
}
