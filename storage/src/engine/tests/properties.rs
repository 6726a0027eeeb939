//! Tests of partitions by month and of declared scales as parts of the engine.

use std::sync::Arc;

use arrow::datatypes::DataType;
use parquet::basic::{Encoding, Type};
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::{DAY, FilePlace, Node, Row, Rows, rows};
use crate::catalog::TableDeclaration;
use crate::layout::stored_schema;
use crate::model::{DatabaseName, Partition, Scale, TableName};

/// The table `t` by month, its field `v` with one digit after the point.
fn declare(node: &mut Node, scale: Option<u64>) {
    let declaration = TableDeclaration {
        database: DatabaseName::new("db").unwrap(),
        table: TableName::new("t").unwrap(),
        retention: None,
        partition: Some(Partition::Month),
        scales: scale.map(|digits| ("v".into(), Scale::new(digits).unwrap())).into_iter().collect(),
    };
    let schema = node.engine.catalog().declare_table(&declaration).unwrap().schema;
    let change = crate::catalog::SchemaChange {
        database: declaration.database,
        table: declaration.table,
        base: Some(Arc::clone(&schema)),
        tags: vec!["host".into()],
        fields: if scale.is_none() { vec![("v".into(), crate::model::FieldType::Float)] } else { vec![] },
        widen: vec![],
    };
    node.engine.catalog().apply(&change).unwrap();
}

#[tokio::test]
async fn a_table_by_month_has_one_file_of_each_month_after_a_merge() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open(folder.path()).await;
    declare(&mut node, None);
    let mut expected = Rows::new();
    for round in 0..4_i64 {
        // January has 31 days, so the days 28 to 33 are of two months.
        let batch: Vec<Row> = (28..34).map(|day| ("a", day * DAY + round, round as f64)).collect();
        node.write(&[("t", &batch)]);
        node.engine.flush().await.unwrap();
        expected.extend(rows(&batch));
    }
    assert_eq!(node.files("t").len(), 8, "one of each month and flush");
    assert_eq!(node.engine.compact(true).await.unwrap(), 2);
    let mut files = node.files("t");
    files.sort_by_key(|(_, rows)| *rows);
    assert_eq!(files, [(FilePlace::Table, 12), (FilePlace::Table, 12)]);
    assert_eq!(node.read("t").await, expected);
    drop(node);
    let node = Node::open(folder.path()).await;
    assert_eq!((node.schema("t").partition, node.read("t").await), (Partition::Month, expected));
    let snapshot = node.engine.snapshot();
    let files = &snapshot.table(node.schema("t").id).unwrap().files;
    let folders: Vec<_> =
        files.iter().map(|file| file.path.parts().nth(2).unwrap().as_ref().to_owned()).collect();
    assert!(folders.contains(&"busbar_date=1970-01-01".to_owned()), "{folders:?}");
    assert!(folders.contains(&"busbar_date=1970-02-01".to_owned()), "{folders:?}");
}

#[tokio::test]
async fn floats_with_a_scale_are_decimals_in_files_and_the_same_floats_for_everyone() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open(folder.path()).await;
    declare(&mut node, Some(1));
    let mut expected = Rows::new();
    let odd = [0.1 + 0.2, -0.0, f64::MAX, 1e-300, 21.55];
    for round in 0..3_i64 {
        let exact = (0..50).map(|i| ("a", i, (i * 7 + round) as f64 / 10.0));
        let other = odd.iter().zip(50..).map(|(value, i)| ("a", i, *value));
        // Each also takes the place of one of the other kind.
        let swapped = [("a", 0, 0.123), ("a", 51, 0.5)];
        let batch: Vec<Row> = exact.chain(other).chain(swapped).collect();
        node.write(&[("t", &batch)]);
        node.engine.flush().await.unwrap();
        expected.extend(rows(&batch));
        same_bits(&node.read("t").await, &expected);
    }
    node.engine.compact(true).await.unwrap();
    same_bits(&node.read("t").await, &expected);
    drop(node);
    let node = Node::open(folder.path()).await;
    same_bits(&node.read("t").await, &expected);
    let schema = node.schema("t");
    let decimal = stored_schema(&schema).field_with_name("v").unwrap().data_type().clone();
    assert_eq!(decimal, DataType::Decimal128(18, 1));
    let snapshot = node.engine.snapshot();
    let file = &snapshot.table(schema.id).unwrap().files[0];
    let stats: serde_json::Value = serde_json::from_str(&file.stats).unwrap();
    assert_eq!((&stats["minValues"]["v"], &stats["maxValues"]["v"]), (&0.5.into(), &34.5.into()));
    assert_eq!((&stats["nullCount"]["v"], &stats["nullCount"]["busbar_f64_v"]), (&5.into(), &50.into()));
    let path = folder.path().join("tables").join(file.path.as_ref());
    let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let column = reader.metadata().row_group(0).columns().iter().find(|c| c.column_path().string() == "v");
    let column = column.unwrap();
    assert_eq!(column.column_type(), Type::INT64);
    assert!(column.encodings().any(|encoding| encoding == Encoding::DELTA_BINARY_PACKED));
}

fn same_bits(found: &Rows, expected: &Rows) {
    let bits = |rows: &Rows| rows.iter().map(|(k, v)| (k.clone(), v.to_bits())).collect::<Vec<_>>();
    assert_eq!(bits(found), bits(expected));
}
