//! Tests of the payload's encoding.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, UInt64Array};
use proptest::prelude::*;

use super::{decode_definitions, decode_group, encode_batch, encode_definitions};
use crate::catalog::Definition;
use crate::model::{
    ColumnId, DatabaseName, Delete, FieldColumn, FieldType, Partition, PhysicalColumn, Retention, Scale,
    SeriesId, TableBatch, TableId, TableName, TagSchema, TagTest, TimeRange, Timestamp, WriteBatch,
};
use crate::series::SeriesKey;

fn column(rows: usize) -> impl Strategy<Value = ArrayRef> {
    use proptest::collection::vec;
    use proptest::option::of;
    prop_oneof![
        vec(of(any::<f64>()), rows).prop_map(|v| Arc::new(Float64Array::from(v)) as ArrayRef),
        vec(of(any::<i64>()), rows).prop_map(|v| Arc::new(Int64Array::from(v)) as ArrayRef),
        vec(of(any::<u64>()), rows).prop_map(|v| Arc::new(UInt64Array::from(v)) as ArrayRef),
        vec(of(any::<bool>()), rows).prop_map(|v| Arc::new(BooleanArray::from(v)) as ArrayRef),
        vec(of(".{0,9}"), rows).prop_map(|v| Arc::new(StringArray::from(v)) as ArrayRef),
        vec(any::<i64>(), rows).prop_map(|v| Arc::new(Int64Array::from(v)) as ArrayRef),
    ]
}

fn table() -> impl Strategy<Value = TableBatch> {
    (1_usize..20).prop_flat_map(|rows| {
        use proptest::collection::vec;
        let parts = (any::<u32>(), vec(any::<u32>(), rows), vec(any::<i64>(), rows), vec(column(rows), 0..5));
        parts.prop_map(|(table, series, times, columns)| TableBatch {
            table: TableId::new(table),
            series: series.into(),
            times: times.into(),
            fields: (0..)
                .zip(columns)
                .map(|(i, values)| FieldColumn { column: ColumnId::new(i), values })
                .collect(),
        })
    })
}

fn delete() -> impl Strategy<Value = Delete> {
    use proptest::collection::vec;
    let test = (".{0,9}", ".{0,9}", any::<bool>());
    let tests = vec(test.prop_map(|(tag, value, equal)| TagTest { tag, value, equal }), 0..3);
    (vec(any::<u32>(), 0..4), any::<i64>(), any::<i64>(), tests).prop_map(|(tables, min, max, tags)| Delete {
        tables: tables.into_iter().map(TableId::new).collect(),
        times: TimeRange::new(Timestamp::from_nanos(min), Timestamp::from_nanos(max)),
        tags,
    })
}

fn batch() -> impl Strategy<Value = WriteBatch> {
    use proptest::collection::vec;
    (vec(table(), 0..4), vec(delete(), 0..3)).prop_map(|(tables, deletes)| WriteBatch { tables, deletes })
}

fn same(a: &TableBatch, b: &TableBatch) -> bool {
    // Floats are compared by their bits, so that NaN equals itself.
    let fields = a.fields.iter().zip(&b.fields).all(|(x, y)| {
        x.column == y.column
            && x.values.data_type() == y.values.data_type()
            && format!("{:?}", x.values) == format!("{:?}", y.values)
    });
    a.table == b.table
        && a.series == b.series
        && a.times == b.times
        && a.fields.len() == b.fields.len()
        && fields
}

fn definitions() -> Vec<Definition> {
    let table = TableId::new(7);
    let column = |id, field_type| PhysicalColumn {
        id: ColumnId::new(id),
        field_type,
        stored_name: "µ%20".into(),
        scale: None,
    };
    vec![
        Definition::Database { name: DatabaseName::new("db/rp").unwrap() },
        Definition::Table {
            id: table,
            database: DatabaseName::new("db/rp").unwrap(),
            name: TableName::new("°C").unwrap(),
            partition: Partition::Day,
        },
        Definition::Tag { table, tag: TagSchema { name: "a b".into(), stored_name: "a%20b".into() } },
        Definition::Field { table, name: "f".into(), column: column(0, FieldType::Unsigned) },
        Definition::Widened { table, name: "f".into(), column: column(1, FieldType::Float) },
        Definition::Series { id: SeriesId::new(u32::MAX), table, key: SeriesKey::from_bytes(&[0, 255, 1]) },
        Definition::DatabaseRetention {
            database: DatabaseName::new("db/rp").unwrap(),
            retention: Some(Retention::FOREVER),
        },
        Definition::TableRetention { table, retention: Retention::from_nanos(3_600_000_000_007) },
        Definition::TableRetention { table, retention: None },
        Definition::TableRetentionKnown { table, lost: SeriesId::new(9) },
        Definition::DatabaseRetentionKnown {
            database: DatabaseName::new("db/rp").unwrap(),
            lost: SeriesId::new(u32::MAX),
        },
        Definition::TableFolder { table, folder: "db/t.shared".into() },
        Definition::Table {
            id: TableId::new(8),
            database: DatabaseName::new("db/rp").unwrap(),
            name: TableName::new("m").unwrap(),
            partition: Partition::Month,
        },
        Definition::Field {
            table,
            name: "g".into(),
            column: PhysicalColumn { scale: Some(Scale::new(2).unwrap()), ..column(2, FieldType::Float) },
        },
    ]
}

#[test]
fn a_batch_without_deletes_is_written_as_before_there_were_any() {
    let bytes = encode_batch(WriteBatch::default()).unwrap().bytes;
    assert_eq!(bytes, 0_u32.to_le_bytes());
}

proptest! {
    #[test]
    fn batches_come_back_as_they_were(batches in proptest::collection::vec(batch(), 0..4)) {
        let mut payload = encode_definitions(&definitions()).unwrap().bytes().to_vec();
        for batch in &batches {
            payload.extend(encode_batch(batch.clone()).unwrap().bytes);
        }
        let (found, decoded) = decode_group(&payload).unwrap();
        prop_assert_eq!(found, definitions());
        prop_assert_eq!(decode_definitions(&payload).unwrap(), definitions());
        prop_assert_eq!(decoded.len(), batches.len());
        for (decoded, batch) in decoded.iter().zip(&batches) {
            let mut tables = decoded.tables.iter().zip(&batch.tables);
            prop_assert!(decoded.tables.len() == batch.tables.len() && tables.all(|(a, b)| same(a, b)));
            prop_assert_eq!(&decoded.deletes, &batch.deletes);
        }
    }

    #[test]
    fn a_payload_that_was_cut_or_changed_never_panics(
        batch in batch(),
        cut in any::<proptest::sample::Index>(),
        at in any::<proptest::sample::Index>(),
        flip in 1_u8..,
    ) {
        let mut payload = encode_definitions(&definitions()).unwrap().bytes().to_vec();
        payload.extend(encode_batch(batch).unwrap().bytes);
        let at = at.index(payload.len());
        payload[at] ^= flip;
        payload.truncate(cut.index(payload.len()) + 1);
        let _either = decode_group(&payload);
    }
}
