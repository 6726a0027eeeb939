//! What survives, shown on a disk that keeps only what was synced.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use object_store::path::Path;
use object_store::{Error, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode};

use crate::disk::recording::{Call, RecordingDisk, Which};
use crate::disk::{Disk, ObservedDisk, Operation};
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

#[tokio::test]
async fn a_file_becomes_an_object_without_a_copy_and_survives_under_its_new_name() {
    let rig = Rig::new();
    let staged = rig.root().join("staged");
    let file = rig.disk.create_new(&staged).unwrap();
    file.write_at(0, b"rows").unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    file.sync_all().unwrap();
    let (location, opened) = (Path::from("a/object"), rig.disk.calls().len());
    assert!(rig.store.adopt(staged.clone(), &location).await.unwrap());
    let (root, a) = (rig.root(), rig.root().join("a"));
    let temporary = a.join("busbar#1");
    let expected = [
        Call::CreateFolder(a.clone()),
        Call::SyncFolder(root),
        Call::Link(staged.clone(), temporary.clone()),
        Call::SetModified(temporary.clone()),
        Call::SyncFile(temporary.clone()),
        Call::Rename(temporary, a.join("object")),
        Call::SyncFolder(a),
    ];
    assert_eq!(rig.disk.calls()[opened..], expected);
    assert!(rig.survives("a/object"));
    let put_at = rig.store.head(&location).await.unwrap().last_modified;
    assert!(put_at.timestamp() > 0, "as old as its put, not as its rows");

    // As after a failure between the rename and the answer.
    assert!(rig.store.adopt(staged.clone(), &location).await.unwrap());
    assert_eq!(rig.files(), ["object"]);
    // Other bytes of the same name: what is there is replaced as by a put.
    let other = rig.root().join("other");
    fs::write(&other, "more rows").unwrap();
    assert!(rig.store.adopt(other, &location).await.unwrap());
    rig.disk.remove(&staged).unwrap();
    assert_eq!(rig.store.get(&location).await.unwrap().bytes().await.unwrap(), "more rows");
    assert_eq!(rig.files(), ["object"]);
}

#[tokio::test]
async fn a_file_that_cannot_be_linked_is_told_apart_from_one_that_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let staged = folder.path().join("staged");
    fs::write(&staged, "rows").unwrap();
    let failing = |fails: Operation, kind| {
        let observer = move |operation, path: &std::path::Path| {
            // The file of the object, not its folders.
            let is_it = operation == fails && path.to_string_lossy().contains('#');
            if is_it { Err(crate::Error::io("use", path)(std::io::Error::from(kind))) } else { Ok(()) }
        };
        let disk = Arc::new(ObservedDisk::new(Arc::new(observer)));
        DurableLocalStore::open_on(&folder.path().join("tables"), disk).unwrap()
    };
    let (object, a) = (Path::from("a/object"), folder.path().join("tables/a"));
    for refused in [Operation::Link, Operation::Write] {
        let store = failing(refused, std::io::ErrorKind::CrossesDevices);
        assert!(!store.adopt(staged.clone(), &object).await.unwrap(), "{refused:?}");
        assert_eq!(fs::read_dir(&a).unwrap().count(), 0, "{refused:?}");
    }
    // No name that holds the bytes is left where nobody looks for it.
    let store = failing(Operation::Open, std::io::ErrorKind::PermissionDenied);
    store.adopt(staged.clone(), &object).await.unwrap_err();
    assert_eq!(fs::read_dir(&a).unwrap().count(), 0);

    let rig = Rig::new();
    let missing = rig.store.adopt(rig.root().join("missing"), &Path::from("a/object")).await.unwrap_err();
    assert!(matches!(missing, Error::NotFound { .. }), "{missing}");
}
