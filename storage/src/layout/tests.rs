//! Rows as they are laid out in files, and back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, Float64Array, Int64Array, StringArray,
    TimestampNanosecondArray, UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type};
use arrow::record_batch::RecordBatch;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::model::{ColumnId, DatabaseName, FieldColumn, FieldSchema, Scale, TableId, TableName};

fn column(id: u16, field_type: FieldType, stored_name: &str) -> PhysicalColumn {
    PhysicalColumn { id: ColumnId::new(id), field_type, stored_name: stored_name.into(), scale: None }
}

/// Two tags and one field of each kind, `i` and `u` widened.
pub(crate) fn schema() -> TableSchema {
    let database = DatabaseName::new("db").unwrap();
    let mut schema = TableSchema::new(TableId::new(26), database, TableName::new("room").unwrap());
    for (name, stored) in [("device", "device"), ("a b", "a%20b")] {
        schema.push_tag(TagSchema { name: name.into(), stored_name: stored.into() });
    }
    let fields = [
        ("f", column(1, FieldType::Float, "f"), None),
        ("i", column(2, FieldType::Integer, "i"), Some(column(3, FieldType::Float, "busbar_f64_i"))),
        ("u", column(4, FieldType::Unsigned, "u"), Some(column(5, FieldType::Float, "busbar_f64_u"))),
        ("n", column(6, FieldType::Unsigned, "n"), None),
        ("b", column(7, FieldType::Boolean, "b"), None),
        ("s", column(8, FieldType::Text, "s"), None),
        ("j", column(9, FieldType::Integer, "j"), None),
    ];
    for (name, narrow, wide) in fields {
        schema.push_field(FieldSchema { name: name.into(), narrow, wide });
    }
    schema
}

type Row = (
    (Option<String>, Option<String>, i64),
    (Option<f64>, Option<Result<i64, f64>>, Option<Result<u64, f64>>),
    (Option<u64>, Option<bool>, Option<String>, Option<i64>),
);

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let tag = || option::of("[a-c]{0,2}");
    let time = prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX), -2_000..2_000_i64];
    let float = || -1e300..1e300_f64;
    let identity = (tag(), tag(), time);
    let widened = (
        option::of(float()),
        option::of(prop_oneof![any::<i64>().prop_map(Ok), float().prop_map(Err)]),
        option::of(prop_oneof![any::<u64>().prop_map(Ok), float().prop_map(Err)]),
    );
    let plain =
        (option::of(any::<u64>()), any::<Option<bool>>(), option::of("\\PC{0,4}"), any::<Option<i64>>());
    vec((identity, widened, plain), 0..20)
}

fn dictionary<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<DictionaryArray<Int32Type>>())
}

fn physical(schema: &TableSchema, rows: &[Row]) -> RecordBatch {
    let tags = vec![
        dictionary(rows.iter().map(|r| r.0.0.as_deref())),
        dictionary(rows.iter().map(|r| r.0.1.as_deref())),
    ];
    let times: Vec<i64> = rows.iter().map(|r| r.0.2).collect();
    let fields: [(u16, ArrayRef); 9] = [
        (9, Arc::new(rows.iter().map(|r| r.2.3).collect::<Int64Array>())),
        (1, Arc::new(rows.iter().map(|r| r.1.0).collect::<Float64Array>())),
        (2, Arc::new(rows.iter().map(|r| r.1.1?.ok()).collect::<Int64Array>())),
        (3, Arc::new(rows.iter().map(|r| r.1.1?.err()).collect::<Float64Array>())),
        (4, Arc::new(rows.iter().map(|r| r.1.2?.ok()).collect::<UInt64Array>())),
        (5, Arc::new(rows.iter().map(|r| r.1.2?.err()).collect::<Float64Array>())),
        (6, Arc::new(rows.iter().map(|r| r.2.0).collect::<UInt64Array>())),
        (7, Arc::new(rows.iter().map(|r| r.2.1).collect::<BooleanArray>())),
        (8, Arc::new(rows.iter().map(|r| r.2.2.as_deref()).collect::<StringArray>())),
    ];
    let present = fields.into_iter().filter(|(_, values)| values.null_count() < values.len());
    let fields: Vec<_> =
        present.map(|(id, values)| FieldColumn { column: ColumnId::new(id), values }).collect();
    physical_batch(schema, tags, &times, &fields).unwrap()
}

