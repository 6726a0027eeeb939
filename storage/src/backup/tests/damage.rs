//! What is not whole is refused: damaged files, targets that hold something, backups that ended early.

use super::*;

/// A backup with at least one file of every kind.
async fn filled(data: &Path, place: &Path) -> Rows {
    let mut node = Node::open(data).await;
    let first = [("a", 1, 1.0), ("b", 2, 2.0)];
    node.write(&[("t", &first)]);
    node.engine.flush().await.unwrap();
    let second = [("a", 3, 3.0)];
    node.write(&[("t", &second)]);
    backed_up(&node, place).await;
    let mut expected = rows(&first);
    expected.extend(rows(&second));
    expected
}

#[tokio::test]
async fn a_damaged_file_of_a_backup_is_refused_by_its_name_and_nothing_starts_from_it() {
    let (data, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    filled(data.path(), place.path()).await;
    for path in files(place.path()) {
        let whole = std::fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        let cut = whole[..whole.len() - 1].to_vec();
        for damaged in [Some(flipped), Some(cut), None] {
            match damaged {
                Some(bytes) => std::fs::write(&path, bytes).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            let fresh = tempfile::tempdir().unwrap();
            let error = brought_back(place.path(), fresh.path()).await.unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::Damaged | ErrorKind::NotFound),
                "{}: {error}",
                path.display()
            );
            let is_manifest = path.ends_with("manifest.json");
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(error.to_string().contains(name) || is_manifest, "{name}: {error}");
            if !is_manifest {
                let error = crate::engine::Engine::open(config(fresh.path())).await.unwrap_err().to_string();
                assert!(error.contains("was restored"), "{error}");
                let error = Restored::open(config(fresh.path())).await.unwrap_err().to_string();
                assert!(error.contains("did not end"), "{error}");
            }
            std::fs::write(&path, &whole).unwrap();
        }
    }
}

#[tokio::test]
async fn a_damaged_data_file_fails_the_backup_rather_than_being_copied() {
    let (data, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut node = Node::open(data.path()).await;
    node.write(&[("t", &[("a", 1, 1.0)])]);
    node.engine.flush().await.unwrap();
    let path =
        files(&data.path().join("tables")).into_iter().find(|p| p.extension().unwrap() == "parquet").unwrap();
    let whole = std::fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[20] ^= 1;
    std::fs::write(&path, flipped).unwrap();
    let to = destination(&node, place.path());
    let error = back_up(&node.engine, no_streams(), &to, &Progress::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(error.to_string().contains(path.file_name().unwrap().to_str().unwrap()), "{error}");
    assert_eq!(to.ids().await.unwrap(), []);
    std::fs::write(&path, whole).unwrap();
    backed_up(&node, place.path()).await;
}

#[tokio::test]
async fn a_directory_that_holds_something_is_not_restored_into() {
    let (data, place, full) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let expected = filled(data.path(), place.path()).await;
    std::fs::write(full.path().join("precious"), "mine").unwrap();
    let error = brought_back(place.path(), full.path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("precious"), "{error}");
    assert_eq!(files(full.path()).len(), 1);
    // One that is missing is made.
    let missing = full.path().join("new/data");
    brought_back(place.path(), &missing).await.unwrap();
    assert_eq!(settled(&missing).await.read("t").await, expected);
}

/// The place as a crash right before the manifest leaves it: the next backup, and the dropping of old ones, go on.
#[tokio::test]
async fn a_backup_that_ends_early_is_none_and_harms_no_other() {
    let scenario = fail::FailScenario::setup();
    let (data, place, image) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut node = Node::open(data.path()).await;
    node.write(&[("t", &[("a", 1, 1.0)])]);
    node.engine.flush().await.unwrap();
    let (from, to) = (place.path().to_owned(), image.path().join("crashed"));
    let ours = std::thread::current().id();
    fail::cfg_callback("backup-before-manifest", move || {
        // Other tests come by here too.
        if std::thread::current().id() == ours && !to.exists() {
            crate::engine::tests::copy_folder(&from, &to);
        }
    })
    .unwrap();
    backed_up(&node, place.path()).await;
    let crashed = image.path().join("crashed");
    let found = destination(&node, &crashed);
    assert!(!files(&crashed).is_empty());
    assert_eq!(found.ids().await.unwrap(), []);
    assert_eq!(found.newest(None).await.unwrap_err().kind(), ErrorKind::NotFound);
    node.write(&[("t", &[("b", 2, 2.0)])]);
    backed_up(&node, &crashed).await;
    // It may still be running for all that anybody knows: what it has copied stays.
    assert_eq!(found.keep_newest(1).await.unwrap(), 0);
    let fresh = image.path().join("fresh");
    brought_back(&crashed, &fresh).await.unwrap();
    assert_eq!(settled(&fresh).await.read("t").await, rows(&[("a", 1, 1.0), ("b", 2, 2.0)]));
    scenario.teardown();
}
