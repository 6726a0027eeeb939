//! Values at the ends of their types, pages without any, and dictionaries that grow too large.

use super::*;

/// Writes a column of floats and one of integers, and reads their bits back by the crate.
fn read_back(floats: &[Option<f64>], integers: &[Option<i64>]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let times: Vec<i64> = (0..i64::try_from(floats.len()).unwrap()).map(|i| i * 1_000).collect();
    let fields: [(u16, ArrayRef); 2] = [
        (1, Arc::new(floats.iter().copied().collect::<Float64Array>())),
        (2, Arc::new(integers.iter().copied().collect::<Int64Array>())),
    ];
    let fields = fields.into_iter().map(|(id, values)| FieldColumn { column: ColumnId::new(id), values });
    let rows = SortedRows { fields: fields.collect(), ..rows(&times) };
    write(&LocalDisk, &path, &schema(), &rows, TimeRange::ALL).unwrap();
    let read = logical(&path);
    let column = |name: &str| Arc::clone(read.column_by_name(name).unwrap());
    let found = column("t");
    let found = found.as_primitive::<arrow::datatypes::Float64Type>().iter().map(|v| v.map(f64::to_bits));
    assert!(found.eq(floats.iter().map(|v| v.map(f64::to_bits))));
    let found = column("n");
    assert!(found.as_primitive::<arrow::datatypes::Int64Type>().iter().eq(integers.iter().copied()));
}

#[test]
fn values_at_the_ends_of_their_types_come_back_bit_for_bit() {
    let floats =
        [f64::NAN, -f64::NAN, 0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, f64::MAX];
    let integers = [i64::MIN, i64::MAX, 0, -1, 1, i64::MIN + 1, i64::MAX - 1, 7];
    for rows in [1, 2, 33, 129, 50_000] {
        let cycle = |i: usize| i * 7 % 8;
        let some_floats: Vec<_> = (0..rows).map(|i| (i % 5 != 3).then(|| floats[cycle(i)])).collect();
        let some_integers: Vec<_> = (0..rows).map(|i| (i % 3 != 1).then(|| integers[cycle(i)])).collect();
        read_back(&some_floats, &some_integers);
    }
}

#[test]
fn pages_without_a_value_and_floats_that_are_no_numbers_are_read() {
    let rows = 70_000;
    // The first three pages have none, or none that is a number.
    let late = |row: usize| row >= 60_000;
    let integers: Vec<_> = (0..rows).map(|row| late(row).then_some(5)).collect();
    read_back(&(0..rows).map(|row| late(row).then_some(1.5)).collect::<Vec<_>>(), &integers);
    read_back(
        &(0..rows).map(|row| Some(if late(row) { 1.5 } else { f64::NAN })).collect::<Vec<_>>(),
        &integers,
    );
}

#[test]
fn a_dictionary_that_grows_too_large_is_given_up() {
    // A third of the neighbours repeat, so that one is tried: of 175,000 values in the first row group.
    let value = |row: u32| Some(f64::from(row - row / 3) * 0.37);
    read_back(&(0..300_000).map(value).collect::<Vec<_>>(), &(0..300_000).map(Some).collect::<Vec<_>>());
}
