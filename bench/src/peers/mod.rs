//! Busbar beside its peers: the same bodies to one server after the other, each in an empty folder on loopback.
//!
//! A *run* is one server, one set of rows and a number of connections: the server starts, takes all rows into tables
//! of another name (that pass is *cold*: memory, files and code are new to it), writes what it holds, and when it does
//! nothing any more takes the same rows again: that pass is measured, until the last acknowledgement, and with the
//! writing of what is left and the end of the process. Client and server share the machine, as they do for all of them.
//!
//! The servers are programs, and so is the client, `loadgen`: bodies are encoded before the clock starts.

mod page;
mod process;
mod profile;
mod report;
mod run;
mod server;
mod set;

use std::path::{Path, PathBuf};

use storage::clock;

pub use self::server::Server;
pub use self::set::Set;

use self::report::{Report, Row};
use self::run::{Case, Programs, profile, run};
use crate::error::{Error, Result};

/// What is compared.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The servers.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Server::Busbar, Server::VictoriaMetrics, Server::Influxdb])]
    pub server: Vec<Server>,

    /// The sets of rows.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Set::Few, Set::Many, Set::Million, Set::Cpu, Set::FewGzip])]
    pub set: Vec<Set>,

    /// Connections [default: 1, 2 and 8 for few and many, 8 for small bodies, 2 for the others].
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub connections: Vec<u32>,

    /// Runs of each, of which medians are shown.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub runs: u32,

    /// Also say by stage where Busbar's processor time goes, from a run of its own for each case. Needs `perf`.
    #[arg(long)]
    pub profile: bool,

    /// Send so many times fewer rows: to see whether it works.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub divisor: u64,

    /// Folder of `victoria-metrics` and `influxd` [default: as the shell finds them]. On Debian:
    /// `apt-get download victoria-metrics influxdb`, then `dpkg -x` each into a folder; programs are in its `usr/bin`.
    #[arg(long, value_name = "DIR")]
    pub programs: Option<PathBuf>,

    /// Folder for `peers.md`, `peers.json` and `peers.html`, which has plots.
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
}

/// Makes all runs, tells each as it ends, and prints the report.
///
/// # Errors
/// A program is missing or fails, a row was not acknowledged, the report cannot be written.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "figures for people")]
pub fn measure(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let loadgen = beside("loadgen")?;
    let mut report = Report::new(options.runs);
    for server in &options.server {
        report.add_server(*server, server.version(&program_of(*server, options)?)?);
    }
    let begun = clock::instant();
    let cases = cases(options);
    let runs = cases.len() * options.runs as usize;
    // First, because it may lack what it needs.
    for case in cases.iter().filter(|case| options.profile && case.server == Server::Busbar) {
        let programs = Programs { loadgen: loadgen.clone(), server: program_of(case.server, options)? };
        report.add_profile(*case, runtime.block_on(profile(*case, &programs))?);
    }
    // One case of all servers after the other, so that what the machine does in between hits all of them.
    for round in 0..options.runs {
        for (number, case) in cases.iter().enumerate() {
            let programs = Programs { loadgen: loadgen.clone(), server: program_of(case.server, options)? };
            let outcome = runtime.block_on(run(*case, &programs))?;
            let done = round as usize * cases.len() + number + 1;
            let minutes = clock::instant().duration_since(begun).as_secs() / 60;
            let row = Row::of(*case, outcome);
            eprintln!("{done} of {runs}, {minutes} min: {}", row.line());
            report.add(row);
        }
    }
    let text = report.markdown();
    println!("{text}");
    if let Some(folder) = &options.report {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("peers.md"), text)?;
        std::fs::write(folder.join("peers.json"), report.json()?)?;
        std::fs::write(folder.join("peers.html"), page::html(&report)?)?;
    }
    Ok(())
}

/// What is run, in order: every server of one set and number of connections side by side.
fn cases(options: &Options) -> Vec<Case> {
    let mut cases = Vec::new();
    for set in &options.set {
        let connections =
            if options.connections.is_empty() { set.connections() } else { &options.connections };
        for connections in connections {
            for server in &options.server {
                let (server, set, connections, divisor) = (*server, *set, *connections, options.divisor);
                cases.push(Case { server, set, connections, divisor });
            }
        }
    }
    cases
}

fn program_of(server: Server, options: &Options) -> Result<PathBuf> {
    match (server, &options.programs) {
        (Server::Busbar, _) => beside(server.program()),
        (_, Some(folder)) => Ok(folder.join(server.program())),
        (_, None) => Ok(server.program().into()),
    }
}

/// A program of this workspace, built as this one.
fn beside(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let path = own.parent().unwrap_or(Path::new(".")).join(name);
    if path.exists() {
        return Ok(path);
    }
    let build = "cargo build --release -p api -p loadgen";
    Err(Error::Peer(format!("{} is missing: run `{build}`", path.display())))
}
