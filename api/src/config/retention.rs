//! How long rows are kept for which neither table nor database says anything.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use super::{Config, ConfigError, Span};

/// The word for a period that does not end.
const FOREVER: &str = "forever";

/// How long rows are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// For which neither table nor database says anything.
    pub default: Period,
}

/// A span of time, or for ever.
///
/// Invariant: what is displayed can be parsed again and is the same value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Period(pub Option<Span>);

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == FOREVER {
            return Ok(Self(None));
        }
        text.parse().map(|span| Self(Some(span))).map_err(|_| {
            format!("{text:?} is not a span of time: write for example \"30days\", or \"{FOREVER}\"")
        })
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAY: u64 = 86_400;
        match self.0 {
            // Not in months, which have no length that people agree on.
            Some(Span(span))
                if span.as_secs() > DAY && span == Duration::from_secs(span.as_secs() / DAY * DAY) =>
            {
                write!(f, "{}days", span.as_secs() / DAY)
            }
            Some(span) => span.fmt(f),
            None => f.write_str(FOREVER),
        }
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl From<storage::model::Retention> for Period {
    fn from(retention: storage::model::Retention) -> Self {
        Self(retention.period().map(Span))
    }
}

impl TryFrom<Period> for storage::model::Retention {
    type Error = storage::Error;

    fn try_from(period: Period) -> Result<Self, storage::Error> {
        match period.0 {
            Some(span) => Ok(Self::of(span.0)?),
            None => Ok(Self::FOREVER),
        }
    }
}

impl Config {
    /// How long storage keeps rows of which nothing is said.
    ///
    /// # Errors
    /// When it keeps no rows so long, with the key to change.
    pub fn retention(&self) -> Result<storage::model::Retention, ConfigError> {
        storage::model::Retention::try_from(self.retention.default).map_err(|error| {
            ConfigError::Rule(format!("retention.default is {}: {error}", self.retention.default))
        })
    }
}
