//! What alerting counts, read when asked.

use std::fmt;
use std::sync::Arc;

use alerting::Alerting;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::engine::put;

/// Reads the counters of alerting.
#[derive(Debug)]
pub struct AlertingMetrics(pub Arc<Alerting>);

impl Collector for AlertingMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, help, value) in self.0.metrics().snapshot().entries() {
            let name = format!("alerting_{name}");
            match help.strip_prefix("Gauge: ") {
                Some(help) => put(&mut encoder, &name, help, &ConstGauge::new(value))?,
                None => put(&mut encoder, &name, help, &ConstCounter::new(value))?,
            }
        }
        Ok(())
    }
}
