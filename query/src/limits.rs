//! Every bound of a query, with the reason for its number.

use std::time::Duration;

/// Bytes of one SQL text. Dashboards send a few KB; a generated `IN` list of 50,000 device names is about this.
pub const SQL_BYTES: usize = 1 << 20;

/// Nesting of parentheses and subqueries that the parser follows: DataFusion's own default. A test refuses
/// 5,000 levels without a stack overflow.
pub const SQL_NESTING: usize = 50;

/// How long a query may run, waiting included: an assumption of how long anybody waits for a dashboard.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Memory of all queries together: half a GiB, which a small edge machine has.
pub const MEMORY_BYTES: usize = 512 << 20;

/// Memory of one query: half of what all have, so that one cannot starve the others.
pub const QUERY_MEMORY_BYTES: usize = MEMORY_BYTES / 2;

/// Disk that all queries together may spill to: eight times their memory.
pub const SPILL_BYTES: u64 = 4 << 30;

/// Queries that run at one time per core. Two keep a core busy while one waits for the disk.
pub const RUNNING_PER_CORE: usize = 2;

/// Queries that wait for their turn: three dashboards of 20 panels, an assumption, opened at once.
pub const WAITING: usize = 64;

/// Batches of an answer that wait for a slow reader. Two let the query compute while one is being sent.
pub const RESULT_BATCHES: usize = 2;

/// Rows of a batch: DataFusion's own default.
pub const BATCH_ROWS: usize = 8_192;

/// Bytes of the cache of Parquet footers: an eighth of the memory of queries. What a footer takes is not
/// measured; a query over more files than fit reads them again, at 0.28 ms each.
pub const FOOTER_CACHE_BYTES: usize = 64 << 20;

/// Threads that may wait in a file read at one time, for all queries.
pub const BLOCKING_THREADS: usize = 32;

/// Bytes of a *pretty* answer, which must be complete before its first line can be laid out. Nobody reads a
/// larger table by eye.
pub const PRETTY_BYTES: usize = 32 << 20;

/// Rows of a row group of a Parquet answer: it is held in memory until it is complete.
pub const PARQUET_GROUP_ROWS: usize = 65_536;