#[expect(clippy::cast_precision_loss, reason = "that is what widening does")]
fn logical(schema: &TableSchema, rows: &[Row]) -> RecordBatch {
    let wide_i = |value: Result<i64, f64>| value.map_or_else(|float| float, |integer| integer as f64);
    let wide_u = |value: Result<u64, f64>| value.map_or_else(|float| float, |integer| integer as f64);
    let columns: Vec<ArrayRef> = vec![
        dictionary(rows.iter().map(|r| r.0.0.as_deref())),
        dictionary(rows.iter().map(|r| r.0.1.as_deref())),
        Arc::new(TimestampNanosecondArray::from_iter_values(rows.iter().map(|r| r.0.2))),
        Arc::new(rows.iter().map(|r| r.1.0).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|r| r.1.1.map(wide_i)).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|r| r.1.2.map(wide_u)).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|r| r.2.0).collect::<UInt64Array>()),
        Arc::new(rows.iter().map(|r| r.2.1).collect::<BooleanArray>()),
        Arc::new(rows.iter().map(|r| r.2.2.as_deref()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|r| r.2.3).collect::<Int64Array>()),
    ];
    RecordBatch::try_new(schema.logical_arrow(), columns).unwrap()
}

proptest! {
    #[test]
    fn what_is_laid_out_comes_back_exactly(rows in rows()) {
        let schema = schema();
        let physical = physical(&schema, &rows);
        let wanted = logical(&schema, &rows);
        prop_assert_eq!(&logical_batch(&schema, &physical, None).unwrap(), &wanted);
        let remainders = rows.iter().any(|row| row.0.2 % 1_000 != 0);
        prop_assert_eq!(physical.column_by_name(REMAINDER_COLUMN).is_some(), remainders);
        let stored = stored_schema(&schema);
        for field in physical.schema().fields() {
            prop_assert_eq!(field.as_ref(), stored.field_with_name(field.name()).unwrap());
        }
    }

    #[test]
    fn a_projection_is_the_same_columns(rows in rows(), projection in vec(0..10_usize, 0..5)) {
        let schema = schema();
        let physical = physical(&schema, &rows);
        let names = stored_columns(&schema, Some(&projection)).unwrap();
        let kept: Vec<usize> =
            names.iter().filter_map(|name| physical.schema().index_of(name).ok()).collect();
        let physical = physical.project(&kept).unwrap();
        let wanted = logical(&schema, &rows).project(&projection).unwrap();
        prop_assert_eq!(logical_batch(&schema, &physical, Some(&projection)).unwrap(), wanted);
    }
}

proptest! {
    #[test]
    fn sorted_rows_of_a_file_are_the_same_rows(mut rows in rows()) {
        let schema = schema();
        let missing_last = |tag: &Option<String>| (tag.is_none(), tag.clone());
        let identity = |row: &Row| (missing_last(&row.0.0), missing_last(&row.0.1), row.0.2);
        rows.sort_by_key(identity);
        rows.dedup_by_key(|row| identity(row));
        let sorted = sorted_rows(&schema, &physical(&schema, &rows)).unwrap();
        prop_assert_eq!(logical_rows(&schema, &sorted, None).unwrap(), logical(&schema, &rows));
        let projection = [9, 2, 0, 4];
        let wanted = logical(&schema, &rows).project(&projection).unwrap();
        prop_assert_eq!(logical_rows(&schema, &sorted, Some(&projection)).unwrap(), wanted);
    }
}

#[test]
fn a_file_that_is_not_sorted_is_damaged() {
    let schema = schema();
    let (early, late) = (one_row(7), one_row(8));
    let of = |rows: &[&Vec<Row>]| rows.iter().flat_map(|rows| (*rows).clone()).collect::<Vec<_>>();
    assert!(sorted_rows(&schema, &physical(&schema, &of(&[&early, &late]))).is_ok());
    for twisted in [of(&[&late, &early]), of(&[&early, &early])] {
        assert!(matches!(sorted_rows(&schema, &physical(&schema, &twisted)), Err(Error::Damaged(_))));
    }
    let mut other = one_row(9);
    other[0].0.0 = Some("a".into());
    assert!(matches!(
        sorted_rows(&schema, &physical(&schema, &of(&[&early, &other]))),
        Err(Error::Damaged(_))
    ));
}

fn one_row(time: i64) -> Vec<Row> {
    vec![(
        (Some("d".into()), None, time),
        (Some(1.5), Some(Err(2.5)), None),
        (Some(u64::MAX), None, Some("µ".into()), None),
    )]
}

#[test]
fn text_may_come_in_any_encoding() {
    let schema = schema();
    let rows = one_row(7);
    let physical = physical(&schema, &rows);
    let small = DataType::Dictionary(Box::new(DataType::UInt16), Box::new(DataType::Utf8));
    for encoding in [DataType::Utf8, DataType::Utf8View, DataType::LargeUtf8, small] {
        let mut fields = physical.schema().fields().iter().map(|f| f.as_ref().clone()).collect::<Vec<_>>();
        let mut columns = physical.columns().to_vec();
        for position in [0, 1, fields.len() - 1] {
            columns[position] = cast(&columns[position], &encoding).unwrap();
            fields[position].set_data_type(encoding.clone());
        }
        let encoded = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
        let got = logical_batch(&schema, &encoded, None).unwrap();
        let tag = got.column(0).as_dictionary::<Int32Type>().downcast_dict::<StringArray>().unwrap();
        assert_eq!(tag.into_iter().next().unwrap(), Some("d"));
        assert!(got.column(1).is_null(0));
        assert_eq!(got.column(8).as_string::<i32>().value(0), "µ");
    }
}

