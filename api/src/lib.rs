//! The binary `busbar`: configuration, the HTTP surface, and the one place where the crates are put together.
//!
//! Purpose: translate HTTP to what `ingest`, `query`, `alerting` and `storage` offer, and back. Handlers only
//! translate; they hold no rows and decide nothing about them.
//!
//! This crate must not know how a line is parsed, how the log is written, or how a query is planned. It is the
//! only one that knows HTTP routes and status codes; [`error`] holds the one mapping to them.

pub mod allocator;
pub mod app;
pub mod auth;
pub mod backups;
pub mod budget;
pub mod cli;
pub mod config;
pub mod doors;
pub mod erasures;
pub mod error;
#[cfg(feature = "failpoints")]
pub mod failpoints;
pub mod health_client;
pub mod jobs;
pub mod metrics;
pub mod probes;
mod problem;
pub mod routes;
pub mod server;
pub mod surface;
pub mod telemetry;
