//! Tests of salvage: what is lost is said exactly, what is not lost stays.

#![allow(clippy::cast_possible_truncation, reason = "test data is small")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;

use super::{LogWriter, Survey, encode_definitions, mend, salvage_reports, survey_log};
use crate::disk::LocalDisk;
use crate::error::ErrorKind;
use crate::model::Sequence;

const SEGMENT: u64 = 16 << 10;
const FRAMES: u64 = 150;

/// A payload that decodes: no definitions, and one batch with one table without columns.
fn payload(number: u64) -> Vec<u8> {
    let mut bytes = encode_definitions(&[]).unwrap().bytes().to_vec();
    let rows = 1 + number as u32 % 20;
    for word in [1, number as u32, rows, 0] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.extend(std::iter::repeat_n(number as u8, rows as usize * 12));
    bytes
}

fn write_log(folder: &Path) {
    let open = LogWriter::open(Arc::new(LocalDisk), folder.into(), SEGMENT, &mut |_, _| Ok(()));
    let (mut log, _) = open.unwrap();
    for number in 1..=FRAMES {
        log.append(Sequence::new(10 * number), &[&payload(number)]).unwrap();
        log.sync().unwrap();
    }
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "seg"));
    paths.sort();
    paths
}

fn survey(folder: &Path) -> (Survey, Vec<u64>) {
    let mut seen = Vec::new();
    let found = survey_log(&LocalDisk, folder, &mut |header, bytes| {
        assert_eq!(bytes, payload(header.number.get()));
        seen.push(header.number.get());
        Ok(())
    });
    (found.unwrap(), seen)
}

/// Mends the log, opens it strictly, and returns the frames that still have their payload.
fn salvage(folder: &Path, survey: &Survey) -> Vec<u64> {
    mend(&LocalDisk, folder, survey).unwrap().expect("there was damage");
    let (mut next, mut whole) = (1, Vec::new());
    let open = LogWriter::open(Arc::new(LocalDisk), folder.into(), SEGMENT, &mut |header, bytes| {
        assert_eq!(header.number.get(), next, "numbers are without gaps");
        next += 1;
        if !bytes.is_empty() {
            assert_eq!(bytes, payload(header.number.get()));
            whole.push(header.number.get());
        }
        Ok(())
    });
    let (mut log, _) = open.unwrap();
    assert_eq!(next, FRAMES + 1);
    log.append(Sequence::new(10 * FRAMES + 10), &[&payload(FRAMES + 1)]).unwrap();
    log.sync().unwrap();
    assert!(survey_log(&LocalDisk, folder, &mut |_, _| Ok(())).unwrap().losses.is_empty());
    whole
}

fn without(lost: std::ops::RangeInclusive<u64>) -> Vec<u64> {
    (1..=FRAMES).filter(|number| !lost.contains(number)).collect()
}

/// Where frame `number` stands: its segment's path and offset.
fn place(folder: &Path, number: u64) -> (PathBuf, usize) {
    let path = segments(folder).into_iter().find_map(|path| {
        let bytes = std::fs::read(&path).unwrap();
        let at = (4_096..bytes.len() - 16)
            .step_by(8)
            .find(|at| bytes[*at..].starts_with(b"BBFR") && bytes[at + 8..at + 16] == number.to_le_bytes());
        at.map(|at| (path, at))
    });
    path.unwrap()
}

fn flip(path: &Path, at: usize, bit: u8) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1 << bit;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_frame_is_located_quarantined_reported_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    write_log(folder.path());
    let (path, at) = place(folder.path(), 7);
    let damaged = {
        flip(&path, at + 50, 3);
        std::fs::read(&path).unwrap()
    };
    let (found, seen) = survey(folder.path());
    assert_eq!(seen, without(7..=7));
    let [loss] = found.losses.as_slice() else { panic!("{:?}", found.losses) };
    assert_eq!((loss.segment, loss.first_frame, loss.last_frame), (1, 7, 7));
    assert_eq!(loss.from_byte, at as u64);
    assert_eq!(loss.to_byte, place(folder.path(), 8).1 as u64);
    assert_eq!((loss.after_sequence, loss.before_sequence), (60, Some(80)));
    let strict = LogWriter::open(Arc::new(LocalDisk), folder.path().into(), SEGMENT, &mut |_, _| Ok(()));
    assert_eq!(strict.unwrap_err().kind(), ErrorKind::Damaged);
    assert_eq!(salvage(folder.path(), &found), without(7..=7));
    let [report] = &*salvage_reports(&LocalDisk, folder.path()).unwrap() else { panic!("one report") };
    assert_eq!(report.losses, found.losses);
    let copy = folder.path().join("quarantined").join(&report.copies[0]);
    assert_eq!(std::fs::read(copy).unwrap(), damaged);
}

