//! What the store of the tables counts, and what waits for it on the local disk.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use storage::engine::Engine;

use super::engine::put;

/// Reads the counters of the store. A local store counts nothing.
#[derive(Debug)]
pub struct StoreMetrics(pub Engine);

impl Collector for StoreMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let store = self.0.store_activity();
        let counts: [(&str, &str, &AtomicU64); 8] = [
            (
                "busbar_store_requests",
                "Requests to the object store, repeated ones included",
                &store.requests,
            ),
            ("busbar_store_retries", "Requests that repeat an earlier one", &store.retries),
            ("busbar_store_failures", "Operations of the object store that were given up", &store.failures),
            ("busbar_store_sent_bytes", "Bytes of objects that were sent", &store.sent_bytes),
            ("busbar_store_received_bytes", "Bytes of objects that were received", &store.received_bytes),
            ("busbar_store_cache_hits", "Blocks that were read from the local cache", &store.cache_hits),
            ("busbar_store_cache_misses", "Blocks that had to be fetched", &store.cache_misses),
            ("busbar_store_cache_damaged", "Blocks that the local disk had damaged", &store.cache_damaged),
        ];
        for (name, help, counter) in counts {
            put(&mut encoder, name, help, &ConstCounter::new(counter.load(Ordering::Relaxed)))?;
        }
        let help = "Log and staged files on the local disk";
        put(&mut encoder, "busbar_disk_bytes", help, &ConstGauge::new(self.0.disk_bytes()))?;
        let help = "Whether the object store answered the last request";
        let up = u64::from(store.fault().is_none());
        put(&mut encoder, "busbar_store_up", help, &ConstGauge::new(up))
    }
}
