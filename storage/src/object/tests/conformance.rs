//! The same checks over every store: the durable one, `object_store`'s own memory store, one whose requests fail
//! and are repeated, one behind a cache, and S3 when there is a server.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{Error, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode};

use crate::object::flaky::{FlakyStore, soon};
use crate::object::{
    CachedStore, Credentials, DurableLocalStore, RetryingStore, S3Config, StoreActivity, StoreSettings,
    TableStore,
};

/// The URL of a server that speaks S3 and has the bucket `conformance`; the key is `test`, the secret `test`.
const S3_SERVER: &str = "BUSBAR_TEST_S3";

#[tokio::test]
async fn the_memory_store_conforms() {
    conforms(Arc::new(InMemory::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_durable_store_conforms() {
    let folder = tempfile::tempdir().unwrap();
    conforms(Arc::new(DurableLocalStore::open(&folder.path().join("new/root")).unwrap())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_whose_requests_fail_conforms_when_they_are_repeated() {
    for seed in 0..5 {
        let flaky = FlakyStore::new(seed);
        flaky.fail_percent(20);
        conforms(Arc::new(RetryingStore::new(flaky, soon(), Arc::default()))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_behind_a_cache_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let inner = Arc::new(InMemory::new());
    let activity = Arc::new(StoreActivity::default());
    conforms(Arc::new(CachedStore::open(inner, folder.path(), 4 << 20, activity).unwrap())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_s3_conforms() {
    let Ok(endpoint) = std::env::var(S3_SERVER) else {
        eprintln!("not checked: {S3_SERVER} names no server; .ci/object_store starts one");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let key = Credentials::Key { access_key_id: "test".into(), secret_access_key: "test".into() };
    let config = S3Config {
        bucket: "conformance".into(),
        prefix: "a prefix/°C".into(),
        endpoint: Some(endpoint),
        region: Some("us-east-1".into()),
        path_style: true,
        allow_http: true,
        credentials: key,
    };
    let settings =
        StoreSettings { tables: TableStore::S3(config), cache_bytes: 4 << 20, ..StoreSettings::default() };
    let store =
        settings.open(Arc::new(crate::disk::LocalDisk), folder.path(), &folder.path().join("cache")).unwrap();
    conforms_but_for_copies(Arc::clone(&store)).await;
}

async fn conforms(store: Arc<dyn ObjectStore>) {
    copies(store.as_ref()).await;
    renames(store.as_ref()).await;
    conforms_but_for_copies(store).await;
}

/// S3 has no copy that does not overwrite, and nothing here needs one.
async fn conforms_but_for_copies(store: Arc<dyn ObjectStore>) {
    puts(store.as_ref()).await;
    reads(store.as_ref()).await;
    lists(store.as_ref()).await;
    uploads(store.as_ref()).await;
    deletes(store.as_ref()).await;
    one_of_many_creators_wins(store).await;
}

async fn text(store: &dyn ObjectStore, location: &Path) -> String {
    let bytes = store.get(location).await.unwrap().bytes().await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn puts(store: &dyn ObjectStore) {
    let x = Path::from("puts/x");
    let put = store.put(&x, "one".into()).await.unwrap();
    assert_eq!(put.e_tag, store.head(&x).await.unwrap().e_tag);
    store.put(&x, "two".into()).await.unwrap();
    assert_eq!(text(store, &x).await, "two");
    let second = store.put_opts(&x, "three".into(), PutMode::Create.into()).await;
    assert!(matches!(second, Err(Error::AlreadyExists { .. })), "{second:?}");
    assert_eq!(text(store, &x).await, "two");
    for name in ["°C/a b", "µg%m³", "..", "a=1/b.c"] {
        let odd = Path::from_iter(["puts", name]);
        store.put(&odd, name.to_owned().into()).await.unwrap();
        assert_eq!(text(store, &odd).await, name);
    }
    store.put(&Path::from("puts/empty"), "".into()).await.unwrap();
    assert_eq!(store.head(&Path::from("puts/empty")).await.unwrap().size, 0);
}

async fn reads(store: &dyn ObjectStore) {
    let x = Path::from("reads/x");
    store.put(&x, "0123456789".into()).await.unwrap();
    assert_eq!(store.get_range(&x, 2..5).await.unwrap(), "234");
    let ranges = store.get_ranges(&x, &[0..1, 8..10]).await.unwrap();
    assert_eq!(ranges, ["0", "89"]);
    let missing = store.get(&Path::from("reads/none")).await;
    assert!(matches!(missing, Err(Error::NotFound { .. })), "{missing:?}");
}

async fn lists(store: &dyn ObjectStore) {
    for name in ["l/b", "l/a", "l/c/d", "lx", "l/c-d"] {
        store.put(&Path::from(name), name.into()).await.unwrap();
    }
    let prefix = Path::from("l");
    let listed: Vec<_> =
        store.list(Some(&prefix)).map_ok(|meta| meta.location.to_string()).try_collect().await.unwrap();
    assert_eq!(listed, ["l/a", "l/b", "l/c-d", "l/c/d"]);
    let after: Vec<_> =
        store.list_with_offset(Some(&prefix), &Path::from("l/b")).try_collect().await.unwrap();
    assert_eq!(after.len(), 2);
    let here = store.list_with_delimiter(Some(&prefix)).await.unwrap();
    assert_eq!((here.objects.len(), here.common_prefixes), (3, vec![Path::from("l/c")]));
    assert!(store.list(Some(&Path::from("nowhere"))).next().await.is_none());
}

async fn copies(store: &dyn ObjectStore) {
    let (x, y) = (Path::from("c/x"), Path::from("c/y/y"));
    store.put(&x, "x".into()).await.unwrap();
    store.copy(&x, &y).await.unwrap();
    store.put(&x, "changed".into()).await.unwrap();
    assert_eq!(text(store, &y).await, "x");
    let taken = store.copy_if_not_exists(&x, &y).await;
    assert!(matches!(taken, Err(Error::AlreadyExists { .. })), "{taken:?}");
    store.copy(&x, &y).await.unwrap();
    assert_eq!(text(store, &y).await, "changed");
    let missing = store.copy(&Path::from("c/none"), &y).await;
    assert!(matches!(missing, Err(Error::NotFound { .. })), "{missing:?}");
}

async fn renames(store: &dyn ObjectStore) {
    let (x, y) = (Path::from("r/x"), Path::from("r/y/y"));
    store.put(&x, "x".into()).await.unwrap();
    store.copy(&x, &y).await.unwrap();
    let taken = store.rename_if_not_exists(&x, &y).await;
    assert!(matches!(taken, Err(Error::AlreadyExists { .. })), "{taken:?}");
    // Also when the two are equal, the old name goes.
    store.rename(&x, &y).await.unwrap();
    assert!(matches!(store.head(&x).await, Err(Error::NotFound { .. })));
    store.rename_if_not_exists(&y, &x).await.unwrap();
    assert_eq!(text(store, &x).await, "x");
    let missing = store.rename(&y, &x).await;
    assert!(matches!(missing, Err(Error::NotFound { .. })), "{missing:?}");
}

async fn uploads(store: &dyn ObjectStore) {
    let x = Path::from("u/x");
    let mut upload = store.put_multipart(&x).await.unwrap();
    // S3 takes no smaller part but the last.
    let one = "1".repeat(5 << 20);
    let (first, second) = (upload.put_part(one.clone().into()), upload.put_part("two".into()));
    second.await.unwrap();
    first.await.unwrap();
    assert!(matches!(store.head(&x).await, Err(Error::NotFound { .. })));
    upload.complete().await.unwrap();
    assert!(text(store, &x).await == one + "two");
    let y = Path::from("u/y");
    let mut upload = store.put_multipart(&y).await.unwrap();
    upload.put_part("gone".into()).await.unwrap();
    upload.abort().await.unwrap();
    assert!(matches!(store.head(&y).await, Err(Error::NotFound { .. })));
}

async fn deletes(store: &dyn ObjectStore) {
    let names: Vec<_> = (0..20).map(|i| Path::from(format!("d/{}/{i}", i % 3))).collect();
    for name in &names {
        store.put(name, "x".into()).await.unwrap();
    }
    let locations = stream::iter(names.clone()).map(Ok).boxed();
    let deleted: Vec<_> = store.delete_stream(locations).try_collect().await.unwrap();
    assert_eq!(deleted, names);
    assert!(store.list(Some(&Path::from("d"))).next().await.is_none());
}

async fn one_of_many_creators_wins(store: Arc<dyn ObjectStore>) {
    for round in 0..20 {
        let x = Path::from(format!("race/{round}/x"));
        let creators = (0..8).map(|i| {
            let (store, x) = (Arc::clone(&store), x.clone());
            tokio::spawn(async move {
                let created = store.put_opts(&x, format!("{i}").into(), PutMode::Create.into()).await;
                match created {
                    Ok(_) => Some(format!("{i}")),
                    Err(Error::AlreadyExists { .. }) => None,
                    Err(error) => panic!("{error}"),
                }
            })
        });
        let results = futures::future::join_all(creators.collect::<Vec<_>>()).await;
        let winners: Vec<_> = results.into_iter().filter_map(Result::unwrap).collect();
        assert_eq!(winners, [text(store.as_ref(), &x).await]);
    }
}
