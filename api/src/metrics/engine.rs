//! What the writer and the storage count, read when asked (D04, D09, D10).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ingest::ring::Ring;
use ingest::writer::WriterMetrics;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use storage::engine::Engine;

/// Reads the counters of the write path.
#[derive(Debug)]
pub struct EngineMetrics {
    /// The storage.
    pub engine: Engine,
    /// The queue before the log.
    pub ring: Arc<Ring>,
    /// The writer.
    pub writer: Arc<WriterMetrics>,
}

impl Collector for EngineMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let writer = &self.writer;
        let counts: [(&str, &str, &AtomicU64); 5] = [
            ("busbar_log_groups", "Group writes: each is one write and one sync", &writer.groups),
            ("busbar_log_requests", "Requests in those groups", &writer.requests),
            ("busbar_log_rows", "Rows in those groups, before last-write-wins", &writer.rows),
            ("busbar_log_written_bytes", "Bytes written to the log", &writer.bytes),
            ("busbar_log_failures", "Groups that could not be committed", &writer.failures),
        ];
        for (name, help, counter) in counts {
            put(&mut encoder, name, help, &ConstCounter::new(counter.load(Ordering::Relaxed)))?;
        }
        let dropped = self.engine.dropped();
        let expired = [
            ("busbar_expired_files", "Files dropped because all of their rows have expired", dropped.files),
            ("busbar_expired_rows", "Rows of those files, before last-write-wins", dropped.rows),
            ("busbar_expired_bytes", "Bytes of those files", dropped.bytes),
        ];
        for (name, help, count) in expired {
            put(&mut encoder, name, help, &ConstCounter::new(count))?;
        }
        let times: [(&str, &str, &AtomicU64); 3] = [
            ("busbar_log_append_seconds", "Time spent writing frames", &writer.append_ns),
            ("busbar_log_sync_seconds", "Time spent waiting for the disk", &writer.sync_ns),
            ("busbar_log_publish_seconds", "Time spent making rows visible", &writer.publish_ns),
        ];
        for (name, help, nanos) in times {
            put(&mut encoder, name, help, &ConstCounter::new(seconds(nanos.load(Ordering::Relaxed))))?;
        }
        let gauges = [
            ("busbar_queued_bytes", "Batches that wait for the log", self.ring.queued_bytes()),
            ("busbar_memtable_bytes", "Rows that are not in files yet", self.engine.memory_bytes()),
            ("busbar_last_value_bytes", "Last values of all series", self.engine.last_value_bytes()),
            ("busbar_log_segments", "Segments of the log", self.engine.log_extent().0),
            ("tsdb_series", "Series in use", self.engine.series().len()),
            ("busbar_series_bytes", "The series index in memory", self.engine.series().memory_bytes()),
        ];
        for (name, help, value) in gauges {
            put(&mut encoder, name, help, &ConstGauge::new(u64::try_from(value).unwrap_or(u64::MAX)))?;
        }
        Ok(())
    }
}

pub(super) fn put(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    metric: &impl EncodeMetric,
) -> Result<(), fmt::Error> {
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a float holds 100 days of nanoseconds exactly, and close after"
)]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
