//! Every format, read back by a reader of that format.

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, SchemaRef};
use bytes::Bytes;
use futures::TryStreamExt;
use query::ErrorKind;
use query::format::{Format, encode};

use super::world::{DATABASE, World};

const ALL: &str = "SELECT device, time, f, i, u, b, s FROM m ORDER BY time";

async fn world() -> World {
    let mut world = World::new().await;
    world.write_text(
        "m,device=a f=1.5,i=-9007199254740993i,u=18446744073709551615u,b=t,s=\"x\" 1423072260000000000\n\
         m f=2.0,s=\"c,d\" 1423072260000000001",
    );
    world
}

async fn bytes(world: &World, format: Format, sql: &str) -> query::Result<Bytes> {
    let result = world.service.query(Some(DATABASE), sql).await?;
    let chunks: Vec<Bytes> = encode(format, result)?.try_collect().await?;
    Ok(chunks.concat().into())
}

async fn text(world: &World, format: Format, sql: &str) -> String {
    String::from_utf8(bytes(world, format, sql).await.unwrap().to_vec()).unwrap()
}

fn joined(schema: &SchemaRef, batches: &[RecordBatch]) -> RecordBatch {
    concat_batches(schema, batches).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_an_array_of_rows_with_iso_times_and_without_nulls() {
    let world = world().await;
    let expected = concat!(
        r#"[{"device":"a","time":"2015-02-04T17:51:00","f":1.5,"i":-9007199254740993,"u":18446744073709551615,"b":true,"s":"x"},"#,
        r#"{"time":"2015-02-04T17:51:00.000000001","f":2.0,"s":"c,d"}]"#
    );
    assert_eq!(text(&world, Format::Json, ALL).await, expected);
    assert_eq!(text(&world, Format::Json, "SELECT f FROM m WHERE f > 5").await, "[]");
}

#[tokio::test(flavor = "multi_thread")]
async fn json_lines_are_one_row_each() {
    let world = world().await;
    let lines = text(&world, Format::JsonLines, ALL).await;
    let rows: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["u"], u64::MAX);
    assert_eq!(rows[1].get("device"), None);
    assert_eq!(text(&world, Format::JsonLines, "SELECT f FROM m WHERE f > 5").await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_has_a_header_and_quotes_what_needs_it() {
    let world = world().await;
    let expected = "device,time,f,i,u,b,s\n\
        a,2015-02-04T17:51:00,1.5,-9007199254740993,18446744073709551615,true,x\n\
        ,2015-02-04T17:51:00.000000001,2.0,,,,\"c,d\"\n";
    assert_eq!(text(&world, Format::Csv, ALL).await, expected);
    assert_eq!(text(&world, Format::Csv, "SELECT f, s FROM m WHERE f > 5").await, "f,s\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn pretty_is_a_table_and_has_a_bound() {
    let world = world().await;
    let table = text(&world, Format::Pretty, "SELECT device, f FROM m ORDER BY time").await;
    assert_eq!(
        table,
        "+--------+-----+\n| device | f   |\n+--------+-----+\n| a      | 1.5 |\n|        | 2.0 |\n+--------+-----+\n"
    );
    assert!(text(&world, Format::Pretty, "SELECT f FROM m WHERE f > 5").await.contains("| f |"));
    let many = "SELECT a.value, a.value, a.value FROM generate_series(1, 3000000) a";
    let error = bytes(&world, Format::Pretty, many).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn parquet_and_arrow_give_back_the_same_batch() {
    let world = world().await;
    let empty = "SELECT device, time, f, i, u, b, s FROM m WHERE f > 5";
    for sql in [ALL, empty] {
        let arrow = bytes(&world, Format::Arrow, sql).await.unwrap();
        let reader = arrow::ipc::reader::StreamReader::try_new(Cursor::new(arrow), None).unwrap();
        let schema = reader.schema();
        let ipc = joined(&schema, &reader.map(Result::unwrap).collect::<Vec<_>>());

        let parquet = bytes(&world, Format::Parquet, sql).await.unwrap();
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(parquet).unwrap();
        let schema = Arc::clone(reader.schema());
        let stored = joined(&schema, &reader.build().unwrap().map(Result::unwrap).collect::<Vec<_>>());

        assert_eq!(ipc.num_rows(), if sql == ALL { 2 } else { 0 });
        assert_eq!(ipc.num_columns(), 7);
        for (one, other) in ipc.columns().iter().zip(stored.columns()) {
            // The encoding of a dictionary may differ, the values may not.
            let plain = |column| match cast(column, &DataType::Utf8) {
                Ok(text) => text.as_string::<i32>().iter().map(|v| v.map(str::to_owned)).collect::<Vec<_>>(),
                Err(error) => panic!("{error}"),
            };
            assert_eq!(plain(one), plain(other));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_fails_on_the_way_ends_in_an_error() {
    let world = world().await;
    let sql = "SELECT 1 / (200000 - value) FROM generate_series(1, 300000)";
    for format in Format::ALL {
        let error = bytes(&world, format, sql).await.expect_err(format.name());
        assert_eq!(error.kind(), ErrorKind::Invalid, "{format}: {error}");
    }
}

#[test]
fn formats_are_known_by_name() {
    for format in Format::ALL {
        assert_eq!(format.name().to_uppercase().parse::<Format>().unwrap(), format);
    }
    assert_eq!("xml".parse::<Format>().unwrap_err().kind(), ErrorKind::Invalid);
}
