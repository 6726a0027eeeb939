//! Every bound of alerting, with the reason for its number.

use std::time::Duration;

/// Rules of one node. The rule index was measured with this many; a table-wide rule is a slot per series.
pub const RULES: usize = 10_000;

/// (rule, series) pairs that are watched: 32 bytes each, so 640 MB at worst. A series that does not fit is not
/// watched, and is counted.
pub const SLOTS: usize = 20_000_000;

/// Tags in `where`, labels, annotations or webhooks of one rule: each transition record repeats them.
pub const ENTRIES_PER_RULE: usize = 64;

/// Bytes of a rule's name, a label's or annotation's name or value: a transition record stays below 300 KiB.
pub const TEXT_BYTES: usize = 2_048;

/// Transitions kept in memory for `alerts.history`, newest first to stay: about 1 KB each, so 100 MB at worst.
pub const HISTORY_ENTRIES: usize = 100_000;

/// How often the state is snapshotted: replay at a start covers at most this much of the log (and what came
/// since), a second or two at full load.
pub const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(60);

/// How often silent subjects of firing alerts are looked for.
pub const SILENCE_INTERVAL: Duration = Duration::from_secs(1);

/// A sample that lies this far ahead of its arrival has a wrong clock: it is evaluated, but does not make the
/// samples that follow late.
pub const CLOCK_AHEAD_NS: i64 = 300_000_000_000;

/// Bytes that wait for the rules on the commit tap: a second of 300,000 rows/s with 4 fields. Suggested to the
/// composition root, which makes the consumer.
pub const TAP_QUEUE_BYTES: usize = 64 << 20;

/// Commands (rule changes) that wait for the engine: each caller waits for its own, so this bounds callers.
pub const COMMANDS: usize = 256;

/// Distinct receivers: each has a task and a connection pool.
pub const RECEIVERS: usize = 1_000;

/// Deliveries that wait for one receiver: 6 h of one every 2 s. Each is about 100 bytes beside the shared
/// transition. The next one is a dead letter.
pub const DELIVERIES_PER_RECEIVER: usize = 10_000;

/// Requests in flight to one receiver (acceptance statement N6).
pub const REQUESTS_PER_RECEIVER: usize = 8;

/// A webhook that hangs costs this much of one slot (N6).
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of an answer that are read (N7).
pub const ANSWER_BYTES: usize = 64 << 10;

/// Outcomes in one record of the notification stream: one sync for many deliveries.
pub const OUTCOMES_PER_RECORD: usize = 512;

/// How long [`crate::Alerting::stop`] waits for requests in flight; what is left is sent after the next start.
pub const STOP_GRACE: Duration = Duration::from_secs(5);
