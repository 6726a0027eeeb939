//! Tables in a remote store: their files are copied too, and come back to another place.

use super::*;
use crate::object::flaky::{FlakyStore, soon};
use crate::object::{RetryingStore, StoreActivity, TableStore};

fn remote(store: &FlakyStore) -> StoreSettings {
    let activity = Arc::new(StoreActivity::default());
    let patient = RetryingStore::new(store.clone(), soon(), Arc::clone(&activity));
    StoreSettings { tables: TableStore::Given(Arc::new(patient)), activity, ..StoreSettings::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_a_store_come_back_to_another_or_to_the_local_disk_though_every_fifth_request_fails() {
    let (data, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (tables, backups) = (FlakyStore::new(1), FlakyStore::new(2));
    let settings = EngineConfig { store: remote(&tables), ..config(data.path()) };
    let mut node = Node::open_with(settings).await;
    let mut expected = Rows::new();
    for round in 0..4_i64 {
        let batch: Vec<_> = (0..100).map(|i| ("a", round * 50 + i, round as f64)).collect();
        node.write(&[("t", &batch)]);
        expected.extend(rows(&batch));
        if round < 3 {
            node.engine.flush().await.unwrap();
        }
    }
    tables.fail_percent(20);
    backups.fail_percent(20);
    let patient = RetryingStore::new(backups.clone(), soon(), Arc::new(StoreActivity::default()));
    let place = Destination::open(&Place::Given(Arc::new(patient)), data.path()).unwrap();
    back_up(&node.engine, no_streams(), &place, &Progress::default()).await.unwrap();
    node.write(&[("t", &[("later", 1, 1.0)])]);
    node.engine.flush().await.unwrap();
    let manifest = place.newest(None).await.unwrap();

    let other = FlakyStore::new(3);
    other.fail_percent(20);
    let (there, here) = (folder.path().join("there"), folder.path().join("here"));
    let elsewhere = Target { data_dir: there.clone(), store: remote(&other) };
    restore(&place, &manifest, &elsewhere, &Progress::default()).await.unwrap();
    assert!(!there.join("tables").exists());
    let settings = || EngineConfig { store: remote(&other), ..config(&there) };
    Restored::open(settings()).await.unwrap().unwrap().settle().await.unwrap();
    assert_eq!(Node::open_with(settings()).await.read("t").await, expected);

    restore(&place, &manifest, &target(&here), &Progress::default()).await.unwrap();
    assert_eq!(settled(&here).await.read("t").await, expected);

    let occupied = Target { data_dir: folder.path().join("third"), store: remote(&other) };
    let error = restore(&place, &manifest, &occupied, &Progress::default()).await.unwrap_err();
    assert!(error.to_string().contains("the place of the tables is not empty"), "{error}");
}
