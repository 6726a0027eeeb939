//! Tests of the log: what was durable comes back, a torn tail is cut, damage is told.

#![allow(clippy::cast_possible_truncation, reason = "test data is small")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use proptest::prelude::*;

use super::frame::HEADER_BYTES;
use super::{Epoch, LogReader, LogWriter, segment};
use crate::disk::{Disk, LocalDisk, ObservedDisk, Operation};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{FrameNumber, Sequence};

const SEGMENT: u64 = 16 << 10;

/// Frames as they were read: number and payload.
type Frames = Vec<(u64, Vec<u8>)>;

fn open(folder: &Path) -> Result<(LogWriter, Frames)> {
    let mut frames = Frames::new();
    let opened = LogWriter::open(Arc::new(LocalDisk), folder.into(), SEGMENT, &mut |header, payload| {
        frames.push((header.number.get(), payload.to_vec()));
        Ok(())
    })?;
    Ok((opened.0, frames))
}

fn payload(number: u64) -> Vec<u8> {
    let length = 17 + (number * 37) % 300;
    (0..length).map(|i| (number * 31 + i) as u8).collect()
}

fn write(log: &mut LogWriter, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        let frame = log.append(Sequence::new(number), &[&payload(number)]).unwrap();
        assert_eq!(frame.get(), number);
        log.sync().unwrap();
    }
}

fn expected(numbers: std::ops::RangeInclusive<u64>) -> Frames {
    numbers.map(|n| (n, payload(n))).collect()
}

/// The segment files and, of the last, the offset behind its last frame.
fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "seg"));
    paths.sort();
    paths
}

fn end_of(frames: &Frames) -> usize {
    let bytes: usize = frames.iter().map(|(_, payload)| super::frame::frame_bytes(payload.len())).sum();
    segment::HEADER_BYTES as usize + bytes
}

#[test]
fn frames_come_back_after_a_restart_over_many_segments() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, frames) = open(folder.path()).unwrap();
    assert!(frames.is_empty());
    write(&mut log, 1..=200);
    assert!(log.segments().len() > 2);
    drop(log);
    let (mut log, frames) = open(folder.path()).unwrap();
    assert_eq!(frames, expected(1..=200));
    write(&mut log, 201..=210);
    drop(log);
    assert_eq!(open(folder.path()).unwrap().1, expected(1..=210));
}

#[test]
fn a_torn_tail_is_cut_at_every_byte_and_earlier_frames_stay() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path()).unwrap();
    write(&mut log, 1..=5);
    drop(log);
    let path = segments(folder.path()).pop().unwrap();
    let whole = std::fs::read(&path).unwrap();
    let (start, end) = (end_of(&expected(1..=4)), end_of(&expected(1..=5)));
    let last = HEADER_BYTES + payload(5).len();
    for cut in start..end {
        for filler in [0_u8, 0xff] {
            let mut torn = whole.clone();
            torn[cut..end].fill(filler);
            std::fs::write(&path, &torn).unwrap();
            let (mut log, frames) = open(folder.path()).unwrap();
            let survives = torn[start..start + last] == whole[start..start + last];
            assert_eq!(frames.len(), if survives { 5 } else { 4 }, "cut at {cut}");
            let next = frames.len() as u64 + 1;
            write(&mut log, next..=next + 1);
            drop(log);
            assert_eq!(open(folder.path()).unwrap().1.len() as u64, next + 1);
        }
    }
}

#[test]
fn a_changed_byte_in_a_durable_frame_is_reported_as_damage() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path()).unwrap();
    write(&mut log, 1..=6);
    drop(log);
    let path = segments(folder.path()).pop().unwrap();
    let whole = std::fs::read(&path).unwrap();
    let (start, end) = (end_of(&expected(1..=2)), end_of(&expected(1..=3)));
    for at in (start..end).step_by(3) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        std::fs::write(&path, &bytes).unwrap();
        match open(folder.path()) {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Damaged, "byte {at}: {error}"),
            // Padding between frames holds nothing.
            Ok((_, frames)) => assert_eq!(frames, expected(1..=6), "byte {at}"),
        }
        std::fs::write(&path, &whole).unwrap();
    }
}

