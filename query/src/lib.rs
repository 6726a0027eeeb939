//! Busbar's SQL: every table is its memtable and its files as one, as of one sequence.
//!
//! Purpose: answer read-only SQL within a deadline and a memory bound, and turn the answer into bytes of a
//! format that a client asked for.
//!
//! This crate does not know HTTP, tokens, line protocol, or how rows become durable. It depends on `storage`
//! only. Invariants: VIEW-1 (one snapshot per query, see `catalog`) and VIEW-2 (what may be pushed below
//! last-write-wins, see `table`).

mod catalog;
mod error;
pub mod format;
mod functions;
pub mod limits;
mod service;
mod source;
mod table;

pub use catalog::{ExternalError, ExternalTable, ExternalTables};
pub use error::{Error, ErrorKind, Result};
pub use service::{QueryResult, QueryService, ResultStream, Settings};
pub use source::Source;
