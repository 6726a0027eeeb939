//! What can go wrong in the registry, in terms of buildings and devices.
//!
//! Invariant: a fault of the request says which property it is about and what to do; a fault of the store carries
//! its cause and is never the requester's.

use std::fmt;

use super::entity::Kind;
use super::id::Rev;

/// A result of the registry.
pub type Result<T, E = RegistryError> = std::result::Result<T, E>;

/// The most faults that one error lists. A body has about 20 properties; a hostile one must not make a big answer.
const MAX_FAULTS: usize = 100;

/// Why the registry did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// There is no living row of that name.
    #[error("there is no {} {key}", kind.name())]
    NotFound {
        /// What was looked for.
        kind: Kind,
        /// The id or key that was given.
        key: String,
    },
    /// The change does not fit what is stored.
    #[error("{0}")]
    Conflict(Conflict),
    /// The request is wrong in itself; every fault that was found is listed.
    #[error("{} of the request: {}", if faults.len() == 1 { "a fault" } else { "faults" }, join(faults))]
    Invalid {
        /// All faults, in the order they were found.
        faults: Vec<Fault>,
    },
    /// The row has another revision than the caller expected.
    #[error("{}", precondition(*current))]
    PreconditionFailed {
        /// The revision of the row now; `None` if there is no such row.
        current: Option<Rev>,
    },
    /// An idempotency key came again with another request.
    #[error("this idempotency key was used for another request: take a new key")]
    KeyReused,
    /// Changes were asked for that are not kept any more.
    #[error("changes before {oldest} are gone: read everything again, then follow the changes from there")]
    Expired {
        /// The oldest change that is still kept.
        oldest: i64,
    },
    /// The writer or the readers are taken for too long.
    #[error("the registry is busy: try again in a moment")]
    Busy,
    /// The database failed.
    #[error("the registry database failed: {0}")]
    Storage(#[source] sqlx::Error),
    /// The database holds something that this version cannot read, or its schema cannot be brought up to date.
    #[error("the registry database cannot be used: {0}")]
    Corrupt(String),
}

/// A change that does not fit what is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Another living row has this key.
    Taken {
        /// What has the key.
        kind: Kind,
        /// The properties that make the key.
        key: &'static str,
    },
    /// The row was deleted; its id is not used again.
    Deleted {
        /// What was deleted.
        kind: Kind,
    },
    /// The row has children.
    HasChildren {
        /// How many of what, none of them 0.
        children: Vec<(&'static str, i64)>,
    },
    /// The state machine of devices does not have this move.
    IllegalMove {
        /// The state now.
        from: &'static str,
        /// The state that was asked for.
        to: &'static str,
        /// The states that can be reached from here.
        legal: Vec<&'static str>,
    },
    /// A move of a device reaches into a time that has a location already.
    Overlap {
        /// The earliest time from which a new location is possible, nanoseconds since 1970 UTC.
        earliest_ns: i64,
    },
    /// The device has no location to end.
    NoLocation,
}

impl Conflict {
    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Taken { .. } => "already_exists",
            Self::Deleted { .. } => "deleted",
            Self::HasChildren { .. } => "has_children",
            Self::IllegalMove { .. } => "illegal_transition",
            Self::Overlap { .. } => "location_overlap",
            Self::NoLocation => "no_location",
        }
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken { kind, key } => write!(f, "another {} has the same {key}", kind.name()),
            Self::Deleted { kind } => {
                write!(f, "the {} with this id was deleted: take a new id", kind.name())
            }
            Self::HasChildren { children } => {
                let counts: Vec<String> = children.iter().map(|(what, n)| format!("{n} {what}")).collect();
                write!(f, "it still has {}: remove them first, or ask for a cascade", counts.join(", "))
            }
            Self::IllegalMove { from, to, legal } if legal.is_empty() => {
                write!(f, "a device that is {from} cannot become {to}, nor anything else")
            }
            Self::IllegalMove { from, to, legal } => {
                write!(f, "a device that is {from} cannot become {to}, only {}", legal.join(" or "))
            }
            Self::Overlap { earliest_ns } => {
                let earliest = crate::model::Timestamp::from_nanos(*earliest_ns);
                write!(f, "the device has a location in that time already: start at {earliest} or later")
            }
            Self::NoLocation => f.write_str("the device has no location now"),
        }
    }
}

impl From<Conflict> for RegistryError {
    fn from(conflict: Conflict) -> Self {
        Self::Conflict(conflict)
    }
}

impl From<sqlx::Error> for RegistryError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolTimedOut => Self::Busy,
            other => Self::Storage(other),
        }
    }
}

impl From<sqlx::migrate::MigrateError> for RegistryError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        Self::Corrupt(error.to_string())
    }
}

/// One thing that is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// JSON pointer into the body (RFC 6901), or `?name` for a query parameter.
    pub pointer: String,
    /// A stable word for programs.
    pub code: &'static str,
    /// What to do, for people.
    pub detail: String,
}

/// Collects the faults of a request, so that all of them are told at once.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Adds a fault, unless its pointer has one already: what follows from a fault is no news.
    pub fn add(&mut self, pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) {
        let pointer = pointer.into();
        if self.0.len() < MAX_FAULTS && self.0.iter().all(|known| known.pointer != pointer) {
            self.0.push(Fault { pointer, code, detail: detail.into() });
        }
    }

    /// True while no fault was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The faults so far.
    #[must_use]
    pub fn into_vec(self) -> Vec<Fault> {
        self.0
    }

    /// [`RegistryError::Invalid`] with all faults, if there are any.
    ///
    /// # Errors
    /// When a fault was added.
    pub fn into_result(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(RegistryError::Invalid { faults: self.0 }) }
    }

    /// The error for one fault.
    pub fn one(pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) -> RegistryError {
        RegistryError::Invalid {
            faults: vec![Fault { pointer: pointer.into(), code, detail: detail.into() }],
        }
    }
}

fn precondition(current: Option<Rev>) -> String {
    match current {
        Some(rev) => {
            format!("the row is at revision {} now: read it again, then repeat the change", rev.number())
        }
        None => "there is no such row: leave the condition out to make it".to_owned(),
    }
}

fn join(faults: &[Fault]) -> String {
    let each: Vec<String> =
        faults.iter().map(|fault| format!("{} {}", fault.pointer, fault.detail)).collect();
    each.join("; ")
}
