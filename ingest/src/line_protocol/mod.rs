//! Line protocol: our own parser, a scan over bytes that allocates nothing for an ordinary line.
//!
//! Steps, each usable alone, because the hot path skips most of them: [`lines()`] cuts a body into lines,
//! [`Head::cut`] finds the series of a line, [`Head::line`] cuts the rest into fields and timestamp, and
//! [`parse_series`] takes a series apart that is not known yet. A line with the fields of the one before is read
//! behind its series in one pass: [`Head::read_expected`].
//!
//! Invariants:
//! - No input panics, and the work is linear in its length.
//! - A bad line is an error of that line only: an unclosed quote never hides the lines behind it.
//! - What is answered is exact: a number is what `str::parse` says, never NaN and never infinite; names and texts
//!   are UTF-8 and within `storage::limits`.
//!
//! Backslashes are read in pairs: `\\` never escapes what follows it. In names `\,`, `\=` and `\ ` stand for the
//! second character and every other backslash for itself; a name that ends in a backslash is refused, because
//! servers disagree on what it means.

mod error;
mod escape;
mod field;
mod line;
mod lines;
mod number;
#[cfg(any(test, fuzzing))]
pub mod oracle;
mod precision;
mod series;

#[cfg(test)]
mod tests;

pub use error::{Dialect, LineError};
pub use field::{Field, Fields, Value};
pub use line::{Head, Line, is_plain_name};
pub use lines::{Lines, RawLine, lines};
pub use precision::{InvalidPrecision, Precision};
pub use series::{SeriesParts, Tags, parse_series};
