//! What is repeated, what is not, and when a store is given up.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode};

use crate::object::flaky::{Fault, FlakyStore, soon};
use crate::object::{RetryPolicy, RetryingStore, StoreActivity, transfer};

fn rig(policy: RetryPolicy) -> (FlakyStore, RetryingStore<FlakyStore>, Arc<StoreActivity>) {
    let (flaky, activity) = (FlakyStore::new(1), Arc::new(StoreActivity::default()));
    let store = RetryingStore::new(flaky.clone(), policy, Arc::clone(&activity));
    (flaky, store, activity)
}

async fn create(store: &dyn ObjectStore, text: &str) -> object_store::Result<()> {
    let created = store.put_opts(&Path::from("x"), text.to_owned().into(), PutMode::Create.into()).await;
    created.map(drop)
}

async fn text(store: &dyn ObjectStore) -> String {
    let bytes = store.get(&Path::from("x")).await.unwrap().bytes().await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn a_create_whose_answer_was_lost_is_known_by_its_bytes() {
    for faults in [
        vec![Fault::After],
        vec![Fault::Silence],
        vec![Fault::Before],
        vec![Fault::Before, Fault::Before, Fault::Before, Fault::After],
        // Done and lost; the read that would tell is lost as well.
        vec![Fault::After, Fault::Before, Fault::Broken],
    ] {
        let (flaky, store, _) = rig(soon());
        flaky.script(faults.clone());
        create(&store, "mine").await.unwrap_or_else(|error| panic!("{faults:?}: {error}"));
        assert_eq!(text(&store).await, "mine");
    }
}

#[tokio::test]
async fn a_create_that_another_made_is_refused_also_after_a_lost_answer() {
    for faults in [vec![], vec![Fault::After], vec![Fault::Before], vec![Fault::Silence]] {
        let (flaky, store, _) = rig(soon());
        store.put(&Path::from("x"), "theirs".into()).await.unwrap();
        flaky.script(faults);
        let created = create(&store, "mine").await;
        assert!(matches!(created, Err(Error::AlreadyExists { .. })), "{created:?}");
        assert_eq!(text(&store).await, "theirs");
    }
}

#[tokio::test]
async fn an_object_that_changes_while_it_is_read_is_an_error_and_no_mixture() {
    let (flaky, store, _) = rig(soon());
    let x = Path::from("x");
    store.put(&x, "0123456789".into()).await.unwrap();
    flaky.script([Fault::Broken]);
    let found = store.get(&x).await.unwrap();
    store.put(&x, "abcdefghij".into()).await.unwrap();
    let read = found.bytes().await;
    assert!(matches!(read, Err(Error::Precondition { .. })), "{read:?}");
}

#[tokio::test]
async fn a_store_that_stays_away_spends_the_budget_once_and_answers_again_when_it_is_back() {
    let (flaky, store, activity) = rig(RetryPolicy { retries: 5, ..soon() });
    let x = Path::from("x");
    store.put(&x, "1".into()).await.unwrap();
    flaky.set_down(true);
    for _ in 0..10 {
        let error = store.get(&x).await.unwrap_err().to_string();
        assert!(error.contains("given up after") && error.contains("the line is cut"), "{error}");
    }
    assert_eq!(activity.retries.load(Ordering::Relaxed), 5);
    assert_eq!(activity.failures.load(Ordering::Relaxed), 10);
    assert!(activity.fault().unwrap().contains("the object store does not answer"));
    flaky.set_down(false);
    assert_eq!(text(&store).await, "1");
    assert_eq!(activity.fault(), None);
}

#[tokio::test]
async fn what_stays_wrong_is_not_repeated() {
    let (_, store, activity) = rig(soon());
    store.get(&Path::from("none")).await.unwrap_err();
    assert_eq!(activity.retries.load(Ordering::Relaxed), 0);
    assert_eq!(activity.fault(), None, "\"no\" is an answer");
}

#[tokio::test]
async fn a_large_file_goes_up_in_parts_and_an_upload_that_fails_leaves_nothing() {
    let (flaky, store, _) = rig(soon());
    let (local, source) = (InMemory::new(), Path::from("staged"));
    let content: Vec<u8> = (0..20_u32 << 20).map(|i| (i / 1_000).to_le_bytes()[0]).collect();
    local.put(&source, content.clone().into()).await.unwrap();
    let length = content.len() as u64;
    let x = Path::from("x");
    flaky.script([
        Fault::After,
        Fault::None,
        Fault::Before,
        Fault::After,
        Fault::After,
        Fault::None,
        Fault::None,
        Fault::After,
    ]);
    transfer(&local, &source, length, &store, &x).await.unwrap();
    let bytes = store.get(&x).await.unwrap().bytes().await.unwrap();
    assert!(bytes == content, "{} bytes", bytes.len());
    // The first begin was lost with its answer: that upload has no name and no parts.
    assert_eq!(flaky.unfinished_uploads(), 1);

    let y = Path::from("y");
    let (flaky, store, _) = rig(RetryPolicy { retries: 0, ..soon() });
    flaky.script([Fault::None, Fault::None, Fault::Before]);
    transfer(&local, &source, length, &store, &y).await.unwrap_err();
    assert_eq!(flaky.unfinished_uploads(), 0);
    assert!(matches!(store.head(&y).await, Err(Error::NotFound { .. })));

    local.put(&source, "small".into()).await.unwrap();
    transfer(&local, &source, 5, &store, &y).await.unwrap();
    assert_eq!(store.get(&y).await.unwrap().bytes().await.unwrap(), "small");
}
