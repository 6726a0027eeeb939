//! What every handler may use.
//!
//! Invariant: it holds shared parts and settled settings; nothing in it is made by a request.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::Tokens;
use crate::budget::Budget;
use crate::config::{Config, Limits, MemoryPlan};
use crate::doors::Doors;
use crate::metrics::Metrics;
use crate::probes::Probes;

/// What every handler may use; cheap to clone.
#[derive(Clone)]
pub struct Surface(Arc<Parts>);

/// The parts of a [`Surface`].
pub struct Parts {
    /// The write path and SQL, once they are open.
    pub doors: Doors,
    /// Who may come in.
    pub tokens: Tokens,
    /// Bounds of bodies.
    pub limits: Limits,
    /// Memory of all bodies.
    pub bodies: Budget,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Why the process cannot go on.
    pub health: Probes,
    /// Why requests should go elsewhere.
    pub readiness: Probes,
    /// Whether `/metrics` answers without a token: only this machine can ask.
    pub metrics_are_open: bool,
    /// How long a request may take.
    pub request_timeout: Duration,
}

impl Surface {
    /// From the configuration; the engine is not open yet.
    #[must_use]
    pub fn new(config: &Config, memory: &MemoryPlan) -> Self {
        let bodies = Budget::new(memory.bodies);
        Self(Arc::new(Parts {
            doors: Doors::default(),
            tokens: Tokens::new(&config.tokens),
            limits: config.limits.clone(),
            metrics: Arc::new(Metrics::new(bodies.clone())),
            bodies,
            health: Probes::default(),
            readiness: Probes::default(),
            metrics_are_open: config.http.addr.ip().to_canonical().is_loopback(),
            request_timeout: config.http.request_timeout.0,
        }))
    }
}

impl Deref for Surface {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
