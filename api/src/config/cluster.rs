//! Whether several processes have the same tables.

use serde::Deserialize;
use storage::cluster::ClusterConfig;

use super::{Config, ConfigError, Span};

/// Nodes with the same tables.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// Whether other processes, each with a data directory of its own, have the tables of `store.url` too.
    pub shared: bool,
    /// How often a table is asked for what others have committed.
    pub refresh: Span,
}

impl Default for Cluster {
    fn default() -> Self {
        let cluster = ClusterConfig::default();
        Self { shared: cluster.shared, refresh: Span(cluster.refresh) }
    }
}

impl Config {
    /// Checks what is said of sharing.
    ///
    /// # Errors
    /// The first rule that is broken, with the key to change.
    pub(super) fn check_cluster(&self) -> Result<(), ConfigError> {
        if self.cluster.shared && self.store.url.is_none() {
            let message = "cluster.shared is true but store.url is not set, and a data directory is of one process: set \
                           store.url = \"s3://BUCKET/PREFIX\"";
            return Err(ConfigError::Rule(message.into()));
        }
        if self.cluster.refresh.0.is_zero() {
            return Err(ConfigError::Rule("cluster.refresh is 0: choose a time such as \"5s\"".into()));
        }
        Ok(())
    }

    /// How storage shares tables.
    #[must_use]
    pub fn cluster(&self) -> ClusterConfig {
        let (shared, refresh) = (self.cluster.shared, self.cluster.refresh.0);
        ClusterConfig { shared, refresh, ..ClusterConfig::default() }
    }
}
