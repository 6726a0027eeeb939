//! How much memory last values may take: the section `[last_values]`.

use serde::Deserialize;
use storage::last_value::LastValuesConfig;

use super::{ByteSize, Config};

/// The last value of each series and field, for `latest('table')`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LastValues {
    /// Memory of all of them. What does not fit is computed from rows when it is asked for.
    pub max_bytes: ByteSize,
}

impl Default for LastValues {
    fn default() -> Self {
        Self { max_bytes: ByteSize(LastValuesConfig::default().max_bytes) }
    }
}

impl Config {
    /// The bounds of storage's last values.
    #[must_use]
    pub fn last_values(&self) -> LastValuesConfig {
        LastValuesConfig { max_bytes: self.last_values.max_bytes.0, ..LastValuesConfig::default() }
    }
}
