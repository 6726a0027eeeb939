//! Reads a request's body: counted before it is held, cut off at its limit, decompressed as it comes.
//!
//! Invariants:
//! - memory for bytes is reserved before they are read or decompressed (MEM-1); a full budget is 429;
//! - neither the bytes as sent nor the bytes decompressed pass the limit, so a small body that inflates without
//!   end costs no more than the limit.

use std::io::{self, Write};

use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use flate2::write::MultiGzDecoder;
use futures::StreamExt as _;

use crate::budget::{Budget, Reservation};
use crate::error::{BUSY_RETRY_AFTER, Dialect, Failure};
use crate::problem::Problem;

/// The least capacity of a buffer that grows: a network read is about as large.
const GROWTH_BYTES: usize = 64 << 10;

/// A body in memory. The memory is given back to the budget when this is dropped.
#[derive(Debug)]
pub(super) struct Whole {
    /// The bytes, decompressed.
    pub(super) bytes: Bytes,
    _memory: Reservation,
}

/// What an endpoint allows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'a> {
    /// Bytes, as sent and decompressed.
    pub(super) limit: usize,
    /// Whose encodings.
    pub(super) dialect: Dialect,
    /// Where memory comes from.
    pub(super) budget: &'a Budget,
}

/// How the body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Plain,
    Gzip,
}

/// Why reading stopped before the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    TooLarge,
    NoMemory,
}

/// Reads the whole body.
///
/// # Errors
/// When it is too large, in an unknown encoding, damaged or cut short, or when the budget is full.
pub(super) async fn read(headers: &HeaderMap, body: Body, rules: Rules<'_>) -> Result<Whole, Failure> {
    let encoding = encoding(headers, rules.dialect)?;
    receive(headers, body.into_data_stream(), encoding, rules).await
}

/// Reads the whole body of a request to a resource, of at most `limit` bytes.
///
/// # Errors
/// When it is larger, or ends before its length.
pub(super) async fn small(body: Body, limit: usize) -> Result<Bytes, Problem> {
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|error| {
            let detail = format!("the body ended early: {error}");
            Problem::new(StatusCode::BAD_REQUEST, "broken_body", detail)
        })?;
        if bytes.len().saturating_add(piece.len()) > limit {
            let detail = format!("send a body of at most {limit} bytes");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.into())
}

async fn receive(
    headers: &HeaderMap,
    mut stream: BodyDataStream,
    encoding: Encoding,
    rules: Rules<'_>,
) -> Result<Whole, Failure> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: usize| length > rules.limit) {
        return Err(Failure::BodyTooLarge(rules.limit));
    }
    let mut sink = Sink::new(rules);
    // The whole of a plain body, no more: small ones come by the thousand.
    sink.reserve(length.unwrap_or(0)).map_err(|stop| stop.failure(rules))?;
    let mut decoder = match encoding {
        Encoding::Plain => Decoder::Plain(sink),
        Encoding::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(sink))),
    };
    let mut received = 0_usize;
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|_| Failure::BodyLost)?;
        received = received.saturating_add(piece.len());
        if received > rules.limit {
            return Err(Failure::BodyTooLarge(rules.limit));
        }
        decoder.push(&piece).map_err(|error| decoder.failure(&error, rules))?;
    }
    decoder.finish(received, rules)
}

/// The encoding that the headers name.
fn encoding(headers: &HeaderMap, dialect: Dialect) -> Result<Encoding, Failure> {
    let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
    let (value, second) = (values.next(), values.next());
    let Some(value) = value else { return Ok(Encoding::Plain) };
    let name = String::from_utf8_lossy(value.as_bytes()).trim().to_ascii_lowercase();
    match name.as_str() {
        _ if second.is_some() => Err(Failure::BodyEncoding("several".into())),
        "" | "identity" => Ok(Encoding::Plain),
        "gzip" => Ok(Encoding::Gzip),
        "x-gzip" if dialect != Dialect::V3 => Ok(Encoding::Gzip),
        _ => Err(Failure::BodyEncoding(name.chars().take(32).collect())),
    }
}

enum Decoder {
    Plain(Sink),
    Gzip(Box<MultiGzDecoder<Sink>>),
}

impl Decoder {
    fn push(&mut self, piece: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(sink) => sink.write_all(piece),
            Self::Gzip(decoder) => decoder.write_all(piece),
        }
    }

    /// Why a push failed: the sink stopped, or the input is damaged.
    fn failure(&self, error: &io::Error, rules: Rules<'_>) -> Failure {
        let sink = match self {
            Self::Plain(sink) => sink,
            Self::Gzip(decoder) => decoder.get_ref(),
        };
        match sink.stopped {
            Some(stop) => stop.failure(rules),
            None => Failure::BodyCompressed(error.to_string()),
        }
    }

    fn finish(mut self, received: usize, rules: Rules<'_>) -> Result<Whole, Failure> {
        if let Self::Gzip(decoder) = &mut self
            && received > 0
            && let Err(error) = decoder.try_finish()
        {
            return Err(self.failure(&error, rules));
        }
        let sink = match &mut self {
            Self::Plain(sink) => sink,
            Self::Gzip(decoder) => decoder.get_mut(),
        };
        let bytes = std::mem::take(&mut sink.bytes).into();
        let memory = std::mem::replace(&mut sink.memory, rules.budget.reservation());
        Ok(Whole { bytes, _memory: memory })
    }
}

/// Where bytes arrive. It grows by doubling, never beyond the limit, and reserves before it grows.
#[derive(Debug)]
struct Sink {
    bytes: Vec<u8>,
    memory: Reservation,
    limit: usize,
    stopped: Option<Stop>,
}

impl Sink {
    fn new(rules: Rules<'_>) -> Self {
        Self { bytes: Vec::new(), memory: rules.budget.reservation(), limit: rules.limit, stopped: None }
    }

    /// Makes room for `more` bytes.
    fn make_room(&mut self, more: usize) -> Result<(), Stop> {
        let needed = self.bytes.len().saturating_add(more);
        if needed > self.limit {
            return Err(Stop::TooLarge);
        }
        if needed <= self.bytes.capacity() {
            return Ok(());
        }
        let grown = self.bytes.capacity().saturating_mul(2);
        self.reserve(grown.max(needed).max(GROWTH_BYTES).min(self.limit))
    }

    /// Takes room for `capacity` bytes in all.
    fn reserve(&mut self, capacity: usize) -> Result<(), Stop> {
        if !self.memory.grow_to(capacity) {
            return Err(Stop::NoMemory);
        }
        let additional = capacity.saturating_sub(self.bytes.len());
        self.bytes.try_reserve_exact(additional).map_err(|_| Stop::NoMemory)
    }
}

impl Write for Sink {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if let Err(stop) = self.make_room(piece.len()) {
            self.stopped = Some(stop);
            return Err(io::Error::other("the body does not fit"));
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stop {
    fn failure(self, rules: Rules<'_>) -> Failure {
        match self {
            Self::TooLarge => Failure::BodyTooLarge(rules.limit),
            Self::NoMemory => Failure::Busy(BUSY_RETRY_AFTER),
        }
    }
}

#[cfg(test)]
mod tests;
