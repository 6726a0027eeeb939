//! How much of what cannot be stored is kept, and how long: the section `[quarantine]`.

use std::time::Duration;

use serde::Deserialize;
use storage::quarantine::QuarantineConfig;

use super::{ByteSize, Config, Period, Span};

/// Lines that cannot be stored.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quarantine {
    /// Bytes of lines that are kept; beyond them a line is refused and forgotten.
    pub max_bytes: ByteSize,
    /// How long a line is kept.
    pub max_age: Period,
}

impl Default for Quarantine {
    fn default() -> Self {
        let QuarantineConfig { max_bytes, max_age } = QuarantineConfig::default();
        let max_bytes = ByteSize(usize::try_from(max_bytes).unwrap_or(usize::MAX));
        Self { max_bytes, max_age: Period(Some(Span(max_age))) }
    }
}

impl Config {
    /// The bounds of storage's quarantine.
    #[must_use]
    pub fn quarantine(&self) -> QuarantineConfig {
        let Quarantine { max_bytes, max_age } = &self.quarantine;
        let max_age = max_age.0.map_or(Duration::MAX, |span| span.0);
        QuarantineConfig { max_bytes: max_bytes.0 as u64, max_age }
    }
}
