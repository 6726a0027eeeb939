//! What the MQTT listener counts, read when asked.

use std::fmt;
use std::sync::Arc;

use ingest::mqtt::Metrics;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::engine::put;

/// Reads the counters of a listener.
#[derive(Debug)]
pub struct MqttMetrics(pub Arc<Metrics>);

impl Collector for MqttMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let metrics = &self.0;
        put(&mut encoder, "mqtt_connections", "Open connections", &ConstGauge::new(metrics.open()))?;
        let counts = [
            ("mqtt_connections_accepted", "Connections accepted", metrics.connections()),
            (
                "mqtt_connections_over_limit",
                "Connections closed because there were too many",
                metrics.over_limit(),
            ),
            ("mqtt_connections_refused", "Connections refused by CONNACK", metrics.refused()),
            ("mqtt_connections_malformed", "Connections closed for what MQTT forbids", metrics.malformed()),
            ("mqtt_connections_idle", "Connections closed for their silence", metrics.idle()),
            ("mqtt_publishes", "Publishes received", metrics.publishes()),
            ("mqtt_acks", "PUBACKs sent", metrics.acks()),
            ("mqtt_rejected", "Publishes that can never be stored", metrics.rejected()),
            ("mqtt_unavailable", "Publishes that could not be stored at the time", metrics.unavailable()),
            ("mqtt_received_bytes", "Bytes received", metrics.bytes()),
        ];
        for (name, help, count) in counts {
            put(&mut encoder, name, help, &ConstCounter::new(count))?;
        }
        Ok(())
    }
}
