//! The one error type of this crate. It knows nothing of HTTP: the surface maps [`ErrorKind`] to its codes.

use std::time::Duration;

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use parquet::errors::ParquetError;
use storage::object::REMOTE_STORE;

/// What a caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The query is wrong, or not allowed: sending it again changes nothing.
    Invalid,
    /// The database does not exist.
    NotFound,
    /// The query took too long.
    Deadline,
    /// The query needs more memory, or more disk to spill to, than it may have.
    Memory,
    /// Too many queries run and wait: try again later.
    Busy,
    /// The object store with the tables' files does not answer: try again later.
    Unavailable,
    /// A fault of the engine or of the machine.
    Internal,
}

/// An error of a query.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The query is wrong, or not allowed.
    #[error("{0}")]
    Invalid(String),
    /// The database does not exist.
    #[error("database {0:?} does not exist")]
    DatabaseNotFound(String),
    /// The query took too long.
    #[error("the query did not end within {0:?}; ask for less, or raise the deadline")]
    Deadline(Duration),
    /// The query needs more memory than it may have.
    #[error("the query needs more memory than it may have; ask for less, or raise the limit: {0}")]
    Memory(String),
    /// Too many queries run and wait.
    #[error("{running} queries run and {waiting} wait; try again later")]
    Busy {
        /// Queries that may run at one time.
        running: usize,
        /// Queries that may wait.
        waiting: usize,
    },
    /// The object store does not answer.
    #[error("the query needs files of the object store, which does not answer; try again later")]
    StoreUnavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Stored bytes are not what was written, so there is no answer.
    #[error("stored data is damaged: {0}")]
    Damaged(String),
    /// A fault of the engine or of the machine. What happened is in the source, for the log and not for the
    /// client.
    #[error("the query failed inside the engine")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The result of a query operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid(_) => ErrorKind::Invalid,
            Self::DatabaseNotFound(_) => ErrorKind::NotFound,
            Self::Deadline(_) => ErrorKind::Deadline,
            Self::Memory(_) => ErrorKind::Memory,
            Self::Busy { .. } => ErrorKind::Busy,
            Self::StoreUnavailable(_) => ErrorKind::Unavailable,
            Self::Damaged(_) | Self::Internal(_) => ErrorKind::Internal,
        }
    }

    pub(crate) fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into())
    }
}

impl From<DataFusionError> for Error {
    /// What a client wrote is told to the client; what happened inside is kept for the log.
    fn from(error: DataFusionError) -> Self {
        if let Some(damage) = damage(&error) {
            return Self::Damaged(damage);
        }
        let message = |e: &DataFusionError| e.strip_backtrace();
        if is_unanswered(&error) {
            return Self::StoreUnavailable(error.into());
        }
        match error.find_root() {
            DataFusionError::ArrowError(cause, _) if is_engine_fault(cause) => Self::internal(error),
            DataFusionError::ResourcesExhausted(_) => Self::Memory(message(error.find_root())),
            DataFusionError::SQL(..)
            | DataFusionError::Plan(_)
            | DataFusionError::SchemaError(..)
            | DataFusionError::NotImplemented(_)
            | DataFusionError::Configuration(_)
            | DataFusionError::Execution(_)
            | DataFusionError::Substrait(_)
            | DataFusionError::Collection(_)
            // A cast that does not fit, a division by zero, an overflow.
            | DataFusionError::ArrowError(..) => Self::Invalid(message(&error)),
            _ => Self::internal(error),
        }
    }
}

impl From<ArrowError> for Error {
    /// Errors of encoding an answer, in which nothing is the client's fault.
    fn from(error: ArrowError) -> Self {
        Self::internal(error)
    }
}

impl From<ParquetError> for Error {
    fn from(error: ParquetError) -> Self {
        Self::internal(error)
    }
}

/// Whether a remote store was asked and did not answer, as opposed to one that said no.
fn is_unanswered(error: &DataFusionError) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<object_store::Error>() {
            return matches!(error, object_store::Error::Generic { store, .. } if *store == REMOTE_STORE);
        }
        // DataFusion's reader of footers keeps of an error its text.
        if let Some(ParquetError::General(text)) = error.downcast_ref() {
            return text.contains(&format!("Generic {REMOTE_STORE} error"));
        }
        cause = error.source();
    }
    false
}

/// What storage says is damaged, if that is the cause: it names the file.
fn damage(error: &DataFusionError) -> Option<String> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(storage::Error::Damaged(what)) = error.downcast_ref() {
            return Some(what.clone());
        }
        cause = error.source();
    }
    None
}

/// Whether Arrow failed to read or hold data, as opposed to computing what the query asked for.
fn is_engine_fault(error: &ArrowError) -> bool {
    matches!(
        error,
        ArrowError::ExternalError(_)
            | ArrowError::IoError(..)
            | ArrowError::IpcError(_)
            | ArrowError::MemoryError(_)
            | ArrowError::ParquetError(_)
            | ArrowError::SchemaError(_)
    )
}

#[cfg(test)]
mod tests {
    use datafusion::error::DataFusionError;
    use parquet::errors::ParquetError;
    use storage::object::REMOTE_STORE;

    use super::{Error, ErrorKind};

    #[test]
    fn a_remote_store_that_does_not_answer_is_told_from_a_fault() {
        let lost = |store| object_store::Error::Generic { store, source: "the line is cut".into() };
        let in_a_file = |store| DataFusionError::from(ParquetError::External(Box::new(lost(store))));
        let in_a_footer = |store| DataFusionError::from(ParquetError::General(lost(store).to_string()));
        let cases = [
            (DataFusionError::from(lost(REMOTE_STORE)), ErrorKind::Unavailable),
            (in_a_file(REMOTE_STORE), ErrorKind::Unavailable),
            (in_a_file(REMOTE_STORE).context("a scan"), ErrorKind::Unavailable),
            (in_a_footer(REMOTE_STORE), ErrorKind::Unavailable),
            (in_a_file("LocalFileSystem"), ErrorKind::Internal),
            (in_a_footer("LocalFileSystem"), ErrorKind::Internal),
        ];
        for (error, kind) in cases {
            let text = error.to_string();
            assert_eq!(Error::from(error).kind(), kind, "{text}");
        }
    }

    #[test]
    fn damage_of_a_file_is_named_through_all_layers() {
        let damaged = storage::Error::Damaged("t/a.parquet is damaged".into());
        let stored = object_store::Error::Generic { store: "busbar", source: Box::new(damaged) };
        let read = ParquetError::External(Box::new(stored));
        let error = Error::from(DataFusionError::ParquetError(Box::new(read)));
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert_eq!(error.to_string(), "stored data is damaged: t/a.parquet is damaged");
    }
}
