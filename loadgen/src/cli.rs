//! The command line.

use crate::error::LoadError;
use crate::fleet::{self, FleetArgs, scenario};
use crate::replay::{self, ReplayArgs};
use crate::target::up_to;
use crate::webhook::{self, WebhookArgs};
use clap::{Args, Parser, Subcommand};

/// Rows are missing, double, different, refused or not acknowledged.
pub const EXIT_DIFFERENT: u8 = 1;
/// Options, input or network prevented the run.
pub const EXIT_ERROR: u8 = 2;

/// More would be a mistake in typing.
const MAX_THREADS: u64 = 1_024;

const EXAMPLES: &str = "\
Examples:
  Replay one recorded office room into the database 'office' and compare what is stored with the files:
    loadgen replay data/occupancy/*.txt --db office --table room --tag room=office

  The same over MQTT, read back over HTTP:
    loadgen replay data/occupancy/*.txt --mqtt 127.0.0.1:1883 --db office_mqtt --table room --tag room=office

  120 devices in 2 buildings, 1,000 rows a second for half a minute:
    loadgen fleet --rate 1000 --duration 30s

  How fast can it go? 3 million rows of 1,000 series over 2 connections, encoded beforehand:
    loadgen fleet --shape four-fields --series 1000 --rows 3000000 --rate 0 --connections 2 --prepare

  See what an alert's webhook sends, and how it retries after two failures:
    loadgen webhook --listen 127.0.0.1:9099 --fail-first 2

Exit code: 0 = everything acknowledged and found again, 1 = rows missing, double, different, refused or
not acknowledged, 2 = the run could not be made.";

/// Sends recorded or simulated telemetry as real clients would, and reads back what was stored.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, about, after_help = EXAMPLES, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// Threads that send; one is enough for bodies that were encoded beforehand [default: one for each processor].
    #[arg(long, global = true, value_parser = up_to(MAX_THREADS), value_name = "N")]
    pub threads: Option<usize>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send recorded data from CSV files, and compare the table with the files.
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(Box<ReplayArgs>),
    /// Send the values of simulated buildings at a rate, and count what was stored.
    #[command(after_help = FLEET_EXAMPLES)]
    Fleet(Box<FleetArgs>),
    /// Print a scenario that is known by name, to begin one of your own with.
    Scenario(ScenarioArgs),
    /// Receive webhooks: print each as one line of JSON, count repeated Idempotency-Keys.
    #[command(after_help = WEBHOOK_EXAMPLES)]
    Webhook(WebhookArgs),
}

/// Options of `loadgen scenario`.
#[derive(Debug, Args)]
pub struct ScenarioArgs {
    /// Its name; without one the names are listed, each with what it shows.
    pub name: Option<String>,
}

const REPLAY_EXAMPLES: &str = "\
Equal points (same tags and time) in the input are one row; the later value wins, field by field.

Examples:
  Every numeric column becomes a float field under its own name:
    loadgen replay data/nab/occupancy_6005.csv --db nab --table traffic --tag sensor=6005

  Choose, rename and type the fields; take a tag from a column; an hour of recording in a minute:
    loadgen replay room.csv --field temp=Temperature --field people=Occupancy:integer \\
        --tag-column room=Room --time-column date --time-zone Europe/Berlin --speed 60

  Times as numbers, values between semicolons, two connections, compressed bodies of 1,000 lines:
    loadgen replay log.csv --time-column t --time-format ms --delimiter ';' \\
        --connections 2 --batch 1000 --gzip";

const FLEET_EXAMPLES: &str = "\
Paced runs are open loop: a batch is due when its last row has happened, and its latency counts from then,
so a server that stalls shows it. With --rate 0 each connection sends as soon as it is free.

Examples:
  One building of 5 floors with 8 rooms of 5 devices over MQTT, one line per publish:
    loadgen fleet --buildings 1 --floors 5 --rooms 8 --rate 500 --protocol mqtt --connections 4

  A week of history for 1,000 devices, one row per device and minute:
    loadgen fleet --series 1000 --rate 0 --start 2026-01-05T00:00:00Z --interval 1m --rows 10080000

  A million devices, 100,000 rows a second, that all reconnect four times; with plots over time:
    loadgen fleet --shape four-fields --series 1000000 --rate 100000 --connections 8 \\
        --scenario reconnect-storm --html storm.html

  A measurement without the cost of encoding:
    loadgen fleet --shape four-fields --series 1000 --rows 3000000 --rate 0 --connections 2 --prepare \\
        --json result.json";

const WEBHOOK_EXAMPLES: &str = "\
Each line holds: at, method, path, idempotency_key, status (what was answered), repeat (how often this key
was accepted before), body.

Examples:
  loadgen webhook --output alerts.jsonl
  loadgen webhook --listen 127.0.0.1:9099 --fail-first 3";

/// Runs the command. True when all is well.
pub async fn run(cli: Cli) -> Result<bool, LoadError> {
    match cli.command {
        Command::Replay(args) => replay::run(*args).await,
        Command::Fleet(args) => fleet::run(*args).await,
        Command::Scenario(args) => scenario::print(args.name.as_deref()),
        Command::Webhook(args) => webhook::run(args).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
