//! Tests of verify: a sound directory has no finding, and each kind of damage is found and named.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;

use super::{Report, verify};
use crate::delta::TableLog;
use crate::engine::tests::Node;
use crate::object::DurableLocalStore;

async fn verified(folder: &Path) -> Report {
    verify(folder, &mut |_| {}).await.unwrap()
}

/// A directory with files in tables, and rows that are only in the log.
async fn filled(folder: &Path) {
    let mut node = Node::open(folder).await;
    node.write(&[("t", &[("a", 1, 1.0), ("b", 2, 2.0)]), ("°C", &[("x", 5, 5.0)])]);
    node.engine.flush().await.unwrap();
    node.write(&[("t", &[("a", 3, 3.0)])]);
    node.engine.flush().await.unwrap();
    node.write(&[("t", &[("a", 4, 4.0)])]);
    node.committer.confirm().unwrap();
    node.write(&[("t", &[("a", 5, 5.0)])]);
    node.committer.confirm().unwrap();
}

fn found(folder: &Path, end: &str) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            paths.extend(found(&path, end));
        } else if path.to_str().unwrap().ends_with(end) {
            paths.push(path);
        }
    }
    paths.sort();
    paths
}

/// Changes one bit.
fn flip(path: &Path, whole: &[u8], at: usize, bit: usize) {
    let mut bytes = whole.to_vec();
    bytes[at] ^= 1 << bit;
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_sound_directory_has_no_finding() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path()).await;
    let report = verified(folder.path()).await;
    assert_eq!(report.findings, []);
    assert_eq!((report.checked.tables, report.checked.files, report.checked.rows), (2, 3, 4));
    assert!(report.checked.frames >= 5 && report.checked.commits >= 5, "{:?}", report.checked);
}

#[tokio::test]
async fn every_part_of_a_table_file_is_covered() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path()).await;
    let file = found(&folder.path().join("tables"), ".parquet").remove(0);
    let whole = std::fs::read(&file).unwrap();
    for at in (0..whole.len()).step_by(97) {
        flip(&file, &whole, at, at % 8);
        let report = verified(folder.path()).await;
        let [finding] = report.findings.as_slice() else { panic!("byte {at}: {:?}", report.findings) };
        assert!(finding.file.ends_with(".parquet") && finding.what.contains("lost are"), "{finding:?}");
    }
}

/// What plans rely on of all tables.
async fn planned(folder: &Path) -> Result<String, crate::Error> {
    let root = folder.join("tables");
    let store: Arc<dyn ObjectStore> = Arc::new(DurableLocalStore::open(&root).unwrap());
    let app_id = format!("busbar-busbar-{}", std::fs::read_to_string(folder.join("log/epoch")).unwrap());
    let mut all = String::new();
    for log in found(&root, "00000000000000000000.json") {
        let table = log.parent().unwrap().parent().unwrap().strip_prefix(&root).unwrap();
        let table = object_store::path::Path::parse(table.to_str().unwrap()).unwrap();
        let opened = TableLog::open(Arc::clone(&store), &table, &app_id).await?.unwrap();
        let mut files = opened.files()?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        all += &format!("{files:?} {:?}", opened.transaction_version(&app_id));
    }
    Ok(all)
}

#[tokio::test]
async fn a_flipped_bit_in_a_commit_is_an_error_or_changes_nothing_that_plans_rely_on() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path()).await;
    let right = planned(folder.path()).await.unwrap();
    for commit in found(&folder.path().join("tables"), ".json") {
        let whole = std::fs::read(&commit).unwrap();
        for at in (0..whole.len()).step_by(23) {
            flip(&commit, &whole, at, at % 7);
            if let Ok(read) = planned(folder.path()).await {
                assert_eq!(read, right, "byte {at} of {}", commit.display());
            }
        }
        std::fs::write(&commit, whole).unwrap();
    }
}

#[tokio::test]
async fn damage_of_the_log_and_a_lost_file_are_named() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path()).await;
    let log = found(&folder.path().join("log"), ".seg").remove(0);
    let whole = std::fs::read(&log).unwrap();
    flip(&log, &whole, 4_096 + 44, 0);
    std::fs::remove_file(found(&folder.path().join("tables"), ".parquet").remove(0)).unwrap();
    let report = verified(folder.path()).await;
    assert_eq!(report.findings.len(), 2, "{:?}", report.findings);
    assert_eq!(report.findings[0].offset, Some(4_096));
    assert!(report.findings[0].what.contains("frames 1 to 1 are lost"), "{:?}", report.findings);
    assert!(report.findings[1].what.contains("cannot be read"), "{:?}", report.findings);
}

#[tokio::test]
async fn a_directory_in_use_is_not_checked() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    assert!(verify(folder.path(), &mut |_| {}).await.is_err());
    drop(node);
}
