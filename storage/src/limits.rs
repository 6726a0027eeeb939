//! Every bound of the storage engine, with the reason for its number.

/// Fields and tags of one table. A building point has tens; 500 is what InfluxDB 3 allows, so data moves over.
pub const COLUMNS_PER_TABLE: usize = 500;

/// Tables of one database: each costs a memtable, a Delta log and a file at every flush.
pub const TABLES_PER_DATABASE: usize = 2_000;

/// Databases of one node. A database is a prefix of table names and costs next to nothing by itself.
pub const DATABASES: usize = 1_000;

/// Bytes of one series key (measurement and tags as written). The same as InfluxDB's 64 KiB, so that no
/// client that works there fails here.
pub const SERIES_KEY_BYTES: usize = 65_535;

/// Bytes of a database name, as in InfluxDB 3.
pub const DATABASE_NAME_BYTES: usize = 511;

/// Bytes of a table, tag or field name. File names are limited to 255 bytes and a table's folder is its
/// percent-encoded name (up to 3 bytes a byte) and id; longer names are cut there, not here.
pub const NAME_BYTES: usize = 65_535;

/// Bytes of one text field's value: 1 MiB, as InfluxDB documents.
pub const TEXT_VALUE_BYTES: usize = 1 << 20;

/// Bytes of log and staged files, by default. With the tables' store away a row of 4 fields takes some 60 bytes of
/// log and 10 of a staged file, so 100,000 rows/s can be taken for 25 minutes and 10,000 for four hours.
pub const DISK_BYTES: u64 = 10 << 30;

/// Bytes of log, by default, at which nothing waits any more to be flushed with others: a start reads 2 GiB in some
/// seconds.
pub const LOG_BYTES: u64 = 2 << 30;

/// Bytes of the series index, by default. A series of five tags costs about 250 bytes, its spelling included, and 100 in
/// the order of its table, which goes first: at half of this, some two million, the index forgets those that nothing
/// refers to; at all of it new ones are refused.
pub const SERIES_BYTES: usize = 1 << 30;

/// Tests of tags of one delete, which every reader makes for each series until files have had it applied.
pub const TESTS_PER_DELETE: usize = 100;

/// Deletes of one table that files have not had applied. Every query looks at each for each file, and a compaction
/// applies all of them at once; beyond this they come faster than that.
pub const DELETES_PER_TABLE: usize = 1_000;

/// Bytes of last values, by default: two million series of four fields, at some 110 bytes a series.
pub const LAST_VALUE_BYTES: usize = 256 << 20;

/// How far ahead of the engine's clock a row may lie: one day covers every time-zone mistake of a device
/// clock, while a unit mistake (ms for ns) is still refused.
pub const TIME_AHEAD_NS: i64 = 86_400_000_000_000;
