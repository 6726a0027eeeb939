//! Counters of a listener.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// What a listener has done since its start. All but `open` only rise.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($name: AtomicU64,)+
        }

        impl Metrics {
            $(
                $(#[$doc])*
                #[must_use]
                pub fn $name(&self) -> u64 {
                    self.$name.load(Ordering::Relaxed)
                }
            )+
        }

        impl Recorder<'_> {
            $(
                pub(super) fn $name(self, count: usize) {
                    self.0.$name.fetch_add(count.try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
                }
            )+
        }
    };
}

counters! {
    /// Connections that are open now.
    open,
    /// Connections that were accepted.
    connections,
    /// Connections that were closed at once because there were too many.
    over_limit,
    /// Connections that were refused with a CONNACK code, or did not get to it in time.
    refused,
    /// Connections that were closed for something that MQTT 3.1.1 forbids, or that is too large.
    malformed,
    /// Connections that were closed because they were silent for too long.
    idle,
    /// Publishes received.
    publishes,
    /// PUBACKs queued to be sent.
    acks,
    /// Publishes that can never be stored. With QoS 1 they were acknowledged.
    rejected,
    /// Publishes that could not be stored at the time and were not acknowledged. With QoS 0 they are lost.
    unavailable,
    /// Bytes received.
    bytes,
}

/// The writing side, which only this module has.
#[derive(Clone, Copy)]
pub(super) struct Recorder<'a>(&'a Metrics);

impl Metrics {
    pub(super) const fn record(&self) -> Recorder<'_> {
        Recorder(self)
    }

    /// Counts a connection as open until the guard is dropped.
    pub(super) fn hold_open(self: &std::sync::Arc<Self>) -> OpenGuard {
        self.record().open(1);
        OpenGuard(self.clone())
    }
}

/// A connection that is open.
pub(super) struct OpenGuard(std::sync::Arc<Metrics>);

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
