//! `busbar quarantine`: asks the running engine for lines that it could not store, to try them again or to drop them.
//!
//! Invariant: the exit code of a replay is 0 only when every line that it tried is stored.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde::Deserialize;
use url::form_urlencoded::Serializer;

use super::asked::{Asked, refusal, token_arg, url_arg};
use super::{Failure, load, print, with_settings};
use crate::health_client;

const ABOUT: &str = "Lines that could not be stored because of their types, names or bounds: see them, try them again \
                     when the cause is gone, or drop them";

/// Lines of one page of the list.
const PAGE_LINES: usize = 100;

/// Lines that are tried again at a time: an answer must not take seconds.
const REPLAYED_LINES: usize = 1_000;

#[derive(Deserialize)]
struct Page {
    items: Vec<Line>,
    next: Option<u64>,
}

#[derive(Deserialize)]
struct Line {
    id: u64,
    received_at: String,
    database: String,
    reason: String,
    line: String,
}

#[derive(Deserialize)]
struct Replayed {
    stored: usize,
    refused: usize,
    next: Option<u64>,
}

#[derive(Deserialize)]
struct Dropped {
    dropped: usize,
}

pub(super) fn command() -> Command {
    let id = || {
        Arg::new("id")
            .value_name("ID")
            .value_parser(clap::value_parser!(u64))
            .help("The id that an answer named")
    };
    let all = |what: &'static str| Arg::new("all").long("all").action(ArgAction::SetTrue).help(what);
    let one_or_many = |command: Command, what: &'static str| {
        let filters = ["database", "reason", "since"];
        with_filters(command)
            .args([id(), all(what)])
            .group(
                clap::ArgGroup::new("which").args(["id", "all"]).args(filters).multiple(true).required(true),
            )
            .mut_arg("id", |id| id.conflicts_with_all(["all", "database", "reason", "since"]))
    };
    let list = with_filters(
        Command::new("list").about("List lines, oldest first: id, time, database, reason, line"),
    );
    let show = asking(Command::new("show").about("Print a line with all that is known of it, as JSON"));
    let replay = Command::new("replay").about("Try lines again; those that are stored leave the quarantine");
    let drop = Command::new("drop").about("Drop lines for good");
    Command::new("quarantine").about(ABOUT).subcommand_required(true).subcommands([
        list,
        show.arg(id().required(true)),
        one_or_many(replay, "Try all lines"),
        one_or_many(drop, "Drop all lines"),
    ])
}

fn asking(command: Command) -> Command {
    let url = "The running engine, such as http://127.0.0.1:8181 [default: where the configuration says it listens]";
    with_settings(command).args([url_arg(url), token_arg()])
}

fn with_filters(command: Command) -> Command {
    let filter = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    asking(command).args([
        filter("database", "NAME", "Only lines of this database"),
        filter("reason", "WORD", "Only lines refused for this, such as type_conflict"),
        filter("since", "TIME", "Only lines that came then or later, such as 2026-01-31T08:00:00Z"),
    ])
}

pub(super) fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let Some((what, matches)) = matches.subcommand() else { return Ok(ExitCode::from(2)) };
    let host = match Asked::named(matches)? {
        Some(host) => host,
        None => health_client::reachable(load(matches)?.http.addr).to_string(),
    };
    let engine = Asked::new(host, matches)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match what {
            "list" => list(&engine, matches).await,
            "show" => print(&format!("{}\n", pretty(&ask(&engine, "GET", &path(matches), None).await?)?)),
            "replay" => replay(&engine, matches).await,
            _ => forget(&engine, matches).await,
        }
    })
}

async fn list(engine: &Asked, matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let mut cursor = None;
    loop {
        let mut query = filters(matches);
        query.append_pair("limit", &PAGE_LINES.to_string());
        if let Some(cursor) = cursor {
            query.append_pair("cursor", &u64::to_string(&cursor));
        }
        let answer = ask(engine, "GET", &format!("/api/v1/quarantine?{}", query.finish()), None).await?;
        let page: Page = serde_json::from_str(&answer)?;
        let mut out = io::stdout().lock();
        for Line { id, received_at, database, reason, line } in &page.items {
            // A line may hold anything; a terminal must not obey it.
            writeln!(out, "{id}  {received_at}  {database}  {reason}  {}", line.escape_debug())?;
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

async fn replay(engine: &Asked, matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let (mut stored, mut refused, mut cursor) = (0, 0, None);
    loop {
        let mut body = serde_json::Map::new();
        for name in ["database", "reason", "since"] {
            let value = matches.get_one::<String>(name);
            body.extend(value.map(|value| (name.to_owned(), value.clone().into())));
        }
        body.insert("limit".to_owned(), REPLAYED_LINES.into());
        body.extend(cursor.map(|cursor: u64| ("cursor".to_owned(), cursor.into())));
        let (path, body) = match matches.get_one::<u64>("id") {
            Some(id) => (format!("/api/v1/quarantine/{id}/replay"), "{}".to_owned()),
            None => ("/api/v1/quarantine/replay".to_owned(), serde_json::to_string(&body)?),
        };
        let replayed: Replayed = serde_json::from_str(&ask(engine, "POST", &path, Some(&body)).await?)?;
        stored += replayed.stored;
        refused += replayed.refused;
        cursor = replayed.next;
        if cursor.is_none() {
            print(&format!("{stored} stored, {refused} refused again\n"))?;
            return Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
}

async fn forget(engine: &Asked, matches: &ArgMatches) -> Result<ExitCode, Failure> {
    if matches.contains_id("id") {
        ask(engine, "DELETE", &path(matches), None).await?;
        return print("1 dropped\n");
    }
    let mut query = filters(matches);
    query.append_pair("all", "true");
    let answer = ask(engine, "DELETE", &format!("/api/v1/quarantine?{}", query.finish()), None).await?;
    let Dropped { dropped } = serde_json::from_str(&answer)?;
    print(&format!("{dropped} dropped\n"))
}

fn filters(matches: &ArgMatches) -> Serializer<'static, String> {
    let mut query = Serializer::new(String::new());
    for name in ["database", "reason", "since"] {
        if let Some(value) = matches.get_one::<String>(name) {
            query.append_pair(name, value);
        }
    }
    query
}

fn path(matches: &ArgMatches) -> String {
    format!("/api/v1/quarantine/{}", matches.get_one::<u64>("id").copied().unwrap_or_default())
}

fn pretty(json: &str) -> Result<String, Failure> {
    Ok(serde_json::to_string_pretty(&serde_json::from_str::<serde_json::Value>(json)?)?)
}

/// The body of an answer that is no refusal.
async fn ask(engine: &Asked, method: &str, path: &str, body: Option<&str>) -> Result<String, Failure> {
    let answer = engine.send(method, path, body).await;
    let answer = answer.map_err(|error| format!("no engine answers at {}: {error}", engine.host))?;
    if matches!(answer.status, 200 | 204) { Ok(answer.body) } else { Err(refusal(&answer)) }
}
