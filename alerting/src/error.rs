//! The one error type of this crate. It knows nothing of HTTP: the surface maps [`ErrorKind`] to its codes.

use crate::rule::Faults;

/// What a caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is wrong: sending it again changes nothing.
    Invalid,
    /// A count or size limit is reached.
    LimitExceeded,
    /// What was asked for does not exist.
    NotFound,
    /// Another version is stored than the one that the caller changed.
    Conflict,
    /// The rule belongs to the configuration file.
    ReadOnly,
    /// Alerting is stopped, or its streams take no records now.
    Unavailable,
    /// Stored bytes are not what was written.
    Damaged,
    /// A fault of the engine or of the machine.
    Internal,
}

/// An error of alerting.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rule was refused, with every fault that it has.
    #[error("{0}")]
    Rule(#[from] Faults),
    /// A configuration was refused.
    #[error("{0}")]
    Invalid(String),
    /// A count limit is reached.
    #[error("{0}")]
    LimitExceeded(String),
    /// There is no such rule.
    #[error("there is no rule {0:?}")]
    UnknownRule(String),
    /// The rule was changed by someone else.
    #[error("the rule is at version {}; read it again and repeat the change", current.map_or("none".into(), |v| v.to_string()))]
    Conflict {
        /// The version that is stored; `None` when the rule does not exist.
        current: Option<u64>,
    },
    /// The rule comes from the configuration.
    #[error("the rule {0:?} comes from the configuration file; change it there")]
    ReadOnly(String),
    /// Alerting is stopping or stopped.
    #[error("alerting is stopped")]
    Stopped,
    /// Storage failed.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// A stored record cannot be understood.
    #[error("{0}")]
    Damaged(String),
    /// A column could not be built.
    #[error("columns: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    /// A fault of the engine or of the machine.
    #[error("{0}")]
    Internal(String),
}

/// The result of an alerting operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Rule(_) | Self::Invalid(_) => ErrorKind::Invalid,
            Self::LimitExceeded(_) => ErrorKind::LimitExceeded,
            Self::UnknownRule(_) => ErrorKind::NotFound,
            Self::Conflict { .. } => ErrorKind::Conflict,
            Self::ReadOnly(_) => ErrorKind::ReadOnly,
            Self::Stopped => ErrorKind::Unavailable,
            Self::Storage(error) => match error.kind() {
                storage::ErrorKind::Unavailable => ErrorKind::Unavailable,
                storage::ErrorKind::Damaged => ErrorKind::Damaged,
                storage::ErrorKind::LimitExceeded => ErrorKind::LimitExceeded,
                _ => ErrorKind::Internal,
            },
            Self::Damaged(_) => ErrorKind::Damaged,
            Self::Arrow(_) | Self::Internal(_) => ErrorKind::Internal,
        }
    }
}
