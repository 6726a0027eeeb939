//! How much memory last values may take: the section `[last_values]`.

use serde::Deserialize;

use super::Auto;

/// The last value of each series and field, for `latest('table')`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LastValues {
    /// Memory of all of them. What does not fit is computed from rows when it is asked for.
    pub max_bytes: Auto,
}
