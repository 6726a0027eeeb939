//! What the cache keeps, and what it never does.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::object::{CachedStore, StoreActivity};

const BLOCK: usize = 1 << 20;

struct Rig {
    folder: tempfile::TempDir,
    store: CachedStore,
    activity: Arc<StoreActivity>,
    content: Vec<u8>,
}

const FILE: &str = "t/busbar_date=2026-01-01/a.parquet";

impl Rig {
    async fn new(blocks: usize) -> Self {
        let (folder, activity) = (tempfile::tempdir().unwrap(), Arc::new(StoreActivity::default()));
        let inner = Arc::new(InMemory::new());
        let bytes = (blocks * BLOCK) as u64;
        let store = CachedStore::open(inner, folder.path(), bytes, Arc::clone(&activity)).unwrap();
        let content: Vec<u8> = (0..5 * BLOCK / 2).map(|i| (i / 700).to_le_bytes()[0]).collect();
        store.put(&Path::from(FILE), content.clone().into()).await.unwrap();
        Self { folder, store, activity, content }
    }

    async fn check(&self, from: usize, to: usize) {
        let read = self.store.get_range(&Path::from(FILE), from as u64..to as u64).await.unwrap();
        assert!(read == self.content[from..to.min(self.content.len())], "{from}..{to}");
    }

    /// Hits and misses since the last time.
    fn counts(&self) -> (u64, u64) {
        (
            self.activity.cache_hits.swap(0, Ordering::Relaxed),
            self.activity.cache_misses.swap(0, Ordering::Relaxed),
        )
    }
}

#[tokio::test]
async fn a_block_is_fetched_once_whatever_is_read_of_it() {
    let rig = Rig::new(8).await;
    rig.check(10, 20).await;
    assert_eq!(rig.counts(), (0, 1));
    rig.check(0, BLOCK).await;
    rig.check(500, 600).await;
    assert_eq!(rig.counts(), (2, 0));
    rig.check(BLOCK - 1, BLOCK + 1).await;
    rig.check(BLOCK / 2, 3 * BLOCK).await;
    assert_eq!(rig.counts(), (3, 2));
    let ranges = rig.store.get_ranges(&Path::from(FILE), &[0..3, 9..10]).await.unwrap();
    assert_eq!(ranges, [&rig.content[0..3], &rig.content[9..10]]);
    assert_eq!(rig.counts(), (2, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_reads_at_one_time_fetch_once() {
    let rig = Arc::new(Rig::new(8).await);
    let reads = (0..50).map(|i| {
        let rig = Arc::clone(&rig);
        tokio::spawn(async move { rig.check(i, i + 100).await })
    });
    for read in reads.collect::<Vec<_>>() {
        read.await.unwrap();
    }
    assert_eq!(rig.counts().1, 1);
}

#[tokio::test]
async fn the_cache_stays_within_its_bytes_and_keeps_what_is_read_again() {
    let rig = Rig::new(2).await;
    rig.check(0, 10).await;
    rig.check(BLOCK, BLOCK + 10).await;
    rig.check(0, 10).await;
    // The third takes the place of the second, because the first was read again.
    rig.check(2 * BLOCK, 2 * BLOCK + 10).await;
    rig.counts();
    rig.check(0, 10).await;
    assert_eq!(rig.counts(), (1, 0));
    rig.check(BLOCK, BLOCK + 10).await;
    assert_eq!(rig.counts(), (0, 1));
    let size = std::fs::metadata(rig.folder.path().join("blocks")).unwrap().len();
    assert!(size <= 2 * BLOCK as u64, "{size}");
}

#[tokio::test]
async fn a_damaged_block_is_fetched_again() {
    let rig = Rig::new(4).await;
    rig.check(0, 10).await;
    let file = std::fs::File::options().write(true).open(rig.folder.path().join("blocks")).unwrap();
    file.write_all_at(b"damage", 100_000).unwrap();
    rig.counts();
    rig.check(99_990, 100_010).await;
    assert_eq!(rig.counts(), (0, 1));
    assert_eq!(rig.activity.cache_damaged.load(Ordering::Relaxed), 1);
    rig.check(99_990, 100_010).await;
    assert_eq!(rig.counts(), (1, 0));
}

#[tokio::test]
async fn a_tables_log_and_what_is_deleted_are_asked_of_the_store() {
    let rig = Rig::new(4).await;
    for name in [
        "t/_delta_log/00000000000000000000.json",
        "t/_delta_log/_last_checkpoint",
        "t/_delta_log/9.checkpoint.parquet",
    ] {
        let name = Path::from(name);
        for text in ["first", "other"] {
            rig.store.put(&name, text.into()).await.unwrap();
            assert_eq!(rig.store.get_range(&name, 0..5).await.unwrap(), text);
        }
    }
    assert_eq!(rig.counts(), (0, 0));
    rig.check(0, 10).await;
    rig.store.delete(&Path::from(FILE)).await.unwrap();
    rig.store.get_range(&Path::from(FILE), 0..10).await.unwrap_err();
}

#[tokio::test]
async fn the_cache_is_empty_at_the_start() {
    let rig = Rig::new(4).await;
    rig.check(0, 10).await;
    let activity = Arc::new(StoreActivity::default());
    let again =
        CachedStore::open(Arc::new(rig.store.clone()), rig.folder.path(), 4 << 20, activity.clone()).unwrap();
    again.get_range(&Path::from(FILE), 0..10).await.unwrap();
    assert_eq!(activity.cache_misses.load(Ordering::Relaxed), 1);
}
