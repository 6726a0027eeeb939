//! Answers as bytes: JSON, JSON lines, CSV, a text table, Parquet, Arrow IPC.
//!
//! What clients meet, which is what InfluxDB 3 gives them:
//! - JSON is an array of row objects; a null field is left out; an empty answer is `[]`.
//! - Times are ISO 8601 without a zone (they are UTC), with as many digits below the second as they need.
//! - 64-bit integers are JSON numbers.
//! - CSV begins with a header, also when there are no rows; a null is empty.
//!
//! Invariant: an answer whose query fails ends in an error, never in bytes that look complete; a whole answer is
//! never held in memory, but for *pretty*, which is bounded.

mod encoder;

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use self::encoder::Encoder;
use crate::error::{Error, Result};
use crate::service::{QueryResult, ResultStream};

/// A format of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// An array of row objects.
    #[default]
    Json,
    /// One row object per line.
    JsonLines,
    /// Comma-separated values with a header.
    Csv,
    /// A table to read.
    Pretty,
    /// A Parquet file.
    Parquet,
    /// An Arrow IPC stream.
    Arrow,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 6] =
        [Self::Json, Self::JsonLines, Self::Csv, Self::Pretty, Self::Parquet, Self::Arrow];

    /// The name by which clients ask for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::JsonLines => "jsonl",
            Self::Csv => "csv",
            Self::Pretty => "pretty",
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
        }
    }

    /// The media type of the bytes.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::JsonLines => "application/jsonl",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Pretty => "text/plain; charset=utf-8",
            Self::Parquet => "application/vnd.apache.parquet",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let wanted = name.to_ascii_lowercase();
        Self::ALL.into_iter().find(|format| format.name() == wanted).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            Error::Invalid(format!("unknown format {name:?}: use one of {known}"))
        })
    }
}

/// The bytes of an answer, in chunks as rows are computed. After an error nothing follows.
///
/// # Errors
/// [`Error::Internal`] when the columns cannot be written in this format.
pub fn encode(format: Format, result: QueryResult) -> Result<BoxStream<'static, Result<Bytes>>> {
    let encoder = Encoder::new(format, &result.schema)?;
    let state = Encoding { encoder: Some(encoder), batches: result.batches };
    let chunks =
        stream::try_unfold(
            state,
            |mut state| async move { Ok(state.next().await?.map(|chunk| (chunk, state))) },
        );
    Ok(chunks.try_filter(|chunk| std::future::ready(!chunk.is_empty())).boxed())
}

struct Encoding {
    /// `None` after the end was written.
    encoder: Option<Encoder>,
    batches: ResultStream,
}

impl Encoding {
    /// The next chunk, which may be empty; `None` after the end.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let Some(encoder) = &mut self.encoder else { return Ok(None) };
        match self.batches.next().await {
            Some(batch) => encoder.write(&batch?).map(Some),
            None => self.encoder.take().map(Encoder::finish).transpose(),
        }
    }
}
