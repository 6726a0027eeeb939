//! A size, or the word for what is thought best.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

use crate::config::ByteSize;

/// The word for a size that follows from others.
const AUTO: &str = "auto";

/// A number of bytes; `None`, written `auto`: as much as [`MemoryPlan`](super::MemoryPlan) gives.
///
/// Invariant: what is displayed can be parsed again and is the same value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Auto(pub Option<ByteSize>);

impl FromStr for Auto {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == AUTO {
            return Ok(Self(None));
        }
        text.parse().map(|size| Self(Some(size))).map_err(|why: String| format!("{why}, or \"{AUTO}\""))
    }
}

impl fmt::Display for Auto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(size) => size.fmt(f),
            None => f.write_str(AUTO),
        }
    }
}

impl<'de> Deserialize<'de> for Auto {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a number of bytes, or a text such as \"64MiB\" or \"auto\"")]
        enum Written {
            Text(String),
            Number(i64),
        }
        match Written::deserialize(deserializer)? {
            Written::Text(text) => text.parse().map_err(de::Error::custom),
            Written::Number(bytes) => usize::try_from(bytes)
                .map(|bytes| Self(Some(ByteSize(bytes))))
                .map_err(|_| de::Error::custom("a size must not be negative")),
        }
    }
}
