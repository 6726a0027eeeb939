//! Tests of streams: crashes are files cut or changed at every byte.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::{RecordNumber, Stream, StreamOptions};
use crate::error::ErrorKind;
use crate::model::Timestamp;

const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000_000);

/// Failpoints are the process's: with them, these tests take turns.
#[cfg(feature = "failpoints")]
pub(crate) fn alone() -> fail::FailScenario<'static> {
    fail::FailScenario::setup()
}

#[cfg(not(feature = "failpoints"))]
pub(crate) struct Alone;

#[cfg(not(feature = "failpoints"))]
pub(crate) fn alone() -> Alone {
    Alone
}

fn open(folder: &Path) -> crate::Result<Stream> {
    Stream::open(folder, StreamOptions::default())
}

fn payload(i: u64) -> Vec<u8> {
    (0..i * 7 % 40).map(|b| u8::try_from(b + i).unwrap()).collect()
}

fn read(stream: &Stream, after: u64) -> Vec<(u64, Vec<u8>)> {
    stream.read(RecordNumber::new(after)).map(|r| r.unwrap()).map(|r| (r.number.get(), r.payload)).collect()
}

fn expected(numbers: std::ops::RangeInclusive<u64>) -> Vec<(u64, Vec<u8>)> {
    numbers.map(|i| (i, payload(i))).collect()
}

/// A stream of `records` records in one segment; returns the segment's bytes and the offset of each frame.
fn written(folder: &Path, records: u64) -> (Vec<u8>, Vec<usize>) {
    let stream = open(folder).unwrap();
    let mut offsets = Vec::new();
    for i in 1..=records {
        offsets.push(usize::try_from(stream.bytes()).unwrap());
        assert_eq!(stream.append(&payload(i), NOW).unwrap().get(), i);
    }
    (fs::read(segment(folder, 1)).unwrap(), offsets)
}

fn segment(folder: &Path, first: u64) -> std::path::PathBuf {
    folder.join(format!("{first:020}.seg"))
}

#[test]
fn records_are_read_from_any_position_and_survive_a_reopen() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), 9);
    let stream = open(folder.path()).unwrap();
    for after in 0..=9 {
        assert_eq!(read(&stream, after), expected(after + 1..=9), "after {after}");
    }
    assert_eq!(stream.append(&payload(10), NOW).unwrap().get(), 10);
    assert_eq!((stream.first().get(), stream.last().get()), (1, 10));
    assert_eq!(read(&stream, 8), expected(9..=10));
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_earlier_records_stay() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let (bytes, offsets) = written(folder.path(), 8);
    for length in offsets[4]..bytes.len() {
        fs::write(segment(folder.path(), 1), &bytes[..length]).unwrap();
        let whole = offsets.iter().filter(|o| **o <= length).count() as u64 - 1;
        let stream = open(folder.path()).unwrap();
        assert_eq!(read(&stream, 0), expected(1..=whole), "cut at {length}");
        assert_eq!(stream.append(&payload(whole + 1), NOW).unwrap().get(), whole + 1);
        drop(stream);
        assert_eq!(read(&open(folder.path()).unwrap(), 0), expected(1..=whole + 1), "cut at {length}");
    }
}

#[test]
fn garbage_or_zeros_after_the_last_record_are_cut() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let (bytes, _) = written(folder.path(), 5);
    for fill in [0_u8, 0x5A, 0xFF] {
        for length in [1, 23, 24, 25, 512, 5_000] {
            let mut torn = bytes.clone();
            torn.resize(bytes.len() + length, fill);
            fs::write(segment(folder.path(), 1), &torn).unwrap();
            assert_eq!(read(&open(folder.path()).unwrap(), 0), expected(1..=5));
            assert_eq!(fs::read(segment(folder.path(), 1)).unwrap(), bytes);
        }
    }
}

#[test]
fn a_flipped_byte_before_the_last_record_is_damage_and_nothing_is_cut() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let (bytes, offsets) = written(folder.path(), 6);
    for at in 0..offsets[5] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        fs::write(segment(folder.path(), 1), &damaged).unwrap();
        let error = open(folder.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "byte {at}: {error}");
        assert_eq!(fs::read(segment(folder.path(), 1)).unwrap(), damaged);
    }
}