#[test]
fn a_missing_segment_in_the_middle_is_reported_as_damage() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path()).unwrap();
    write(&mut log, 1..=200);
    drop(log);
    std::fs::remove_file(&segments(folder.path())[1]).unwrap();
    assert_eq!(open(folder.path()).unwrap_err().kind(), ErrorKind::Damaged);
}

#[test]
fn a_segment_that_was_being_made_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path()).unwrap();
    write(&mut log, 1..=3);
    drop(log);
    std::fs::write(segment::path(folder.path(), 2), vec![0; SEGMENT as usize]).unwrap();
    let (mut log, frames) = open(folder.path()).unwrap();
    assert_eq!(frames, expected(1..=3));
    write(&mut log, 4..=200);
    drop(log);
    assert_eq!(open(folder.path()).unwrap().1, expected(1..=200));
}

#[test]
fn trimmed_segments_are_recycled_and_their_old_frames_never_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path()).unwrap();
    let mut written = 0;
    for _ in 0..10 {
        write(&mut log, written + 1..=written + 150);
        written += 150;
        log.trim(FrameNumber::new(written)).unwrap();
        assert_eq!(log.segments().len(), 1);
    }
    let first = log.segments()[0].first_frame.get();
    drop(log);
    assert!(std::fs::read_dir(folder.path()).unwrap().count() <= 1 + 1 + 2, "epoch, one segment, two spares");
    let (_, frames) = open(folder.path()).unwrap();
    assert_eq!(frames, expected(first..=written));
}

#[test]
fn a_reader_gets_exactly_the_frames_that_it_asks_for() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path()).unwrap();
    write(&mut log, 1..=200);
    let reader = LogReader::new(&LocalDisk, folder.path(), log.epoch());
    for (after, last) in [(0, 200), (0, 1), (57, 58), (120, 199), (200, 200), (199, 200)] {
        let mut frames = Frames::new();
        let visit = &mut |header: &super::FrameHeader, payload: &[u8]| {
            frames.push((header.number.get(), payload.to_vec()));
            Ok(())
        };
        reader.read(FrameNumber::new(after), FrameNumber::new(last), visit).unwrap();
        assert_eq!(frames, expected(after + 1..=last), "({after}, {last}]");
    }
    assert!(reader.read(FrameNumber::new(10), FrameNumber::new(201), &mut |_, _| Ok(())).is_err());
}

#[test]
fn a_failed_sync_poisons_the_log_until_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let syncs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&syncs);
    let disk = ObservedDisk::new(Arc::new(move |operation, path| {
        let failing = operation == Operation::Sync
            && path.extension().is_some_and(|e| e == "seg")
            && counted.fetch_add(1, Ordering::Relaxed) == 3;
        if failing { Err(Error::Internal("the disk is gone".into())) } else { Ok(()) }
    }));
    let (mut log, _) =
        LogWriter::open(Arc::new(disk), folder.path().into(), SEGMENT, &mut |_, _| Ok(())).unwrap();
    write(&mut log, 1..=2);
    log.append(Sequence::new(3), &[b"three"]).unwrap();
    assert!(matches!(log.sync(), Err(Error::LogPoisoned(_))));
    let syncs_then = syncs.load(Ordering::Relaxed);
    assert!(matches!(log.sync(), Err(Error::LogPoisoned(_))), "a failed sync is not tried again");
    assert!(matches!(log.append(Sequence::new(4), &[b"four"]), Err(Error::LogPoisoned(_))));
    assert_eq!(syncs.load(Ordering::Relaxed), syncs_then);
    assert_eq!(log.durable_frame().load(Ordering::Relaxed), 2);
    drop(log);
    let (_, frames) = open(folder.path()).unwrap();
    assert_eq!(frames[..2], expected(1..=2)[..]);
}

