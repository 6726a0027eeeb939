//! What is sent, and how: line protocol, HTTP, MQTT.

pub mod http;
pub mod line_protocol;
pub mod mqtt;
pub mod retry;

use crate::error::LoadError;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use std::io::Write;
use std::time::Instant;

/// Lines that are sent, acknowledged or refused as one.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Its place in the run, from 0; unique within the run.
    pub number: u64,
    /// The bytes as they go over the wire (compressed, if so asked).
    pub body: Bytes,
    /// How many lines the body holds.
    pub rows: u64,
    /// When it is due; `None` = as soon as a connection is free.
    pub due: Option<Instant>,
}

/// Where the connections take their batches.
pub trait BatchSource: Send + Sync {
    /// The next batch for this connection (counted from 0), or `None` when it has sent its share.
    fn next(&self, connection: usize) -> Result<Option<Batch>, LoadError>;
}

/// Level 1: a sender spends its CPU on sending; line protocol shrinks about six times even so.
const GZIP_LEVEL: u32 = 1;

/// Makes a request body of encoded lines.
pub fn seal(lines: Vec<u8>, gzip: bool) -> Result<Bytes, LoadError> {
    if !gzip {
        return Ok(Bytes::from(lines));
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(lines.len() / 4), Compression::new(GZIP_LEVEL));
    let compressed = encoder.write_all(&lines).and_then(|()| encoder.finish());
    compressed.map(Bytes::from).map_err(|error| LoadError::Network(format!("gzip failed: {error}")))
}
