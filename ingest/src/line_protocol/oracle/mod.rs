//! What must hold for any bytes: the parser against itself, and against the crate `influxdb-line-protocol`. Property tests
//! and the fuzz target ask it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "whoever asks is told by a panic"
)]

pub(super) mod expected;
pub(super) mod influxdb;
pub(super) mod invariants;
mod point;
pub(super) mod writer;

pub(super) use point::{Point, read};

/// Holds whatever is known of the parser against these bytes.
///
/// # Panics
/// When it does not hold.
pub fn check(data: &[u8]) {
    invariants::check(data);
    let mut names: Vec<String> = Vec::new();
    for line in super::lines(data) {
        if let Ok(text) = std::str::from_utf8(line.bytes) {
            influxdb::check(text);
        }
        // By the fields of the line before, and by its own.
        let own = expected::names(line.bytes);
        for names in [&names, &own] {
            expected::check(&names.iter().map(String::as_str).collect::<Vec<_>>(), line.bytes);
        }
        names = own;
    }
}