#[test]
fn damage_is_told_from_a_torn_tail_by_what_stands_behind_it() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let (bytes, offsets) = written(folder.path(), 6);
    for at in offsets[5]..bytes.len() {
        let mut torn = bytes.clone();
        torn[at] ^= 0x10;
        fs::write(segment(folder.path(), 1), &torn).unwrap();
        assert_eq!(read(&open(folder.path()).unwrap(), 0), expected(1..=5), "byte {at}");
    }
}

#[test]
fn a_missing_or_damaged_segment_in_the_middle_is_an_error() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let options = StreamOptions { segment_bytes: 1, ..StreamOptions::default() };
    let stream = Stream::open(folder.path(), options).unwrap();
    for i in 1..=4 {
        stream.append(&payload(i), NOW).unwrap();
    }
    assert_eq!(read(&stream, 1), expected(2..=4));
    drop(stream);
    let middle = segment(folder.path(), 2);
    let bytes = fs::read(&middle).unwrap();
    fs::write(&middle, &bytes[..bytes.len() - 1]).unwrap();
    assert_eq!(open(folder.path()).unwrap_err().kind(), ErrorKind::Damaged);
    fs::remove_file(&middle).unwrap();
    assert_eq!(open(folder.path()).unwrap_err().kind(), ErrorKind::Damaged);
}

#[test]
fn an_unfinished_segment_is_removed_and_an_empty_one_is_used() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let (bytes, _) = written(folder.path(), 3);
    fs::write(folder.path().join("00000000000000000004.seg.tmp"), b"BBST").unwrap();
    let mut empty = bytes[..8].to_vec();
    empty.extend_from_slice(&4_u64.to_le_bytes());
    fs::write(segment(folder.path(), 4), empty).unwrap();
    let stream = open(folder.path()).unwrap();
    assert_eq!(stream.last().get(), 3);
    assert_eq!(stream.append(&payload(4), NOW).unwrap().get(), 4);
    assert_eq!(read(&stream, 0), expected(1..=4));
    assert!(!folder.path().join("00000000000000000004.seg.tmp").exists());
}

#[test]
fn old_segments_go_by_age_and_by_bytes_but_not_what_is_pinned_and_numbers_go_on() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let options = StreamOptions { segment_bytes: 1, max_bytes: 1 << 20, max_age: Duration::from_secs(10) };
    let second = |s: i64| Timestamp::from_nanos(s * 1_000_000_000);
    let stream = Stream::open(folder.path(), options).unwrap();
    for i in 1..=6 {
        stream.append(&payload(u64::try_from(i).unwrap()), second(i)).unwrap();
    }
    let all = RecordNumber::new(u64::MAX);
    assert_eq!(stream.trim(second(11), all).unwrap(), 0);
    assert_eq!(stream.trim(second(14), RecordNumber::new(3)).unwrap(), 2);
    assert_eq!(stream.first().get(), 3);
    assert_eq!(stream.trim(second(14), all).unwrap(), 1);
    assert_eq!(read(&stream, 0), expected(4..=6));
    assert_eq!(stream.trim(second(100), all).unwrap(), 3);
    drop(stream);
    let tight = StreamOptions { max_bytes: 100, ..options };
    let stream = Stream::open(folder.path(), tight).unwrap();
    assert_eq!((stream.first().get(), stream.last().get()), (7, 6));
    for i in 7..=20 {
        assert_eq!(stream.append(&payload(i), second(200)).unwrap().get(), i);
    }
    stream.trim(second(200), all).unwrap();
    assert!(stream.bytes() <= 100 || stream.first() == stream.last());
    assert_eq!(stream.last().get(), 20);
}

#[test]
fn an_owner_removes_what_it_has_written_again_and_numbers_go_on() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), 3);
    let stream = open(folder.path()).unwrap();
    stream.begin_segment().unwrap();
    stream.begin_segment().unwrap();
    stream.append(&payload(4), NOW).unwrap();
    stream.remove_before(RecordNumber::new(4)).unwrap();
    assert_eq!(read(&stream, 0), expected(4..=4));
    stream.remove_before(RecordNumber::new(9)).unwrap();
    drop(stream);
    let stream = open(folder.path()).unwrap();
    assert_eq!(read(&stream, 0), expected(4..=4));
    assert_eq!(stream.append(&payload(5), NOW).unwrap().get(), 5);
}