#[test]
fn a_full_disk_refuses_the_frame_keeps_the_log_and_leaves_no_half_segment() {
    let folder = tempfile::tempdir().unwrap();
    let full = Arc::new(AtomicBool::new(false));
    let is_full = Arc::clone(&full);
    let disk = ObservedDisk::new(Arc::new(move |operation, path| {
        if operation == Operation::Write && is_full.load(Ordering::Relaxed) && path.ends_with("segment.new") {
            return Err(Error::io("write", path)(std::io::ErrorKind::StorageFull.into()));
        }
        Ok(())
    }));
    let (mut log, _) =
        LogWriter::open(Arc::new(disk), folder.path().into(), SEGMENT, &mut |_, _| Ok(())).unwrap();
    write(&mut log, 1..=5);
    full.store(true, Ordering::Relaxed);
    let large = vec![1; SEGMENT as usize];
    let refused = log.append(Sequence::new(6), &[&large]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert!(!folder.path().join("segment.new").exists());
    write(&mut log, 6..=7);
    full.store(false, Ordering::Relaxed);
    log.append(Sequence::new(8), &[&large]).unwrap();
    log.sync().unwrap();
    drop(log);
    assert_eq!(open(folder.path()).unwrap().1.len(), 8);
}

#[test]
fn a_frame_larger_than_a_segment_gets_a_segment_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path()).unwrap();
    let large = vec![7; 3 * SEGMENT as usize];
    log.append(Sequence::new(1), &[&large]).unwrap();
    log.sync().unwrap();
    write(&mut log, 2..=3);
    drop(log);
    let (_, frames) = open(folder.path()).unwrap();
    assert_eq!(frames[0].1, large);
    assert_eq!(frames.len(), 3);
}

#[test]
fn segments_of_another_log_are_refused() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for folder in [&one, &other] {
        let (mut log, _) = open(folder.path()).unwrap();
        write(&mut log, 1..=2);
    }
    std::fs::copy(&segments(other.path())[0], &segments(one.path())[0]).unwrap();
    assert_eq!(open(one.path()).unwrap_err().kind(), ErrorKind::Damaged);
}

#[test]
fn the_epoch_stays_and_a_damaged_one_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let first = Epoch::open(&LocalDisk, folder.path()).unwrap();
    assert_eq!(Epoch::open(&LocalDisk, folder.path()).unwrap(), first);
    std::fs::write(folder.path().join("epoch"), "not a uuid").unwrap();
    assert_eq!(Epoch::open(&LocalDisk, folder.path()).unwrap_err().kind(), ErrorKind::Damaged);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever happens to one byte of a log, opening it gives frames as they were written, or an error.
    #[test]
    fn a_changed_byte_never_gives_a_wrong_frame(at in 0_usize..8_000, flip in 1_u8..) {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, _) = open(folder.path()).unwrap();
        write(&mut log, 1..=12);
        drop(log);
        let path = segments(folder.path()).pop().unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at] ^= flip;
        std::fs::write(&path, &bytes).unwrap();
        if let Ok((_, frames)) = open(folder.path()) {
            let whole = expected(1..=12);
            prop_assert_eq!(&frames[..], &whole[..frames.len()]);
            prop_assert!(frames.len() >= 11, "only the last frame may be taken for torn: {}", frames.len());
        }
    }
}

#[test]
fn a_segment_begins_in_the_spare_that_was_made_ahead() {
    let folder = tempfile::tempdir().unwrap();
    // What a killed process did not finish.
    let unfinished = folder.path().join("spare.7.new");
    std::fs::write(&unfinished, [0; 100]).unwrap();
    let made = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&made);
    let disk: Arc<dyn Disk> = Arc::new(ObservedDisk::new(Arc::new(move |operation, path| {
        let is_made = operation == Operation::Write && path.ends_with("segment.new");
        counted.fetch_add(usize::from(is_made), Ordering::Relaxed);
        Ok(())
    })));
    let (mut log, _) =
        LogWriter::open(Arc::clone(&disk), folder.path().into(), SEGMENT, &mut |_, _| Ok(())).unwrap();
    assert!(!unfinished.exists());
    let writes = made.load(Ordering::Relaxed);
    assert!(writes > 0, "the first segment is made when it is needed");
    let mut written = 0;
    for begun in 1..4 {
        while log.segments().len() == begun {
            written += 1;
            write(&mut log, written..=written);
            if let Some(number) = log.wanted_spare().unwrap() {
                assert_eq!(number, (1 << 63) + begun as u64 + 1);
                let spare = super::make_spare(&*disk, folder.path(), number, SEGMENT).unwrap();
                log.add_spares(&[spare]).unwrap();
                assert_eq!(log.wanted_spare().unwrap(), None);
            }
        }
    }
    assert_eq!(made.load(Ordering::Relaxed), writes);
    drop(log);
    assert_eq!(open(folder.path()).unwrap().1, expected(1..=written));
}