#[test]
fn a_file_without_times_or_with_foreign_types_is_damaged() {
    let schema = schema();
    let physical = physical(&schema, &one_row(7));
    let no_time = physical.project(&[0, 1]).unwrap();
    assert!(matches!(logical_batch(&schema, &no_time, None), Err(Error::Damaged(_))));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["1"]));
    let foreign = RecordBatch::try_from_iter([("i", text)]).unwrap();
    assert!(matches!(logical_batch(&schema, &foreign, Some(&[4])), Err(Error::Damaged(_))));
    assert!(matches!(stored_columns(&schema, Some(&[10])), Err(Error::Internal(_))));
}

#[test]
fn columns_that_are_not_of_the_table_are_refused() {
    let schema = schema();
    assert!(physical_batch(&schema, vec![], &[], &[]).is_err());
    let tags = vec![dictionary([None].into_iter()), dictionary([None].into_iter())];
    let stranger = FieldColumn { column: ColumnId::new(99), values: Arc::new(Int64Array::from(vec![1])) };
    assert!(physical_batch(&schema, tags, &[1], &[stranger]).is_err());
}

#[test]
fn the_delta_schema_names_every_stored_column_and_the_partition() {
    let delta = delta_schema(&schema()).unwrap();
    let names: Vec<_> = delta.fields().map(|field| field.name().clone()).collect();
    let mut stored: Vec<_> = stored_schema(&schema()).fields().iter().map(|f| f.name().clone()).collect();
    stored.push(DATE_COLUMN.to_owned());
    assert_eq!(names, stored);
    assert_eq!(delta.field("n").unwrap().data_type(), &DeltaType::decimal(20, 0).unwrap());
    assert!(!delta.field(TIME_COLUMN).unwrap().is_nullable());
}

#[test]
fn a_delta_schema_says_which_columns_are_tags_and_which_are_fields() {
    let mut schema = schema();
    let scaled = PhysicalColumn { scale: Some(Scale::new(2).unwrap()), ..column(10, FieldType::Float, "q") };
    schema.push_field(FieldSchema { name: "q".into(), narrow: scaled, wide: None });
    let described = super::described(&delta_schema(&schema).unwrap());
    let without_id = |column: &PhysicalColumn| PhysicalColumn { id: ColumnId::default(), ..column.clone() };
    let without_ids = |field: &FieldSchema| FieldSchema {
        name: field.name.clone(),
        narrow: without_id(&field.narrow),
        wide: field.wide.as_ref().map(without_id),
    };
    assert_eq!(described.tags, schema.tags);
    assert_eq!(described.fields, schema.fields.iter().map(without_ids).collect::<Vec<_>>());
    // Without what they say of themselves: the columns before the time are tags, and names are decoded.
    let silent = delta_schema(&schema).unwrap();
    let silent =
        silent.fields().cloned().map(|column| StructField { metadata: Default::default(), ..column });
    let guessed = super::described(&StructType::try_new(silent).unwrap());
    assert_eq!(guessed, described);
}

#[test]
fn folders_are_encoded_and_short() {
    let folder = |database: &str, table: &str| {
        let (database, table) = (DatabaseName::new(database).unwrap(), TableName::new(table).unwrap());
        table_folder(&TableSchema::new(TableId::new(0x2a), database, table)).to_string()
    };
    assert_eq!(folder("db", "room_1-a"), "db/room_1-a.2a");
    assert_eq!(folder("db/rp", "°C"), "db!2Frp/!C2!B0C.2a");
    assert_eq!(folder("db", "a b/.."), "db/a!20b!2F!2E!2E.2a");
    assert_eq!(folder("db", "a!%"), "db/a!21!25.2a");
    assert_eq!(folder(&"d".repeat(511), "t"), format!("{}/t.2a", "d".repeat(180)));
    assert_eq!(folder("db", &"x".repeat(500)).len(), "db/.2a".len() + 180);
    let cut = folder("db", &format!("{}°", "x".repeat(178)));
    assert_eq!(cut, format!("db/{}.2a", "x".repeat(178)));
}

#[test]
fn days_before_1970_count_down() {
    let date = |nanos| date_of(Timestamp::from_nanos(nanos));
    assert_eq!((date(0), date(-1), date(NANOS_PER_DAY)), (0, -1, 1));
    assert_eq!(partition_folder(-1).unwrap(), "busbar_date=1969-12-31");
    for day in [date(i64::MIN), -1, 0, 20_777, date(i64::MAX)] {
        assert_eq!(parse_date(&date_text(day).unwrap()), Some(day));
    }
}
