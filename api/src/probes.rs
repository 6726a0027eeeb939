//! Reasons why the process is not healthy, or not ready.
//!
//! Two kinds: a *hold* stands from [`Probes::hold`] until it is released (starting, draining); a *check* is asked
//! each time (log poisoned, disk full). Invariant: a probe answers at once; it waits for no lock that is held over
//! input or output.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

type Check = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// Named reasons.
#[derive(Clone, Default)]
pub struct Probes {
    shared: Arc<RwLock<Shared>>,
}

#[derive(Default)]
struct Shared {
    holds: BTreeMap<&'static str, String>,
    checks: BTreeMap<&'static str, Check>,
}

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// What it is about.
    pub name: &'static str,
    /// What is wrong.
    pub text: String,
}

impl Probes {
    /// Sets a reason that stands until [`Probes::release`].
    pub fn hold(&self, name: &'static str, text: impl Into<String>) {
        self.shared.write().holds.insert(name, text.into());
    }

    /// Takes back a reason.
    pub fn release(&self, name: &'static str) {
        self.shared.write().holds.remove(name);
    }

    /// Adds a check: it answers a reason while something is wrong.
    pub fn check(&self, name: &'static str, check: impl Fn() -> Option<String> + Send + Sync + 'static) {
        self.shared.write().checks.insert(name, Box::new(check));
    }

    /// Everything that is wrong now.
    #[must_use]
    pub fn reasons(&self) -> Vec<Reason> {
        let shared = self.shared.read();
        let holds = shared.holds.iter().map(|(name, text)| Reason { name, text: text.clone() });
        let checks = shared.checks.iter().filter_map(|(name, check)| Some(Reason { name, text: check()? }));
        holds.chain(checks).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::Probes;

    #[test]
    fn a_reason_stands_until_it_is_released_or_its_check_passes() {
        let probes = Probes::default();
        let poisoned = Arc::new(AtomicBool::new(true));
        let seen = Arc::clone(&poisoned);
        probes.hold("engine", "replaying the log");
        probes.check("log", move || seen.load(Ordering::Relaxed).then(|| "poisoned".into()));
        let names = |probes: &Probes| probes.reasons().iter().map(|r| r.name).collect::<Vec<_>>();
        assert_eq!(names(&probes), ["engine", "log"]);
        probes.release("engine");
        assert_eq!(names(&probes), ["log"]);
        poisoned.store(false, Ordering::Relaxed);
        assert!(probes.reasons().is_empty());
    }
}
