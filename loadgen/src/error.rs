//! What can go wrong, in words for the person at the terminal.

use crate::protocol::line_protocol::EncodeError;

/// Every error of this crate. Rows that the server refused are no error here: the report counts them.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be opened, read or written.
    #[error("cannot use the file {path}: {reason}")]
    File {
        /// The path as given.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// A row of an input file cannot be understood.
    #[error("{path}, line {line}: {reason}")]
    Input {
        /// The path as given.
        path: String,
        /// One-based line of the file.
        line: u64,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The options contradict each other or the input.
    #[error("{0}")]
    Options(String),
    /// A row cannot be written as line protocol.
    #[error("cannot write line protocol: {0}")]
    Encode(#[from] EncodeError),
    /// A connection or listener cannot be set up.
    #[error("{0}")]
    Network(String),
    /// The system gives no threads.
    #[error("cannot start: {0}")]
    Threads(std::io::Error),
    /// Reading back failed, so nothing is known about what is stored.
    #[error("cannot read back: {0}")]
    Query(String),
}

impl LoadError {
    pub(crate) fn file(path: &std::path::Path, reason: impl std::fmt::Display) -> Self {
        Self::File { path: path.display().to_string(), reason: reason.to_string() }
    }
}

/// The message of an error with those of its causes, which HTTP libraries keep apart.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
