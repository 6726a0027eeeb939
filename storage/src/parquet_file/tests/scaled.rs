//! What a declared scale saves.

use super::*;
use crate::disk::sim::Random;
use crate::model::Scale;

/// Sensors that go up and down by a tenth, as those of rooms do.
fn readings(series: usize, points: usize) -> SortedRows {
    let mut random = Random::of(7, 0);
    let (mut keys, mut ends, mut times, mut values) = (vec![], vec![], vec![], vec![]);
    for device in 0..series {
        let mut tenths = 200 + i32::try_from(random.below(50)).unwrap();
        for point in 0..points {
            times.push(i64::try_from(point).unwrap() * 10_000_000_000);
            tenths += i32::try_from(random.below(3)).unwrap() - 1;
            values.push(f64::from(tenths) / 10.0);
        }
        keys.push(key(Some(&format!("device-{device:05}")), None));
        ends.push(u32::try_from(times.len()).unwrap());
    }
    let values: ArrayRef = Arc::new(Float64Array::from(values));
    let fields = vec![FieldColumn { column: ColumnId::new(1), values }];
    let keys = keys.iter().map(SeriesKey::borrowed).collect();
    SortedRows { keys, ends, times: times.into(), fields }
}

/// Bytes of a row in a file of such readings.
#[expect(clippy::cast_precision_loss, reason = "a test has few rows")]
fn bytes_of_a_row(scale: Option<Scale>, rows: &SortedRows) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let mut schema = schema();
    schema.fields[0].narrow.scale = scale;
    let path = folder.path().join("x.parquet");
    let written = write(&LocalDisk, &path, &schema, rows, TimeRange::ALL).unwrap();
    f64::from(u32::try_from(written.bytes).unwrap()) / rows.rows() as f64
}

#[test]
fn decimals_take_less_than_half_the_bytes_of_floats() {
    let rows = readings(100, 3_000);
    let (floats, decimals) =
        (bytes_of_a_row(None, &rows), bytes_of_a_row(Some(Scale::new(1).unwrap()), &rows));
    assert!(decimals * 2.0 < floats, "{decimals:.3} and {floats:.3} bytes a row");
}
