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
        let kept = |key: KeyRef<'_>, times: &[i64]| (key.tag(0) == Some(device)).then_some(0..times.len());
        all.pick(&all.positions(kept).unwrap().unwrap()).unwrap()
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

#[test]
fn rows_go_to_several_files_at_once_and_each_field_is_asked_for_once() {
    let folder = tempfile::tempdir().unwrap();
    // The later file has two row groups, and rows of both series.
    let times: Vec<i64> = (0..400_000).map(|i| i * 1_000_000_007).collect();
    let all = rows(&times);
    let cut = Timestamp::from_nanos(times[100_000]);
    let early = TimeRange::new(TimeRange::ALL.min, cut);
    let late = TimeRange::new(Timestamp::from_nanos(cut.nanos() + 1), TimeRange::ALL.max);
    let files = [(folder.path().join("early"), early), (folder.path().join("late"), late)];
    let mut asked = Vec::new();
    let fields: Vec<ColumnId> = all.fields.iter().map(|field| field.column).collect();
    let without_fields = SortedRows { fields: Vec::new(), ..all.clone() };
    let written = write_by_field(&LocalDisk, &files, &schema(), &without_fields, &fields, |field| {
        asked.push(field.narrow.id);
        Ok(all.field(field))
    })
    .unwrap();
    assert_eq!(asked, fields);
    assert_eq!(written.iter().map(|file| file.rows).sum::<u64>(), 400_000);
    for ((path, times), written) in files.iter().zip(written) {
        let part = all.within(*times).unwrap();
        assert_eq!(written.rows, part.rows() as u64);
        same(&logical(path), &logical_rows(&schema(), &part, None).unwrap());
        // The same file as if it were written group by group.
        let target = folder.path().join("by group");
        let mut by_group = FileWriter::create(&LocalDisk, &target, &schema(), &Columns::of(&all)).unwrap();
        by_group.write(&part).unwrap();
        assert_eq!(by_group.finish().unwrap(), written);
        assert_eq!(fs::read(&target).unwrap(), fs::read(path).unwrap());
    }
}
