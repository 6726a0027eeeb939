//! The binary: options in, exit code out.

use clap::Parser;
use loadgen::cli::{Cli, EXIT_DIFFERENT, EXIT_ERROR, run};
use loadgen::error::LoadError;
use std::process::ExitCode;

fn main() -> ExitCode {
    match in_runtime(Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_DIFFERENT),
        Err(error) => {
            loadgen::terminal::failure(&error);
            ExitCode::from(EXIT_ERROR)
        }
    }
}

fn in_runtime(cli: Cli) -> Result<bool, LoadError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = cli.threads {
        builder.worker_threads(threads);
    }
    let runtime = builder.enable_all().build().map_err(LoadError::Threads)?;
    runtime.block_on(run(cli))
}
