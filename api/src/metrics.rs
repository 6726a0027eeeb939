//! What is counted, under the names of the requirements (D01-D10), in base units.
//!
//! Invariant: labels are bounded: routes are the patterns of the router, never paths of requests.

mod alerting;
mod engine;
mod mqtt;
mod process;
mod quarantine;
mod store;

use parking_lot::RwLock;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::budget::Budget;

pub use alerting::AlertingMetrics;
pub use engine::EngineMetrics;
pub use mqtt::MqttMetrics;
pub use quarantine::QuarantineMetrics;
pub use store::StoreMetrics;

/// Labels of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// The pattern of the route.
    pub route: String,
    /// The method, `OTHER` for unusual ones.
    pub method: &'static str,
    /// The status code.
    pub status: u16,
}

/// Labels of rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SourceLabels {
    /// How they came: `v1`, `v2`, `v3`, `mqtt`.
    pub protocol: &'static str,
}

/// Labels of lines that were refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusedLabels {
    /// How they came.
    pub protocol: &'static str,
    /// Why they were refused.
    pub reason: &'static str,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// All metrics of the surface.
pub struct Metrics {
    registry: RwLock<Registry>,
    /// From the head of a request to the head of its answer.
    pub request_seconds: Histograms<RequestLabels>,
    /// From a whole body to its acknowledgement, which comes after the sync of the log.
    pub ack_seconds: Histograms<SourceLabels>,
    /// Rows that were acknowledged.
    pub rows: Family<SourceLabels, Counter>,
    /// Lines that were refused.
    pub refused_lines: Family<RefusedLabels, Counter>,
    /// Bytes of bodies, decompressed.
    pub ingest_bytes: Family<SourceLabels, Counter>,
    /// Requests without a known token.
    pub refused_logins: Counter,
}

impl Metrics {
    /// Registers everything.
    #[must_use]
    pub fn new(bodies: Budget) -> Self {
        let mut registry = Registry::default();
        // 0.5 ms to 16 s, doubling: a sync of a good disk is at the low end, the deadline at the high one.
        let seconds: fn() -> Histogram = || Histogram::new(exponential_buckets(0.000_5, 2.0, 16));
        let this = Self {
            request_seconds: Histograms::new_with_constructor(seconds),
            ack_seconds: Histograms::new_with_constructor(seconds),
            rows: Family::default(),
            refused_lines: Family::default(),
            ingest_bytes: Family::default(),
            refused_logins: Counter::default(),
            registry: RwLock::default(),
        };
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        registry.register("busbar_build", "What is running", Info::new(version));
        registry.register(
            "http_request_duration_seconds",
            "Time from the head of a request to the head of its answer",
            this.request_seconds.clone(),
        );
        registry.register(
            "busbar_ack_seconds",
            "Time from a whole body to its acknowledgement",
            this.ack_seconds.clone(),
        );
        registry.register("tsdb_points_written", "Rows that were acknowledged", this.rows.clone());
        registry.register(
            "busbar_ingest_rejected_rows",
            "Lines that were refused",
            this.refused_lines.clone(),
        );
        registry.register("ingest_bytes", "Bytes of input, decompressed", this.ingest_bytes.clone());
        registry.register(
            "busbar_auth_failures",
            "Requests without a known token",
            this.refused_logins.clone(),
        );
        registry.register_collector(Box::new(BodyMemory(bodies)));
        registry.register_collector(Box::new(process::Process::new(storage::clock::now())));
        Self { registry: RwLock::new(registry), ..this }
    }

    /// Adds what a part counts itself.
    pub fn add(&self, collector: impl Collector) {
        self.registry.write().register_collector(Box::new(collector));
    }

    /// Everything, as `OpenMetrics` text.
    ///
    /// # Errors
    /// When a collector fails.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry.read())?;
        Ok(text)
    }
}

#[derive(Debug)]
struct BodyMemory(Budget);

impl Collector for BodyMemory {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let gauge = ConstGauge::new(u64::try_from(self.0.used()).unwrap_or(u64::MAX));
        let help = "Memory of request bodies";
        gauge.encode(encoder.encode_descriptor("busbar_body_bytes", help, None, gauge.metric_type())?)
    }
}
