//! The one error type of this crate. It knows nothing of HTTP: the surface maps [`ErrorKind`] to its codes.

use std::io;
use std::path::PathBuf;

use crate::model::{NameError, PropertyError};

/// What a caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is wrong: sending it again changes nothing.
    Invalid,
    /// A count or size limit is reached.
    LimitExceeded,
    /// What was asked for does not exist.
    NotFound,
    /// The request is at odds with what is there already.
    Conflict,
    /// The storage cannot take writes now (disk full, failed fsync, closing).
    Unavailable,
    /// Stored bytes are not what was written.
    Damaged,
    /// A fault of the engine or of the machine.
    Internal,
}

/// An error of the storage engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name was refused.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A property was refused.
    #[error(transparent)]
    Property(#[from] PropertyError),
    /// The request is at odds with what is there already.
    #[error("{0}")]
    Conflict(String),
    /// A count or size limit is reached.
    #[error("{0}")]
    LimitExceeded(String),
    /// What was asked for does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The request is wrong.
    #[error("{0}")]
    Invalid(String),
    /// Input or output failed at a path.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The log failed to sync once and takes no more writes (LOG-4).
    #[error("the log takes no writes since a sync failed: {0}; restart after the disk is mended")]
    LogPoisoned(String),
    /// Stored bytes are damaged.
    #[error("{0}")]
    Damaged(String),
    /// The engine is closing.
    #[error("the engine is closing")]
    Closing,
    /// Arrow or Parquet failed.
    #[error("columns: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    /// Parquet failed.
    #[error("parquet: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// The object store failed.
    #[error("object store: {0}")]
    ObjectStore(#[from] object_store::Error),
    /// The Delta table log failed.
    #[error("delta log: {0}")]
    Delta(#[from] Box<deltalake_core::DeltaTableError>),
    /// A fault of the engine.
    #[error("{0}")]
    Internal(String),
}

/// The result of a storage operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Name(_) | Self::Property(_) | Self::Invalid(_) => ErrorKind::Invalid,
            Self::LimitExceeded(_) => ErrorKind::LimitExceeded,
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Conflict(_) => ErrorKind::Conflict,
            Self::LogPoisoned(_) | Self::Closing => ErrorKind::Unavailable,
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => ErrorKind::Unavailable,
            Self::Damaged(_) => ErrorKind::Damaged,
            Self::Io { .. }
            | Self::Arrow(_)
            | Self::Parquet(_)
            | Self::ObjectStore(_)
            | Self::Delta(_)
            | Self::Internal(_) => ErrorKind::Internal,
        }
    }

    /// The operating system's kind of an input or output error; `None` for other errors.
    #[must_use]
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Io { source, .. } => Some(source.kind()),
            _ => None,
        }
    }

    /// Wraps an input or output error with what was being done, and where.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

impl From<deltalake_core::DeltaTableError> for Error {
    fn from(error: deltalake_core::DeltaTableError) -> Self {
        Self::Delta(Box::new(error))
    }
}
