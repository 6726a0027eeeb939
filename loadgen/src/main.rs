//! The binary: options in, exit code out.

use clap::Parser;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = loadgen::cli::Cli::parse();
    match loadgen::cli::run(cli).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(loadgen::cli::EXIT_DIFFERENT),
        Err(error) => {
            loadgen::terminal::failure(&error);
            ExitCode::from(loadgen::cli::EXIT_ERROR)
        }
    }
}