#[cfg(feature = "failpoints")]
#[test]
fn a_full_disk_leaves_no_trace_and_a_failed_sync_ends_the_stream() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let stream = open(folder.path()).unwrap();
    stream.append(&payload(1), NOW).unwrap();
    fail::cfg("stream-write", "1*return").unwrap();
    assert_eq!(stream.append(&payload(2), NOW).unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(stream.append(&payload(2), NOW).unwrap().get(), 2);
    fail::cfg("stream-sync", "1*return").unwrap();
    stream.append(&payload(3), NOW).unwrap_err();
    assert_eq!(stream.append(&payload(3), NOW).unwrap_err().kind(), ErrorKind::Unavailable);
    drop(stream);
    let found = read(&open(folder.path()).unwrap(), 0);
    assert_eq!(found[..2], expected(1..=2));
}

#[test]
fn a_tolerant_reader_passes_over_damage_of_any_byte_and_numbers_go_on() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let (bytes, offsets) = written(folder.path(), 6);
    for at in 0..offsets[5] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        fs::write(segment(folder.path(), 1), &damaged).unwrap();
        let (stream, damages) = Stream::open_tolerant(folder.path(), StreamOptions::default()).unwrap();
        assert_eq!(damages.len(), 1, "byte {at}");
        let (found, lost): (Vec<_>, Vec<_>) = stream.read(RecordNumber::START).partition(Result::is_ok);
        let found: Vec<_> = found.into_iter().flatten().map(|r| (r.number.get(), r.payload)).collect();
        let hit = offsets.iter().rposition(|offset| *offset <= at).map(|record| record as u64 + 1);
        let expected: Vec<_> =
            expected(1..=6).into_iter().filter(|(number, _)| Some(*number) != hit).collect();
        assert_eq!(found, expected, "byte {at}");
        assert_eq!(lost.len(), usize::from(hit.is_some()), "byte {at}");
        assert_eq!(stream.append(&payload(7), NOW).unwrap().get(), 7);
        assert_eq!(stream.read(RecordNumber::new(6)).last().unwrap().unwrap().payload, payload(7));
    }
}

#[test]
fn a_tolerant_reader_passes_over_a_segment_that_is_gone_or_has_no_whole_record() {
    let _alone = alone();
    let one_each = StreamOptions { segment_bytes: 1, ..StreamOptions::default() };
    let numbers = |stream: &Stream| {
        let records = stream.read(RecordNumber::START).flatten();
        records.map(|record| record.number.get()).collect::<Vec<_>>()
    };
    for damage in 1..=4 {
        let folder = tempfile::tempdir().unwrap();
        let stream = Stream::open(folder.path(), one_each).unwrap();
        (1..=4).for_each(|i| assert_eq!(stream.append(&payload(i + 3), NOW).unwrap().get(), i));
        drop(stream);
        let path = segment(folder.path(), damage);
        match damage {
            2 => fs::remove_file(&path).unwrap(),
            _ => fs::write(&path, [0xFF; 60]).unwrap(),
        }
        assert_eq!(Stream::open(folder.path(), one_each).unwrap_err().kind(), ErrorKind::Damaged);
        let (stream, damages) = Stream::open_tolerant(folder.path(), one_each).unwrap();
        assert_eq!(damages.len(), 1, "segment {damage}");
        let expected: Vec<_> = (1..=4).filter(|number| *number != damage).collect();
        assert_eq!(numbers(&stream), expected);
        stream.begin_segment().unwrap();
        assert_eq!(stream.append(&payload(5), NOW).unwrap().get(), 5, "segment {damage}");
        stream.remove_before(RecordNumber::new(5)).unwrap();
        drop(stream);
        assert_eq!(numbers(&Stream::open(folder.path(), one_each).unwrap()), [5]);
    }
}
