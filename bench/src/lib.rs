//! Busbar's benchmarks: what each stage of a point's way costs, on fixed data.
//!
//! Purpose: tell whether a change made a stage faster or slower, and how Busbar stands beside its [`peers`]. What is
//! linked here does not know HTTP, MQTT or rules; peers are processes, which `loadgen` writes to.
//!
//! ```text
//! cargo bench -p bench                             all stages, some minutes
//! cargo bench -p bench -- query/files              those whose name matches
//! cargo bench -p bench -- --save-baseline before   then, after a change:
//! cargo bench -p bench -- --baseline before
//! cargo test -p bench                              each once, on little data: do they still work?
//! cargo run --release -p bench -- files            cost and size of files, memory; --scales: with decimals
//! cargo run --release -p bench -- backfill         years of rows, one series after the other
//! cargo run --release -p bench -- tables           many small tables
//! cargo run --release -p bench -- peers            beside VictoriaMetrics and InfluxDB
//! cargo run --release -p bench -- flushes          months of flushes of one table, and what queries pay for them
//! ```
//!
//! Reports with plots lie in `target/criterion`. Engines and logs lie in the temporary folder: set `TMPDIR` to
//! a folder on the disk that matters, because a sync into memory costs nothing.
//!
//! | name | one iteration, and what is not timed |
//! |---|---|
//! | `parse/lines` | cut a body of 10,000 lines into lines |
//! | `parse/fields` | and split each, and read its fields, without making columns |
//! | `parse/series` | take the series of each line apart, as for a series seen for the first time |
//! | `ingest/few_series_1`, `_2` | write bodies of 5,000 lines over 1 or 2 connections until all are acknowledged: decode, encode, ring, log, `fdatasync`, memory; flushes are not timed |
//! | `ingest/many_series_2` | the same with the devices in another order each round |
//! | `ingest/small_bodies_32` | the same in bodies of 100 lines over 32 connections, which share syncs |
//! | `log/encode` | encode a batch of 150 KB for the log |
//! | `log/append` | write it as a frame; new segments are timed, recycling old ones is not |
//! | `log/append_sync` | and `fdatasync` |
//! | `flush/sort_*` | sort a memtable by series and time |
//! | `flush/files_*` | seal, sort, write and sync Parquet, put it, commit to Delta; filling memory is not timed |
//! | `query/memory/*`, `query/files/*`, `query/both/*` | plan and run one SQL text and read its answer, with all rows in memory, all in files, or the older half in files |
//!
//! `few_series` are 1,000 devices in the same order each round, `many_series` 100,000 devices shuffled.
//! Throughput is in rows: those written, or those that a query has to look at (for one hour of one device,
//! those of the answer).

pub mod backfill;
pub mod data;
mod error;
pub mod files;
pub mod flushes;
pub mod node;
pub mod peers;
mod scale;
mod stopwatch;
pub mod tables;
mod usage;

pub use error::{Error, Result};
pub use scale::Scale;
pub use stopwatch::time_only;
