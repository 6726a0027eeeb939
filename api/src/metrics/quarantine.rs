//! What the quarantine counts, read when asked.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use storage::quarantine::{NotKept, Quarantine};

use super::engine::put;

/// Reads the counters of the quarantine.
#[derive(Debug)]
pub struct QuarantineMetrics(pub Arc<Quarantine>);

impl Collector for QuarantineMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (lines, bytes, files) = self.0.size();
        let gauges = [
            ("busbar_quarantine_lines", "Lines that are kept in the quarantine", lines as u64),
            ("busbar_quarantine_bytes", "Bytes that these lines count for", bytes),
            ("busbar_quarantine_file_bytes", "Bytes of the quarantine's files", files),
        ];
        for (name, help, value) in gauges {
            put(&mut encoder, name, help, &ConstGauge::new(value))?;
        }
        let help = "Refused lines that the quarantine has kept";
        let kept = MetricType::Counter;
        let mut family = encoder.encode_descriptor("busbar_quarantined_lines", help, None, kept)?;
        for (reason, count) in self.0.kept() {
            let counter = ConstCounter::new(count);
            counter.encode(family.encode_family(&[("reason", reason.as_ref())])?)?;
        }
        let help = "Refused lines that the quarantine could not keep";
        let mut family = encoder.encode_descriptor("busbar_quarantine_not_kept_lines", help, None, kept)?;
        for (why, count) in self.0.not_kept() {
            let why = match why {
                NotKept::Full => "full",
                NotKept::TooFast => "too_fast",
                NotKept::Failed => "failed",
            };
            ConstCounter::new(count).encode(family.encode_family(&[("why", why)])?)?;
        }
        let help = "What went wrong in the quarantine: damaged places that took their lines along, erasures that were put off";
        let mut family = encoder.encode_descriptor("busbar_quarantine_faults", help, None, kept)?;
        for (fault, count) in self.0.faults() {
            ConstCounter::new(count).encode(family.encode_family(&[("fault", fault)])?)?;
        }
        Ok(())
    }
}
