//! `bench`: measurements that are no comparison of stages but a figure by themselves. See `bench --help`.

use std::process::ExitCode;

use bench::backfill::{self, Load, Way};
use bench::files::{self, Set};
use bench::{flushes, peers, tables};
use clap::{Parser, Subcommand};

/// Measures Busbar's storage on fixed data.
#[derive(Debug, Parser)]
#[command(name = "bench", version, about, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a set of rows, flushing as often as an engine does, merge all files, and print what it cost and how large
    /// they are.
    ///
    /// Processor seconds are those of the whole process, per million rows; nothing else runs meanwhile.
    Files {
        /// The sets to measure, one after the other.
        #[arg(long, value_enum, default_values_t = [Set::Few, Set::Many, Set::Million])]
        set: Vec<Set>,
        /// Declare the scales of the floats, so that files hold decimals.
        #[arg(long)]
        scales: bool,
    },
    /// Write years of hourly rows of many series as a running engine takes them, and print what it cost and how many
    /// files there are.
    ///
    /// Run it once for each way: memory is that of the process.
    Backfill {
        /// In which order the rows come.
        #[arg(long, value_enum, default_value_t = Way::Series)]
        way: Way,
        /// Number of series.
        #[arg(long, default_value_t = 1_000)]
        series: u32,
        /// Days of 24 rows of each series.
        #[arg(long, default_value_t = 1_826)]
        days: u32,
        /// Stage a file for each day with every flush, however few its rows are.
        #[arg(long)]
        without_runs: bool,
    },
    /// Write a row a second to many tables, flushing every ten minutes of them, and print what it cost.
    Tables {
        /// Number of tables.
        #[arg(long, default_value_t = 2_000)]
        tables: u32,
        /// Number of flushes.
        #[arg(long, default_value_t = 9)]
        flushes: u32,
    },
    /// Send the same rows to Busbar, VictoriaMetrics and InfluxDB, one after the other, and print what each of them took.
    ///
    /// Needs release builds of this workspace's `busbar` and `loadgen` beside this program, and the others' programs.
    /// Everything listens on loopback and lies in the temporary folder; set TMPDIR to a folder on the disk that matters.
    /// All sets take hours.
    Peers(peers::Options),
    /// Flush one table thousands of times, merging as a running engine does, and print what queries pay for it.
    ///
    /// Ends with 1 when rows are missing, or files of a day or of the table's log are more than is promised. Times are
    /// printed beside their limits.
    Flushes {
        /// Number of flushes.
        #[arg(long, default_value_t = 5_000)]
        flushes: u32,
        /// So many of them are a day of rows.
        #[arg(long, default_value_t = 144, value_parser = clap::value_parser!(u32).range(1..=1_440))]
        flushes_per_day: u32,
        /// Number of devices, with a row a minute each.
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
        devices: u32,
    },
}

#[expect(clippy::print_stderr, reason = "the error is for people")]
fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Files { set, scales } => set.into_iter().try_for_each(|set| files::measure(set, scales)),
        Command::Backfill { way, series, days, without_runs } => {
            backfill::measure(Load { way, series, days, runs: !without_runs })
        }
        Command::Tables { tables, flushes } => tables::measure(tables, flushes),
        Command::Peers(options) => peers::measure(&options),
        Command::Flushes { flushes, flushes_per_day, devices } => {
            flushes::measure(flushes::Load { flushes, flushes_per_day, devices })
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}
