//! The quarantine and a disk that fails: no id without a durable line.
//!
//! They are built with the feature `failpoints`.
#![cfg(feature = "failpoints")]

use super::{Filter, NotKept, all_of, erase, has_bytes, ids, keep, line, open};
use crate::quarantine::LineId;
use crate::stream::tests::alone;

#[tokio::test]
async fn a_full_disk_keeps_nothing_and_claims_nothing_and_afterwards_it_goes_on() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let quarantine = open(folder.path());
    keep(&quarantine, vec![line("d", "m", "m v=1")]).await;
    let size = quarantine.size();
    fail::cfg("stream-write", "1*return").unwrap();
    assert_eq!(quarantine.keep(vec![line("d", "m", "m v=2")]).await, [Err(NotKept::Failed)]);
    assert_eq!(quarantine.size(), size);
    assert_eq!(keep(&quarantine, vec![line("d", "m", "m v=2")]).await, [2]);
    fail::cfg("stream-write", "1*return").unwrap();
    quarantine.change(vec![LineId::new(1)], Vec::new()).await.unwrap_err();
    assert_eq!(ids(&quarantine, Filter::default()).await, [1, 2], "what could not be removed is still there");
    drop(quarantine);
    assert_eq!(ids(&open(folder.path()), Filter::default()).await, [1, 2]);
}

#[tokio::test]
async fn a_failed_sync_keeps_nothing_until_the_next_start() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let quarantine = open(folder.path());
    keep(&quarantine, vec![line("d", "m", "m v=1")]).await;
    fail::cfg("stream-sync", "1*return").unwrap();
    for _ in 0..2 {
        assert_eq!(quarantine.keep(vec![line("d", "m", "m v=2")]).await, [Err(NotKept::Failed)]);
    }
    assert_eq!(ids(&quarantine, Filter::default()).await, [1]);
    assert_eq!(quarantine.not_kept()[2], (NotKept::Failed, 2));
    drop(quarantine);
    let quarantine = open(folder.path());
    let next = keep(&quarantine, vec![line("d", "m", "m v=3")]).await;
    assert!(next[0] >= 2);
}

#[tokio::test]
async fn a_rewrite_that_was_cut_off_loses_and_doubles_nothing() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let quarantine = open(folder.path());
    let lines = (0..20).map(|i| line("d", "m", &format!("m v={i}"))).collect();
    keep(&quarantine, lines).await;
    quarantine.change(vec![LineId::new(3)], Vec::new()).await.unwrap();
    for point in ["stream-write", "quarantine-before-remove"] {
        let action = if point == "stream-write" { "1*return" } else { "1*panic" };
        fail::cfg(point, action).unwrap();
        let store = std::sync::Arc::clone(&quarantine);
        let cut = std::thread::spawn(move || store.store.lock().rewrite(crate::clock::now()));
        assert!(!matches!(cut.join(), Ok(Ok(()))), "{point}");
        let expected: Vec<u64> = (1..=20).filter(|id| *id != 3).collect();
        // As after a kill: what is in the files counts.
        let copy = open(folder.path());
        assert_eq!(ids(&copy, Filter::default()).await, expected, "{point}");
        assert_eq!(copy.size().0, 19);
    }
}

#[tokio::test]
async fn an_erasure_that_a_full_disk_keeps_back_is_made_good_before_anything_is_replayed() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let quarantine = open(folder.path());
    // The lines cannot be taken out, or they are out and the rest cannot be written again.
    for (failing, text) in [("1*return", "gone-1"), ("1*off->1*return", "gone-2")] {
        keep(&quarantine, vec![line("d", "m", text), line("e", "m", "stays")]).await;
        fail::cfg("stream-write", failing).unwrap();
        erase(&quarantine, all_of("d")).await.unwrap_err();
        assert!(has_bytes(folder.path(), text));
        fail::cfg("stream-write", "1*return").unwrap();
        let refused = quarantine.replay_turn().await;
        assert!(refused.is_err(), "a line of a deleted row could be stored");
        fail::remove("stream-write");
        drop(quarantine.replay_turn().await.unwrap());
        let of_d = Filter { database: Some("d".into()), ..Filter::default() };
        assert_eq!(ids(&quarantine, of_d).await, [0; 0]);
        assert!(!has_bytes(folder.path(), text) && has_bytes(folder.path(), "stays"));
    }
    assert_eq!(quarantine.faults()[1], ("erasure", 4));
    drop(quarantine);
    assert_eq!(ids(&open(folder.path()), Filter::default()).await, [2, 4]);
}
