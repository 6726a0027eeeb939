//! `bench`: measurements that are no comparison of stages but a figure by themselves. See `bench --help`.

use std::process::ExitCode;

use bench::files::{self, Set};
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
    /// Write a set of rows, flushing every 64 MiB, merge all files, and print what it cost and how large they are.
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
}

#[expect(clippy::print_stderr, reason = "the error is for people")]
fn main() -> ExitCode {
    let Command::Files { set, scales } = Cli::parse().command;
    match set.into_iter().try_for_each(|set| files::measure(set, scales)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}
