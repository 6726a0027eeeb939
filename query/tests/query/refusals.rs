//! What is not a query is refused, and does nothing.

use query::{Error, ErrorKind};

use super::world::{DATABASE, World};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_one_read_only_statement_is_run() {
    let mut world = World::new().await;
    world.write_text("room,device=a co2=1.0 1000");
    let target = tempfile::TempDir::new().unwrap();
    let copy = format!("COPY room TO '{}/out.parquet'", target.path().display());
    let external = "CREATE EXTERNAL TABLE x STORED AS PARQUET LOCATION '/tmp/x'";
    let cases = [
        copy.as_str(),
        external,
        "CREATE TABLE x AS SELECT 1",
        "CREATE VIEW x AS SELECT 1",
        "CREATE SCHEMA x",
        "CREATE DATABASE x",
        "DROP TABLE room",
        "INSERT INTO room VALUES ('a', now(), 1.0)",
        "UPDATE room SET co2 = 2.0",
        "DELETE FROM room",
        "TRUNCATE TABLE room",
        "SET datafusion.execution.batch_size = 1",
        "RESET datafusion.execution.batch_size",
        "BEGIN",
        "COMMIT",
        "PREPARE p AS SELECT 1",
        "EXPLAIN DELETE FROM room",
        "EXPLAIN ANALYZE INSERT INTO room VALUES ('a', now(), 1.0)",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE room",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM '/etc/passwd.csv'",
        "SELECT * FROM 'https://example.com/x.parquet'",
        "SELECT * FROM read_parquet('/etc/passwd')",
        "SHOW ALL",
        "SELECT repeat('x', 2000000000)",
        "SELECT lpad('x', 2000000000)",
        "SELECT array_repeat(1, 2000000000)",
        "SELECT list_repeat(1, 2000000000)",
        "SELECT generate_series(1, 2000000000)",
        "SELECT gen_series(1, 2000000000)",
        "SELECT range(1, 2000000000)",
        "",
        "  ;",
        "SELEC 1",
        "SELECT missing FROM room",
        "SELECT 1 / 0",
        "SELECT CAST('x' AS BIGINT) FROM room",
    ];
    for sql in cases {
        let error = world.query(sql).await.expect_err(sql);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{sql}: {error}");
    }
    assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 0);
    let rows = world.query("SELECT * FROM room").await.unwrap();
    assert_eq!(rows.iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_is_too_long_or_too_deep_is_refused() {
    let world = World::new().await;
    let long = format!("SELECT 1 -- {}", "x".repeat(1 << 20));
    let deep = format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000));
    for sql in [long, deep] {
        let error = world.query(&sql).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_exist_is_not_found() {
    let world = World::new().await;
    let error = world.service.query(Some("nowhere"), "SELECT 1").await.unwrap_err();
    assert!(matches!(error, Error::DatabaseNotFound(name) if name == "nowhere"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_the_system_tables_list_every_database() {
    let mut world = World::new().await;
    world.write_text("room,device=a co2=1.0 1000");
    let count = async |database: Option<&str>, sql: &str| {
        let result = world.service.query(database, sql).await?;
        let batches: Vec<_> = futures::TryStreamExt::try_collect(result.batches).await?;
        Ok::<_, Error>(batches.iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>())
    };
    let tables = "SELECT * FROM system.tables";
    assert_eq!(count(None, tables).await.unwrap(), 1);
    assert_eq!(count(Some(DATABASE), tables).await.unwrap(), 1);
    assert_eq!(count(None, "SELECT * FROM room").await.unwrap_err().kind(), ErrorKind::Invalid);
    let other = storage::model::DatabaseName::new("other").unwrap();
    world.engine.catalog().create_database(&other).unwrap();
    assert_eq!(count(Some("other"), tables).await.unwrap(), 0);
    assert_eq!(
        count(Some("other"), "SELECT * FROM building.iox.room").await.unwrap_err().kind(),
        ErrorKind::Invalid
    );
}