#[test]
fn a_lost_header_costs_no_frame() {
    let folder = tempfile::tempdir().unwrap();
    write_log(folder.path());
    for path in segments(folder.path()) {
        flip(&path, 33, 1);
    }
    let (found, seen) = survey(folder.path());
    assert_eq!(seen, without(0..=0));
    assert_eq!(found.losses.iter().map(super::Loss::frames).sum::<u64>(), 0);
    assert_eq!(found.losses.len(), segments(folder.path()).len());
    assert_eq!(salvage(folder.path(), &found), without(0..=0));
}

#[test]
fn the_end_of_a_segment_and_a_missing_segment_are_told_by_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    write_log(folder.path());
    let paths = segments(folder.path());
    let first_of_third = u64::from_le_bytes(std::fs::read(&paths[2]).unwrap()[32..40].try_into().unwrap());
    std::fs::remove_file(&paths[1]).unwrap();
    let (found, _) = survey(folder.path());
    let first_of_second = found.losses[0].first_frame;
    assert_eq!(found.losses.len(), 1);
    assert_eq!(found.losses[0].last_frame, first_of_third - 1);
    assert!(found.losses[0].cause.contains("the segments 2 to 2 are missing"), "{}", found.losses[0]);
    let (path, at) = place(folder.path(), first_of_second - 1);
    flip(&path, at, 0);
    let (found, _) = survey(folder.path());
    let lost = (first_of_second - 1)..=(first_of_third - 1);
    assert_eq!(salvage(folder.path(), &found), without(lost));
}

#[test]
fn damage_is_proven_by_any_later_frame_and_not_only_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let open = LogWriter::open(Arc::new(LocalDisk), folder.path().into(), SEGMENT, &mut |_, _| Ok(()));
    let (mut log, _) = open.unwrap();
    for number in 1..=3 {
        log.append(Sequence::new(number), &[&payload(number)]).unwrap();
    }
    log.sync().unwrap();
    log.append(Sequence::new(4), &[&payload(4)]).unwrap();
    log.sync().unwrap();
    drop(log);
    let (path, at) = place(folder.path(), 2);
    flip(&path, at + 44, 1);
    let strict = LogWriter::open(Arc::new(LocalDisk), folder.path().into(), SEGMENT, &mut |_, _| Ok(()));
    assert_eq!(strict.unwrap_err().kind(), ErrorKind::Damaged);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_bits_flip_every_frame_is_read_or_reported(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0_u8..8), 1..6),
    ) {
        let folder = tempfile::tempdir().unwrap();
        write_log(folder.path());
        let paths = segments(folder.path());
        // The very last frame cannot be told from a torn tail.
        let (last, end) = place(folder.path(), FRAMES);
        for (segment, at, bit) in flips {
            let path = segment.get(&paths);
            let length = if *path == last { end } else { std::fs::metadata(path).unwrap().len() as usize };
            // Of the header, only what is in use.
            let at = at.index(length - 4_096 + 44);
            flip(path, if at < 44 { at } else { at + 4_096 - 44 }, bit);
        }
        let (found, seen) = survey(folder.path());
        let lost: Vec<u64> = found.losses.iter().flat_map(|loss| loss.first_frame..=loss.last_frame).collect();
        let mut all = [seen.clone(), lost].concat();
        all.sort_unstable();
        if all.first() == Some(&1) {
            prop_assert_eq!(all, (1..=FRAMES).collect::<Vec<_>>());
        }
        if !found.losses.is_empty() && seen.first() == Some(&1) {
            prop_assert_eq!(salvage(folder.path(), &found), seen);
        }
    }
}
