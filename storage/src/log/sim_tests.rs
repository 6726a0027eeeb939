//! A log on a simulated disk: what was acknowledged is there after a failed sync, a kill and a power cut.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::sync::Arc;

use super::LogWriter;
use crate::disk::sim::SimDisk;
use crate::disk::{Disk, Operation};
use crate::model::Sequence;

/// Room for a few frames, so that segments change all the time.
const SEGMENT: u64 = 6_000;

/// Opens the log; the numbers of its frames.
fn open(disk: &SimDisk) -> (LogWriter, Vec<u64>) {
    let mut frames = Vec::new();
    let opened = LogWriter::open(Arc::new(disk.clone()), PathBuf::from("/log"), SEGMENT, &mut |header, _| {
        frames.push(header.number.get());
        Ok(())
    });
    (opened.unwrap().0, frames)
}

fn write(log: &mut LogWriter, sequence: u64) -> crate::Result<u64> {
    log.append(Sequence::new(sequence), &[&[7; 700]])?;
    log.sync().map(|frame| frame.get())
}

#[test]
fn a_frame_that_was_shown_after_a_restart_survives_a_power_cut_whichever_call_failed_before_it() {
    for operation in [Operation::Sync, Operation::Write, Operation::SyncFolder, Operation::Rename] {
        for (skip, seed) in (0..9).flat_map(|skip| (0..12).map(move |seed| (skip, seed))) {
            let disk = SimDisk::new(seed);
            disk.create_folder(&PathBuf::from("/log")).unwrap();
            let (mut log, _) = open(&disk);
            disk.fail(operation, skip);
            let mut written = 0;
            while written < 12 && write(&mut log, written + 1).is_ok() {
                written += 1;
            }
            let disk = disk.kill();
            let (mut log, shown) = open(&disk);
            assert!(shown.len() as u64 >= written, "{operation:?} {skip} {seed}");
            let last = write(&mut log, 100).unwrap();
            let (_, found) = open(&disk.power_cut());
            assert_eq!(found, (1..=last).collect::<Vec<_>>(), "{operation:?} {skip} {seed}");
        }
    }
}

#[test]
fn a_segment_that_could_not_be_begun_is_no_damage_once_smaller_frames_went_on_in_the_one_before() {
    let operations =
        [Operation::Sync, Operation::Write, Operation::SyncFolder, Operation::Rename, Operation::Open];
    for operation in operations {
        for (skip, seed) in (0..6).flat_map(|skip| (0..6).map(move |seed| (skip, seed))) {
            for power_cut in [false, true] {
                let disk = SimDisk::new(seed);
                disk.create_folder(&PathBuf::from("/log")).unwrap();
                let (mut log, _) = open(&disk);
                let mut last = write(&mut log, 1).and_then(|_| write(&mut log, 2)).unwrap();
                disk.fail(operation, skip);
                // It needs a segment of its own; the next ones fit into the one that there is.
                for (sequence, payload) in [(3, 3_000), (4, 10), (5, 10)] {
                    let appended = log.append(Sequence::new(sequence), &[&vec![7; payload]]);
                    if let Ok(frame) = appended.and_then(|_| log.sync()) {
                        last = frame.get();
                    }
                }
                let (_, found) = open(&if power_cut { disk.power_cut() } else { disk.kill() });
                assert_eq!(
                    found,
                    (1..=found.len() as u64).collect::<Vec<_>>(),
                    "{operation:?} {skip} {seed}"
                );
                assert!(found.len() as u64 >= last, "{operation:?} {skip} {seed}");
            }
        }
    }
}
