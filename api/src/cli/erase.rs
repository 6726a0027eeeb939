//! `busbar erase`: asks the running engine to remove what deletes have hidden from everywhere, and prints what it has done.
//!
//! Invariant: the exit code is 0 only when nothing is left but what stays on purpose, which is printed.

use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde::Deserialize;
use serde_json::{Value, json};

use super::asked::{self, Asked};
use super::backup::absolute;
use super::progress::{Shown, mebibytes};
use super::{Failure, load, print, with_settings};
use crate::health_client;

const ABOUT: &str = "Remove what deletes have hidden from everywhere, now: data files, old versions of tables, the log, last \
                     values, caches. The running engine is asked; the report says of each place what was done, what stays \
                     and why, and what cannot be proven";

/// An erasure, as the engine tells it.
#[derive(Deserialize)]
struct Job {
    status: String,
    place: String,
    error: Option<String>,
    report: Option<Report>,
}

#[derive(Deserialize)]
struct Report {
    complete: bool,
    up_to: u64,
    places: Vec<Place>,
    unproven: Vec<String>,
}

#[derive(Deserialize)]
struct Place {
    place: String,
    looked_at: Amount,
    rewritten: Amount,
    removed: Amount,
    overwritten: Amount,
    kept: Vec<Remnant>,
    left: Vec<Remnant>,
    notes: Vec<String>,
}

#[derive(Deserialize)]
struct Amount {
    files: u64,
    bytes: u64,
}

#[derive(Deserialize)]
struct Remnant {
    what: String,
    why: String,
}

pub(super) fn command() -> Command {
    let database = Arg::new("database").long("database").value_name("NAME").help("[default: all]");
    let table =
        Arg::new("table").long("table").value_name("NAME").requires("database").help("[default: all]");
    let wait = Arg::new("wait")
        .long("wait")
        .value_name("SECONDS")
        .value_parser(clap::value_parser!(u32))
        .help("How long each step waits for running queries and rules [default: 5 s more than a query may take]");
    let backups = Arg::new("backups")
        .long("backups")
        .value_name("DEST")
        .action(ArgAction::Append)
        .help("A place of backups, whose backups the report names; may be given again");
    let json = Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print the report as JSON");
    with_settings(Command::new("erase").about(ABOUT))
        .args([database, table, wait, backups, json])
        .args(asked::arguments())
}

pub(super) fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let engine = match Asked::named(matches)? {
        Some(host) => host,
        None => health_client::reachable(load(matches)?.http.addr).to_string(),
    };
    let engine = Asked::new(engine, matches)?;
    let text = |name: &str| matches.get_one::<String>(name);
    let places = matches.get_many::<String>("backups").unwrap_or_default();
    let places = places.map(|place| absolute(place)).collect::<Result<Vec<_>, _>>()?;
    let body = json!({
        "database": text("database"),
        "table": text("table"),
        "wait_seconds": matches.get_one::<u32>("wait"),
        "backups": places,
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut shown = Shown::default();
    let show = |job: &Value| {
        let place = job.get("place").and_then(Value::as_str).unwrap_or_default();
        shown.show(place.to_owned());
    };
    let answer = runtime.block_on(engine.job("/api/v1/erasures", &body, show))?;
    let job = Job::deserialize(&answer)?;
    let Some(report) = job.report else {
        let why = job.error.unwrap_or(job.status);
        return Err(format!("it ended at {:?}: {why}; run it again", job.place).into());
    };
    if matches.get_flag("json") {
        let report = answer.get("report").unwrap_or(&Value::Null);
        print(&format!("{}\n", serde_json::to_string_pretty(report)?))?;
    } else {
        print(&report.text())?;
    }
    Ok(if report.complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Report {
    /// The report for people.
    fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |line: std::fmt::Arguments<'_>| {
            text.push_str(&line.to_string());
            text.push('\n');
        };
        for place in &self.places {
            line(format_args!("{:<22}{}", place.place, place.summary()));
            place.notes.iter().for_each(|note| line(format_args!("    {note}")));
            place.kept.iter().for_each(|it| line(format_args!("    kept: {}: {}", it.what, it.why)));
            place.left.iter().for_each(|it| line(format_args!("    LEFT: {}: {}", it.what, it.why)));
        }
        line(format_args!("not proven:"));
        self.unproven.iter().for_each(|what| line(format_args!("    {what}")));
        let verdict = match self.complete {
            true => "erased: nothing of what was deleted is left but what is said above to be kept",
            false => "NOT ERASED: something is left, run it again",
        };
        line(format_args!("{verdict} (deletes up to sequence {})", self.up_to));
        text
    }
}

impl Place {
    fn summary(&self) -> String {
        let amounts = [
            ("looked at", &self.looked_at),
            ("rewritten", &self.rewritten),
            ("removed", &self.removed),
            ("overwritten", &self.overwritten),
        ];
        let some = amounts.iter().filter(|(_, amount)| amount.files > 0 || amount.bytes > 0);
        let some = some
            .map(|(what, amount)| format!("{what} {} files, {} MiB", amount.files, mebibytes(amount.bytes)));
        let some: Vec<String> = some.collect();
        if some.is_empty() { "nothing there".to_owned() } else { some.join("; ") }
    }
}

#[cfg(test)]
mod tests {
    use super::Report;

    #[test]
    fn a_report_says_what_is_left_and_that_it_is_not_done() {
        let amount = r#"{"files":0,"bytes":0}"#;
        let place = format!(
            r#"{{"place":"log","looked_at":{{"files":2,"bytes":2097152}},"rewritten":{amount},"removed":{amount},
            "overwritten":{amount},"kept":[],"left":[{{"what":"frames","why":"rules"}}],"notes":["a note"]}}"#
        );
        let report = format!(r#"{{"complete":false,"up_to":7,"places":[{place}],"unproven":["blocks"]}}"#);
        let text = serde_json::from_str::<Report>(&report).unwrap().text();
        for part in ["looked at 2 files, 2.0 MiB", "LEFT: frames: rules", "a note", "NOT ERASED", "blocks"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
