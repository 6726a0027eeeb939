//! Row groups that end before they are full.

use super::*;

#[test]
fn a_row_group_that_is_ended_early_gives_back_its_memory_and_changes_no_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let times: Vec<i64> = (0..4_000).map(|i| i * 1_000_000_007).collect();
    let all = rows(&times);
    write(&LocalDisk, &path("whole.parquet"), &schema(), &all, TimeRange::ALL).unwrap();
    let of = |device: &str| {
        let kept = |key: &SeriesKey, times: &[i64]| {
            (key.tag(0) == Some(device)).then_some(0..times.len()).into_iter().collect()
        };
        all.clone().keep(kept).unwrap()
    };
    let target = path("parts.parquet");
    let mut writer = FileWriter::create(&LocalDisk, &target, &schema(), &Columns::of(&all)).unwrap();
    writer.end_row_group().unwrap();
    for device in ["a", "b"] {
        writer.write(&of(device)).unwrap();
        assert!(writer.held_bytes() > 2_000 * size_of::<i64>());
        writer.end_row_group().unwrap();
        assert_eq!(writer.held_bytes(), 0);
    }
    assert_eq!(writer.finish().unwrap().rows, 4_000);
    let file = fs::File::open(&target).unwrap();
    let groups = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().metadata().num_row_groups();
    assert_eq!(groups, 2);
    same(&logical(&target), &logical(&path("whole.parquet")));
}
