//! The stores of tables: conformance of all, what survives a crash, what is repeated, what is cached.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod caching;
mod conformance;
mod durability;
mod retrying;
mod verified;
