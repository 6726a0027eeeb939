//! What survives, shown on a disk that keeps only what was synced.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use object_store::path::Path;
use object_store::{Error, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode};

use crate::disk::recording::{Call, RecordingDisk, Which};
use crate::object::DurableLocalStore;

struct Rig {
    folder: tempfile::TempDir,
    disk: RecordingDisk,
    store: DurableLocalStore,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = RecordingDisk::default();
        let store = DurableLocalStore::open_on(folder.path(), Arc::new(disk.clone())).unwrap();
        Self { folder, disk, store }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    fn survives(&self, location: &str) -> bool {
        self.disk.survives(&self.root(), &self.root().join(location))
    }

    fn files(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.root().join("a"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

#[tokio::test]
async fn a_put_syncs_new_folders_then_the_file_then_its_folder() {
    let rig = Rig::new();
    let opened = rig.disk.calls().len();
    rig.store.put(&Path::from("a/b/x"), "1".into()).await.unwrap();
    let (root, a, b) = (rig.root(), rig.root().join("a"), rig.root().join("a/b"));
    let temporary = b.join("busbar#1");
    let expected = [
        Call::CreateFolder(a.clone()),
        Call::SyncFolder(root),
        Call::CreateFolder(b.clone()),
        Call::SyncFolder(a),
        Call::CreateFile(temporary.clone()),
        Call::Write(temporary.clone()),
        Call::SyncFile(temporary.clone()),
        Call::Rename(temporary, b.join("x")),
        Call::SyncFolder(b),
    ];
    assert_eq!(rig.disk.calls()[opened..], expected);
}

#[tokio::test]
async fn every_answered_change_survives_a_power_cut() {
    let rig = Rig::new();
    let (put, created, parts) = (Path::from("a/put"), Path::from("a/b/created"), Path::from("a/c/parts"));
    rig.store.put(&put, "1".into()).await.unwrap();
    rig.store.put_opts(&created, "2".into(), PutMode::Create.into()).await.unwrap();
    let mut upload = rig.store.put_multipart(&parts).await.unwrap();
    upload.put_part("3".into()).await.unwrap();
    assert!(!rig.survives("a/c/parts"));
    upload.complete().await.unwrap();
    assert!(rig.survives("a/put") && rig.survives("a/b/created") && rig.survives("a/c/parts"));

    rig.store.copy(&put, &Path::from("d/copy")).await.unwrap();
    rig.store.copy_if_not_exists(&put, &Path::from("d/copy2")).await.unwrap();
    rig.store.rename(&put, &Path::from("e/renamed")).await.unwrap();
    rig.store.rename_if_not_exists(&created, &Path::from("f/renamed2")).await.unwrap();
    for there in ["d/copy", "d/copy2", "e/renamed", "f/renamed2"] {
        assert!(rig.survives(there), "{there}");
    }
    rig.store.delete(&parts).await.unwrap();
    for gone in ["a/put", "a/b/created", "a/c/parts"] {
        assert!(!rig.survives(gone), "{gone}");
    }
}

#[tokio::test]
async fn a_folder_that_another_task_made_is_synced_by_each_who_needs_it() {
    let rig = Rig::new();
    // As if its maker had not come to its sync yet.
    fs::create_dir(rig.root().join("a")).unwrap();
    let opened = rig.disk.calls().len();
    rig.store.put(&Path::from("a/x"), "1".into()).await.unwrap();
    rig.store.put(&Path::from("a/y"), "1".into()).await.unwrap();
    let root = Call::SyncFolder(rig.root());
    assert_eq!(rig.disk.calls()[opened..].iter().filter(|call| **call == root).count(), 1);
}

#[tokio::test]
async fn opening_removes_what_unfinished_writes_left_and_syncs_every_folder() {
    let rig = Rig::new();
    rig.store.put(&Path::from("a/x"), "1".into()).await.unwrap();
    fs::write(rig.root().join("a/busbar#7"), "half").unwrap();
    let listed = rig.store.list_with_delimiter(Some(&Path::from("a"))).await.unwrap();
    assert_eq!(listed.objects.len(), 1);

    let again = RecordingDisk::default();
    DurableLocalStore::open_on(rig.folder.path(), Arc::new(again.clone())).unwrap();
    let a = rig.root().join("a");
    let expected = [Call::SyncFolder(rig.root()), Call::Remove(a.join("busbar#7")), Call::SyncFolder(a)];
    assert_eq!(again.calls(), expected);
    assert_eq!(rig.files(), ["x"]);
}

#[tokio::test]
async fn a_failed_write_or_file_sync_publishes_nothing_and_can_be_tried_again() {
    let rig = Rig::new();
    let x = Path::from("a/x");
    rig.store.put(&x, "old".into()).await.unwrap();
    for which in [(|call| matches!(call, Call::Write(_))) as Which, |call| matches!(call, Call::SyncFile(_))]
    {
        rig.disk.fail_next(which);
        rig.store.put(&x, "new".into()).await.unwrap_err();
        assert_eq!(rig.files(), ["x"]);
        assert_eq!(rig.store.get(&x).await.unwrap().bytes().await.unwrap(), "old");
    }
    rig.store.put(&x, "new".into()).await.unwrap();
    assert!(rig.survives("a/x"));
}

#[tokio::test]
async fn a_name_whose_folder_did_not_sync_is_not_served_and_no_write_is_taken_after_it() {
    let rig = Rig::new();
    let (x, y) = (Path::from("a/x"), Path::from("a/y"));
    rig.store.put(&x, "1".into()).await.unwrap();
    rig.disk.fail_next(|call| matches!(call, Call::SyncFolder(_)));
    rig.store.put_opts(&y, "1".into(), PutMode::Create.into()).await.unwrap_err();
    assert!(!rig.survives("a/y"));
    assert!(matches!(rig.store.get(&y).await, Err(Error::Generic { .. })));
    assert!(rig.store.get(&x).await.is_ok());
    for refused in [
        rig.store.put(&x, "2".into()).await.map(drop),
        rig.store.delete(&x).await,
        rig.store.rename(&x, &y).await,
    ] {
        assert!(refused.unwrap_err().to_string().contains("mend the disk and restart"));
    }
    let reopened = DurableLocalStore::open(rig.folder.path()).unwrap();
    reopened.put(&x, "2".into()).await.unwrap();
}

#[tokio::test]
async fn a_folder_that_was_taken_away_is_made_again() {
    let rig = Rig::new();
    rig.store.put(&Path::from("a/x"), "1".into()).await.unwrap();
    fs::remove_dir_all(rig.root().join("a")).unwrap();
    rig.store.put(&Path::from("a/y"), "1".into()).await.unwrap();
    assert!(rig.survives("a/y"));
}

#[tokio::test]
async fn an_upload_with_a_part_that_nobody_awaited_is_not_published() {
    let rig = Rig::new();
    let x = Path::from("a/x");
    let mut upload = rig.store.put_multipart(&x).await.unwrap();
    drop(upload.put_part("lost".into()));
    upload.put_part("kept".into()).await.unwrap();
    upload.complete().await.unwrap_err();
    let upload: Box<dyn MultipartUpload> = rig.store.put_multipart(&x).await.unwrap();
    drop(upload);
    assert_eq!(rig.files(), Vec::<String>::new());
}
