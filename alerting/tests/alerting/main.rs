//! Alerting against real streams, a real tap and a real HTTP receiver.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod building;
mod delivery;
mod occupancy;
mod receiver;
mod restart;
mod rules;
