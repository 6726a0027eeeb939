//! Queries through the real service over a real engine: memory, staged files and table files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking"
)]

mod formats;
mod last_write;
mod limits;
mod lines;
mod plans;
mod refusals;
mod retention;
mod scripts;
mod world;
