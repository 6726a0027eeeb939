//! Names of databases, tables and columns.
//!
//! Invariant: a name that exists as a value has passed its check. Busbar's own columns begin with `busbar_`,
//! so a client may not use that prefix.

use std::fmt;
use std::sync::Arc;

use crate::limits;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name is empty.
    #[error("a {0} name must not be empty")]
    Empty(&'static str),
    /// The name is longer than the limit.
    #[error("a {what} name may have {limit} bytes, this one has {actual}")]
    TooLong {
        /// What was named.
        what: &'static str,
        /// The limit in bytes.
        limit: usize,
        /// The length in bytes.
        actual: usize,
    },
    /// A character that a database name may not have.
    #[error(
        "invalid database name {0:?}: begin with a letter or digit, then use letters, digits, '_', '-' and at most one '/'"
    )]
    Database(String),
    /// The name is one of Busbar's own.
    #[error("the name {0:?} is reserved: names that begin with `busbar_` are Busbar's own")]
    Reserved(String),
    /// A control character, which no SQL client can type.
    #[error("the {what} name {name:?} holds a control character")]
    Control {
        /// What was named.
        what: &'static str,
        /// The name.
        name: String,
    },
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// The name of a database: `[A-Za-z0-9][A-Za-z0-9_-]*` with at most one `/` (InfluxDB 3's rule).
    DatabaseName
}
name! {
    /// The name of a table (line protocol: measurement). Any text without control characters.
    TableName
}

impl DatabaseName {
    /// Checks and wraps a database name.
    ///
    /// # Errors
    /// The rule that the name breaks.
    pub fn new(name: &str) -> Result<Self, NameError> {
        check_length("database", name, limits::DATABASE_NAME_BYTES)?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/');
        let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !starts_well || !name.chars().all(allowed) || name.matches('/').count() > 1 {
            return Err(NameError::Database(name.to_owned()));
        }
        Ok(Self(name.into()))
    }
}

impl TableName {
    /// Checks and wraps a table name.
    ///
    /// # Errors
    /// The rule that the name breaks.
    pub fn new(name: &str) -> Result<Self, NameError> {
        check_column_name("table", name)?;
        Ok(Self(name.into()))
    }
}

/// Checks the name of a table, tag or field: `what` says which, for the message.
///
/// # Errors
/// The rule that the name breaks.
pub fn check_column_name(what: &'static str, name: &str) -> Result<(), NameError> {
    check_length(what, name, limits::NAME_BYTES)?;
    let start = name.as_bytes().get(..RESERVED.len());
    if start.is_some_and(|start| start.eq_ignore_ascii_case(RESERVED.as_bytes())) {
        return Err(NameError::Reserved(name.to_owned()));
    }
    if name.chars().any(char::is_control) {
        return Err(NameError::Control { what, name: name.to_owned() });
    }
    Ok(())
}

/// The prefix of Busbar's own columns in files.
const RESERVED: &str = "busbar_";

fn check_length(what: &'static str, name: &str, limit: usize) -> Result<(), NameError> {
    match name.len() {
        0 => Err(NameError::Empty(what)),
        actual if actual > limit => Err(NameError::TooLong { what, limit, actual }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{DatabaseName, TableName};

    #[test]
    fn database_names_follow_the_rule_of_influxdb_3() {
        for good in ["a", "0db", "my-db_1", "db/rp"] {
            assert!(DatabaseName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "_a", "a b", "a/b/c", "ä", "../x", "a.b"] {
            assert!(DatabaseName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn table_names_may_be_any_text_but_not_our_own() {
        for good in ["°C", "µg/m³", "a b", "time"] {
            assert!(TableName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "busbar_x", "Busbar_x", "a\nb", "a\0"] {
            assert!(TableName::new(bad).is_err(), "{bad}");
        }
    }
}
