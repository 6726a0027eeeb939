//! Runs the binary against a server that stores what it gets and answers SQL over it with SQLite.
//!
//! The server parses with the `influxdb-line-protocol` crate, so both ends are independent of each other.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod fleet;
mod mqtt;
mod replay;
mod run;
mod scenario;
mod server;
mod webhook;
