//! What alerting counts, read when asked.

use std::fmt;
use std::sync::Arc;

use alerting::Alerting;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::gauge::ConstGauge;

use super::engine::put;

/// Reads the counters of alerting.
#[derive(Debug)]
pub struct AlertingMetrics(pub Arc<Alerting>);

impl Collector for AlertingMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, value) in self.0.metrics().snapshot().entries() {
            // Some of them fall, such as deliveries that wait; as gauges they are all told right.
            put(
                &mut encoder,
                &format!("alerting_{name}"),
                "See the metrics of alerting",
                &ConstGauge::new(value),
            )?;
        }
        Ok(())
    }
}
