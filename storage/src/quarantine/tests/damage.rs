//! The quarantine and bytes that are not what was written: a record takes its own lines along, and nothing else.

use std::path::{Path, PathBuf};

use super::{Filter, all_of, erase, has_bytes, ids, keep, line, open};
use crate::quarantine::LineId;
use crate::stream::tests::alone;

/// The one segment of the stream.
fn segment(folder: &Path) -> PathBuf {
    let entries = std::fs::read_dir(folder.join("quarantine/lines")).unwrap();
    let paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(paths.len(), 1);
    paths[0].clone()
}

/// Changes a byte of a line's text, wherever it stands.
fn damage(folder: &Path, text: &str) {
    let path = segment(folder);
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
}

#[tokio::test]
async fn a_start_leaves_out_what_is_damaged_tells_of_it_and_is_whole_afterwards() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let quarantine = open(folder.path());
    for text in ["one", "two", "three"] {
        keep(&quarantine, vec![line("d", "m", text)]).await;
    }
    drop(quarantine);
    damage(folder.path(), "two");
    let quarantine = open(folder.path());
    assert_eq!(ids(&quarantine, Filter::default()).await, [1, 3]);
    assert_eq!(quarantine.faults()[0], ("damaged", 1));
    let next = keep(&quarantine, vec![line("d", "m", "four")]).await[0];
    assert!(next > 3, "an id may have stood in what is lost");
    drop(quarantine);
    let quarantine = open(folder.path());
    assert_eq!(ids(&quarantine, Filter::default()).await, [1, 3, next]);
    assert_eq!(quarantine.faults()[0], ("damaged", 0));
}

#[tokio::test]
async fn damage_that_comes_while_it_runs_holds_up_neither_lists_nor_erasures() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let quarantine = open(folder.path());
    for text in ["one", "two", "three"] {
        keep(&quarantine, vec![line("d", "m", text)]).await;
    }
    keep(&quarantine, vec![line("e", "m", "four")]).await;
    damage(folder.path(), "two");
    let page = quarantine.page(Filter::default(), Some(LineId::new(1)), (1, u64::MAX)).await.unwrap();
    assert_eq!(page.len(), 1, "a page that is lost is not taken for the end");
    assert_eq!(page[0].0, LineId::new(3));
    assert_eq!(quarantine.line(LineId::new(2)).await.unwrap(), None);
    damage(folder.path(), "three");
    assert_eq!(erase(&quarantine, all_of("d")).await.unwrap(), 1);
    assert_eq!(ids(&quarantine, Filter::default()).await, [4]);
    assert!(!has_bytes(folder.path(), "hree"), "what was damaged has gone with its bytes");
    drop(quarantine);
    let quarantine = open(folder.path());
    assert_eq!((ids(&quarantine, Filter::default()).await, quarantine.faults()[0].1), (vec![4], 0));
}
