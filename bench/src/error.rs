//! Why a benchmark could not be set up or run.

/// What failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine gave no folder, file, thread or process.
    #[error("the machine refused: {0}")]
    Start(#[from] std::io::Error),
    /// The storage engine failed.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// A file is not what another program could read.
    #[error(transparent)]
    Parquet(#[from] parquet::errors::ParquetError),
    /// The data's names are not what storage takes.
    #[error(transparent)]
    Name(#[from] storage::model::NameError),
    /// A body was not written.
    #[error(transparent)]
    Write(#[from] ingest::intake::WriteError),
    /// The data holds lines that the intake refuses.
    #[error("line {number} of a body was refused: {line:?}")]
    Refused {
        /// The line's number in its body, from 1.
        number: usize,
        /// The line.
        line: String,
    },
    /// A query failed.
    #[error(transparent)]
    Query(#[from] query::Error),
    /// What was measured is not what is promised.
    #[error("not as promised: {0}")]
    Broken(String),
    /// A server or its client cannot be run, or did not do what it was asked for.
    #[error("{0}")]
    Peer(String),
    /// A server could not be asked.
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    /// A connection's task panicked.
    #[error("a connection ended badly: {0}")]
    Connection(#[from] tokio::task::JoinError),
}

/// What may fail with [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
