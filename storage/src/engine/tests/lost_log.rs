//! The log directory is wiped while the tables stay.

use super::*;
use crate::error::ErrorKind;
use crate::log::RecoveryMode;

fn salvaging(folder: &Path) -> EngineConfig {
    EngineConfig { recovery: RecoveryMode::Salvage, ..config(folder) }
}

/// What is left of the log.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Left {
    Nothing,
    EpochAndSpares,
}

fn wipe(folder: &Path, left: Left) {
    let log = folder.join("log");
    if left == Left::Nothing {
        std::fs::remove_dir_all(&log).unwrap();
        return;
    }
    for entry in std::fs::read_dir(&log).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "seg") {
            std::fs::remove_file(path).unwrap();
        }
    }
}

#[tokio::test]
async fn a_wiped_log_is_refused_and_given_up_only_when_that_is_said() {
    for left in [Left::Nothing, Left::EpochAndSpares] {
        let folder = tempfile::tempdir().unwrap();
        let mut node = Node::open(folder.path()).await;
        let mut expected = Rows::new();
        for round in 0..60_i64 {
            let batch: Vec<_> = (0..40).map(|i| ("a", round * 20 + i, round as f64)).collect();
            node.write(&[("t", &batch), ("u", &batch)]);
            expected.extend(rows(&batch));
        }
        node.engine.flush().await.unwrap();
        node.write(&[("t", &[("a", 1, -1.0), ("only in the log", 1, 1.0)]), ("lost", &[("x", 1, 1.0)])]);
        let lost = node.schema("lost").id;
        drop(node);
        wipe(folder.path(), left);

        let refused = Engine::open(config(folder.path())).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Damaged, "{left:?}");
        assert!(refused.to_string().contains("--log-recovery salvage"), "{refused}");

        let mut node = Node::open_with(salvaging(folder.path())).await;
        assert_eq!(node.read("t").await, expected, "{left:?}: what is in files stays");
        // Over rows in files, beside them, and in a new table of an old name.
        for round in 0..3_i64 {
            let batch: Vec<_> = (0..40).map(|i| ("a", round * 30 + i, (1_000 + round) as f64)).collect();
            node.write(&[("t", &batch), ("lost", &batch)]);
            expected.extend(rows(&batch));
            assert_eq!(node.read("t").await, expected, "{left:?}, round {round}");
            if round == 1 {
                node.engine.flush().await.unwrap();
            }
            drop(node);
            // It has a log again: nothing more is to be given up.
            node = Node::open(folder.path()).await;
            assert_eq!(node.read("t").await, expected, "{left:?}, round {round}, started again");
        }
        assert!(node.schema("lost").id > lost, "{left:?}: no id is given twice");
        node.engine.flush().await.unwrap();
        node.engine.compact(true).await.unwrap();
        assert_eq!(node.read("t").await, expected, "{left:?}, merged");
        assert_eq!(node.read("lost").await.len(), 100, "{left:?}");
    }
}

#[tokio::test]
async fn a_directory_whose_first_start_was_cut_short_is_no_wiped_one() {
    let folder = tempfile::tempdir().unwrap();
    drop(Node::open(folder.path()).await);
    wipe(folder.path(), Left::EpochAndSpares);
    let mut node = Node::open(folder.path()).await;
    node.write(&[("t", &[("a", 1, 1.0)])]);
    assert_eq!(node.read("t").await, rows(&[("a", 1, 1.0)]));
}
