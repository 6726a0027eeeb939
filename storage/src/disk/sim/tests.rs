//! What was synced survives, whatever the seed; what was not may vanish in part.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

use super::{Disk, Operation, SimDisk};
use crate::disk::read_file;

const SEEDS: u64 = 200;

fn with_file(seed: u64, content: &[u8]) -> SimDisk {
    let disk = SimDisk::new(seed);
    disk.create_folder(Path::new("/d")).unwrap();
    let file = disk.create_new(Path::new("/d/x")).unwrap();
    file.write_at(0, content).unwrap();
    file.sync().unwrap();
    disk.sync_folder(Path::new("/d")).unwrap();
    disk
}

fn content(disk: &SimDisk, path: &str) -> Option<Vec<u8>> {
    match read_file(disk, Path::new(path)) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            assert_eq!(error.io_kind(), Some(ErrorKind::NotFound));
            None
        }
    }
}

#[test]
fn what_was_synced_survives_and_what_was_not_is_there_sector_by_sector() {
    let mut found = BTreeSet::new();
    for seed in 0..SEEDS {
        let disk = with_file(seed, &[1; 1024]);
        let file = disk.open(Path::new("/d/x"), false).unwrap();
        file.write_at(512, &[2; 1024]).unwrap();
        assert_eq!(content(&disk, "/d/x").unwrap().len(), 1536, "readers see what was written");
        let after = content(&disk.power_cut(), "/d/x").unwrap();
        assert_eq!(after[..512], [1; 512]);
        found.insert((after.len(), after[512], after.get(1024).copied()));
        assert!(after[512..1024].iter().all(|byte| *byte == after[512]), "a sector is whole");
        assert!(file.write_at(0, &[3]).is_err(), "the old disk is off");
    }
    let expected = [1, 2]
        .into_iter()
        .flat_map(|second| [(1024, second, None), (1536, second, Some(0)), (1536, second, Some(2))]);
    assert_eq!(found, expected.collect());
}

#[test]
fn a_name_is_durable_after_its_folder_and_a_move_is_whole() {
    let (mut lost, mut kept) = (0, 0);
    for seed in 0..SEEDS {
        let disk = with_file(seed, b"old");
        let fresh = disk.create_new(Path::new("/d/y")).unwrap();
        fresh.write_at(0, b"new").unwrap();
        fresh.sync().unwrap();
        disk.rename(Path::new("/d/y"), Path::new("/d/x")).unwrap();
        let unsynced = SimDisk::clone(&disk).power_cut();
        match (content(&unsynced, "/d/x").unwrap().as_slice(), content(&unsynced, "/d/y")) {
            (b"old", _) => lost += 1,
            (b"new", None) => kept += 1,
            other => panic!("half a move: {other:?}"),
        }

        let disk = with_file(seed, b"old");
        disk.rename(Path::new("/d/x"), Path::new("/d/z")).unwrap();
        disk.link(Path::new("/d/z"), Path::new("/d/second")).unwrap();
        disk.sync_folder(Path::new("/d")).unwrap();
        let after = disk.power_cut();
        assert_eq!(after.list(Path::new("/d")).unwrap(), ["second", "z"]);
        after.remove(Path::new("/d/z")).unwrap();
        after.sync_folder(Path::new("/d")).unwrap();
        assert_eq!(after.power_cut().list(Path::new("/d")).unwrap(), ["second"]);
    }
    assert!(lost > 0 && kept > 0);
}

#[test]
fn a_file_in_a_folder_whose_name_was_not_synced_may_go_with_it() {
    let survived = (0..SEEDS).filter(|seed| {
        let disk = SimDisk::new(*seed);
        disk.make_folder(Path::new("/d")).unwrap();
        disk.create_new(Path::new("/d/x")).unwrap().sync().unwrap();
        disk.sync_folder(Path::new("/d")).unwrap();
        content(&disk.power_cut(), "/d/x").is_some()
    });
    let survived = survived.count() as u64;
    assert!(survived > 0 && survived < SEEDS);
}

#[test]
fn after_a_failed_sync_no_later_sync_brings_the_lost_sectors_back() {
    let mut lost = 0;
    for seed in 0..SEEDS {
        let disk = with_file(seed, &[1; 512]);
        let file = disk.open(Path::new("/d/x"), false).unwrap();
        file.write_at(0, &[2; 512]).unwrap();
        disk.fail(Operation::Sync, 0);
        file.sync().unwrap_err();
        file.sync().unwrap();
        assert_eq!(content(&disk, "/d/x").unwrap(), [2; 512], "readers still see it");
        let after = disk.power_cut();
        lost += u64::from(content(&after, "/d/x").unwrap() == [1; 512]);
        let file = after.open(Path::new("/d/x"), false).unwrap();
        file.write_at(0, &[3; 512]).unwrap();
        file.sync().unwrap();
        assert_eq!(content(&after.power_cut(), "/d/x").unwrap(), [3; 512]);
    }
    assert!(lost > 0 && lost < SEEDS);
}

#[test]
fn a_full_disk_takes_a_part_and_says_so_and_goes_on_when_there_is_room() {
    let disk = with_file(7, &[1; 1024]);
    disk.set_capacity(Some(2048));
    let file = disk.open(Path::new("/d/x"), false).unwrap();
    let full = file.write_at(1024, &[2; 2048]).unwrap_err();
    assert_eq!(full.io_kind(), Some(ErrorKind::StorageFull));
    assert!(disk.used_bytes() <= 2048);
    file.write_at(0, &[3; 1024]).unwrap();
    disk.set_capacity(None);
    file.write_at(1024, &[2; 2048]).unwrap();
    assert_eq!(disk.failures(), 1);
}

#[test]
fn a_killed_process_loses_nothing_and_a_disk_that_is_turned_off_fails_every_call() {
    let disk = with_file(7, b"x");
    disk.open(Path::new("/d/x"), false).unwrap().write_at(1, b"y").unwrap();
    let disk = disk.kill();
    assert_eq!(content(&disk, "/d/x").unwrap(), b"xy");
    disk.turn_off_after(1);
    disk.link(Path::new("/d/x"), Path::new("/d/y")).unwrap();
    assert!(disk.is_off());
    disk.list(Path::new("/d")).unwrap_err();
    disk.open(Path::new("/d/x"), false).unwrap_err();
}

#[test]
fn the_same_operations_give_the_same_disk() {
    let run = |seed| {
        let disk = with_file(seed, &[1; 5_000]);
        disk.open(Path::new("/d/x"), false).unwrap().write_at(100, &[2; 9_000]).unwrap();
        let trace = disk.trace();
        (trace, content(&disk.power_cut(), "/d/x"))
    };
    for seed in 0..SEEDS {
        assert_eq!(run(seed), run(seed));
    }
    assert_ne!(run(1).1, run(2).1);
}
