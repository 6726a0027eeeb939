//! The only module that prints: results to standard output, progress and errors to standard error.
#![expect(clippy::print_stderr, reason = "printing its findings is what a load generator is for")]

use crate::error::LoadError;
use std::io::{IsTerminal, Write};

/// Whether a progress bar makes sense.
#[must_use]
pub fn is_interactive() -> bool {
    std::io::stderr().is_terminal()
}

/// A line of progress on a log.
pub fn progress_line(text: &str) {
    eprintln!("{text}");
}

/// A remark that is no result.
pub fn note(text: &str) {
    eprintln!("loadgen: {text}");
}

/// Why the program ends.
pub fn failure(error: &LoadError) {
    eprintln!("loadgen: error: {error}");
}

/// A result; it is on its way when this returns, also into a pipe. A closed pipe is no error.
pub fn result(text: &str) {
    let mut out = std::io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        eprintln!("loadgen: standard output is closed");
    }
}
