//! Busbar's storage: the log, the memtable, files, Delta tables, small durable streams and the registry.
//!
//! Purpose: make rows durable, keep them queryable as one snapshot, and hand them to Delta Lake.
//!
//! This crate does not know any protocol, HTTP, SQL text, or alert rule. It depends on no other crate of the
//! workspace. Invariants have names (`SEQ-1`, `LOG-2`, `TXN-1`, ...): `FORMAT.md` lists them beside the bytes
//! that keep them.

pub mod backup;
pub mod catalog;
pub mod clock;
pub mod cluster;
pub mod compaction;
pub mod delta;
pub mod disk;
pub mod engine;
pub mod erasure;
mod error;
mod flush;
pub mod last_value;
pub mod layout;
pub mod limits;
pub mod log;
pub mod memtable;
pub mod merge;
pub mod missing;
pub mod model;
pub mod object;
pub mod parquet_file;
pub mod quarantine;
pub mod registry;
pub mod retention;
pub mod rows;
pub mod series;
pub mod stream;
pub mod tap;
pub mod tombstone;
pub mod vacuum;
pub mod verify;
pub mod view;

pub use error::{Error, ErrorKind, Result};
