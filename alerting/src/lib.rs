//! Busbar's rules, alerts and notifications.
//!
//! Purpose: watch what is committed, fire and resolve alerts on event time, record each transition once, and
//! tell webhooks about it until they have heard.
//!
//! This crate does not know HTTP routes, SQL, line protocol or MQTT, and never sees `ingest` or `query`. It
//! gets committed groups and metadata through [`Source`], which the composition root implements.
//!
//! # Invariants
//!
//! - ALERT-1: a transition is *recorded* (one record of the alert stream: position in the log, cause, state
//!   change) before anyone hears of it, and recorded at most once: its id is
//!   `hash(hash(rule, subject, episode start), state)`, and an id that is recorded is not recorded again (replay
//!   checks all records behind the snapshot; a sample that is delivered twice, the history in memory).
//! - ALERT-2: state is a function of the log and of the alert stream. What does not follow from the log alone
//!   (a rule was changed; a subject fell silent) is a record of the alert stream with the log position at which
//!   it took effect. So *newest snapshot + later frames + later records* gives the state that was lost, and
//!   the same transitions with the same ids.
//! - ALERT-3: the log may be trimmed up to a position only after a snapshot at that position is durable; alert
//!   records behind the newest snapshot, and those with an unsettled delivery, are not trimmed.
//! - ALERT-4: within a (rule, subject), time decides, and arrival only where [`state`] says so; the arrival
//!   time of a row is that of its log sequence, so replay sees the same one.
//! - NOTIFY-1: a delivery is sent at least once, and settled (delivered or dead) by a durable record; every
//!   attempt carries the same idempotency key. Deliveries of one alert to one receiver keep their order.

mod engine;
mod error;
mod history;
mod id;
pub mod limits;
mod metrics;
pub mod notify;
mod record;
pub mod rule;
mod service;
mod snapshot;
mod source;
pub mod state;

pub use error::{Error, ErrorKind, Result};
pub use history::History;
pub use metrics::{Metrics, MetricsSnapshot};
pub use record::{AlertState, Reason, Transition};
pub use service::{Alerting, AlertingConfig, Clock, Expect, Put};
pub use source::Source;
