//! Simulated buildings and recorded data, sent as real clients would, and read back.
//!
//! This crate knows the engine only by what crosses the wire: line protocol over HTTP and MQTT, SQL
//! over HTTP, and webhooks. It depends on no crate of the workspace, so an error of the engine cannot
//! hide by being shared with its tester.
//!
//! Invariants:
//! - A row counts as acknowledged only after HTTP 2xx or PUBACK for the batch that holds it.
//! - A latency is counted from the moment when a batch was due, not from when it could be sent.
//! - Everything is printed by [`terminal`]; nothing prints a token.

pub mod cli;
pub mod clock;
pub mod delivery;
pub mod error;
pub mod fleet;
pub mod protocol;
pub mod reconnects;
pub mod replay;
pub mod report;
pub mod target;
pub mod terminal;
pub mod verify;
pub mod webhook;
