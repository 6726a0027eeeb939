//! Tests of the planning: what is merged, and what is left alone.

use std::sync::Arc;

use object_store::path::Path;
use proptest::prelude::*;

use super::CompactionConfig;
use super::plan::{Job, Want, next_job};
use crate::model::{DataFile, Delete, FilePlace, Sequence, SequenceRange, TableId, TimeRange};
use crate::tombstone::Tombstone;

const MIB: u64 = 1 << 20;
const HOUR_MS: u64 = 3_600_000;

fn config() -> CompactionConfig {
    CompactionConfig { target_bytes: 512 * MIB, fan_in: 4, max_inputs: 16, ..CompactionConfig::default() }
}

/// The `number`th file of a day, written at that minute.
fn file(date: i32, number: u64, bytes: u64) -> Arc<DataFile> {
    let sequence = Sequence::new((number * 60_000) << 16);
    Arc::new(DataFile {
        place: FilePlace::Table,
        path: Path::from(format!("db/t.1/busbar_date={date}/{number}.parquet")),
        date,
        rows: bytes / 4,
        bytes,
        checksum: 0,
        times: TimeRange::ALL,
        sequences: SequenceRange { min: sequence, max: sequence },
        deleted_up_to: Sequence::ZERO,
        stats: String::new(),
    })
}

fn job(files: &[Arc<DataFile>], now_ms: u64, want: Want) -> Option<Job> {
    next_job(TableId::new(1), files, &[], now_ms, want, &config())
}

/// Runs all jobs, as if each gave a file of its inputs' bytes. Returns the files that are left and the bytes that
/// were written.
fn run(mut files: Vec<Arc<DataFile>>, now_ms: u64, want: Want) -> (Vec<Arc<DataFile>>, u64) {
    let mut written = 0;
    while let Some(job) = job(&files, now_ms, want) {
        assert!(job.inputs.len() > 1, "a job makes fewer files");
        let at = files.iter().position(|file| Arc::ptr_eq(file, &job.inputs[0])).unwrap();
        let of_day: Vec<_> = files.iter().filter(|file| file.date == job.date).cloned().collect();
        let first = of_day.iter().position(|file| Arc::ptr_eq(file, &job.inputs[0])).unwrap();
        assert_eq!(of_day[first..first + job.inputs.len()], job.inputs, "inputs are neighbours (SEQ-2)");
        let bytes = job.inputs.iter().map(|file| file.bytes).sum();
        assert!(bytes <= config().target_bytes && job.inputs.len() <= config().max_inputs);
        written += bytes;
        let sequences = job.inputs.iter().map(|file| file.sequences).reduce(SequenceRange::union).unwrap();
        let output = DataFile { bytes, sequences, ..(*job.inputs[0]).clone() };
        files.insert(at, Arc::new(output));
        files.retain(|file| !job.inputs.iter().any(|input| Arc::ptr_eq(input, file)));
    }
    (files, written)
}

#[test]
fn neighbours_of_one_size_are_merged_while_the_day_is_filled() {
    let files: Vec<_> = (0..4).map(|n| file(7, n, MIB / 2)).collect();
    assert!(job(&files[..3], 0, Want::Due).is_none());
    assert_eq!(job(&files, 0, Want::Due).unwrap().inputs, files);
    // A file that outweighs the others is not written again for them.
    let parted = [file(7, 0, MIB), file(7, 1, MIB), file(7, 2, 100 * MIB), file(7, 3, MIB), file(7, 4, MIB)];
    assert!(job(&parted, 0, Want::Due).is_none());
}

#[test]
fn a_file_of_the_target_size_is_left_alone() {
    let files: Vec<_> = (0..8).map(|n| file(7, n, 600 * MIB)).collect();
    for want in [Want::Due, Want::All] {
        assert!(job(&files, u64::MAX >> 16, want).is_none());
    }
}

#[test]
fn a_settled_day_becomes_one_file_and_the_newest_day_is_first() {
    let files = [file(7, 0, MIB), file(8, 1, MIB), file(7, 2, 3 * MIB), file(8, 3, 20 * MIB)];
    assert_eq!(
        job(&files, 2 * HOUR_MS, Want::Due).unwrap().date,
        7,
        "20 MiB are not written again for 1 MiB"
    );
    assert_eq!(job(&files, 2 * HOUR_MS, Want::All).unwrap().date, 8);
    assert!(job(&files, HOUR_MS / 2, Want::Due).is_none());
    let (left, _) = run(files.to_vec(), 2 * HOUR_MS, Want::All);
    assert_eq!(
        left.iter().map(|file| (file.date, file.bytes)).collect::<Vec<_>>(),
        [(7, 4 * MIB), (8, 21 * MIB)]
    );
}

#[test]
fn a_trickle_of_late_rows_does_not_have_a_large_file_rewritten_each_time() {
    let mut files = vec![file(7, 0, 400 * MIB)];
    let mut written = 0;
    for hour in 1..200 {
        files.push(file(7, hour * 61, 10_000));
        let (left, bytes) = run(files, hour * 2 * HOUR_MS, Want::Due);
        files = left;
        written += bytes;
    }
    assert!(files.len() <= 5, "{} files", files.len());
    assert!(written < 50 * 400 * MIB, "{} MiB", written / MIB);
}

#[test]
fn a_file_that_holds_deleted_rows_is_written_again_alone_and_once() {
    let files = [file(7, 0, 600 * MIB), file(7, 1, 600 * MIB)];
    let delete = Delete { tables: vec![], times: TimeRange::ALL, tags: vec![] };
    // Between the two files: it hides rows of the first.
    let tombstone = Arc::new(Tombstone::new(Sequence::new(30_000 << 16), &delete));
    let tombstones = [Arc::clone(&tombstone)];
    let job = |files: &[Arc<DataFile>]| {
        next_job(TableId::new(1), files, &tombstones, u64::MAX >> 16, Want::Due, &config())
    };
    let found = job(&files).unwrap();
    assert_eq!((&found.inputs[..], found.deleted_up_to()), (&files[..1], tombstone.sequence));
    let rewritten = DataFile { deleted_up_to: found.deleted_up_to(), ..(*files[0]).clone() };
    assert!(job(&[Arc::new(rewritten), Arc::clone(&files[1])]).is_none());
}

#[test]
fn staged_files_are_not_merged() {
    let staged = |n| Arc::new(DataFile { place: FilePlace::Staged, ..(*file(7, n, MIB)).clone() });
    assert!(job(&(0..8).map(staged).collect::<Vec<_>>(), 0, Want::All).is_none());
}

proptest! {
    #[test]
    fn merging_ends_with_few_files_at_a_cost_that_grows_with_the_logarithm(
        sizes in proptest::collection::vec(10_000_u64..30 * MIB, 1..400),
    ) {
        let total: u64 = sizes.iter().sum();
        let (mut files, mut written) = (Vec::new(), 0);
        for (number, bytes) in sizes.iter().enumerate() {
            files.push(file(7, number as u64, *bytes));
            let (left, bytes) = run(files, number as u64 * 60_000, Want::Due);
            files = left;
            written += bytes;
        }
        prop_assert_eq!(files.iter().map(|file| file.bytes).sum::<u64>(), total);
        prop_assert!(written <= 6 * total, "{} times", written / total);
        prop_assert!(files.len() as u64 <= 30 + total / (64 * MIB), "{} files", files.len());
        let settled = HOUR_MS + sizes.len() as u64 * 60_000;
        let (left, _) = run(files, settled, Want::All);
        prop_assert!(left.len() as u64 <= 1 + 2 * total / config().target_bytes, "{} files", left.len());
    }
}
