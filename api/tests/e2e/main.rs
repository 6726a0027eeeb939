//! The real program with real clients: `busbar serve` as a process, HTTP by `reqwest`, MQTT by `rumqttc`, webhooks
//! at a receiver of our own.
//!
//! Invariants: every test has its own data directory and its own ports; what a test waits for is an event (a line
//! of the program's log, an answer, a webhook), never a while. The only random thing is when `kill` kills.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![allow(clippy::print_stdout, reason = "seeds, rounds and sums of a run are its record")]

mod backup;
mod deletes;
mod erase;
mod failpoints;
mod journal;
mod kill;
mod malformed;
mod occupancy;
mod quarantine;
mod receiver;
mod server;
mod surface;
