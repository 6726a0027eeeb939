//! A bounded cache of a remote store's data files on the local disk.
//!
//! Files are cached in aligned blocks, because a query reads footers and column chunks, not files. Only data
//! files are: their paths are never written twice. A table's log is always asked of the store.
//!
//! Invariants: the cache never takes more disk than it was given. A block is checked against its CRC-32C on
//! every read; one that is not what was put there is fetched again. Equal reads at one time fetch once. The
//! cache is empty at the start: what an index would save is a few reads, and there is none to be wrong. A cache
//! that cannot be written costs time and nothing else.

mod blocks;

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path as FsPath;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use hashbrown::HashMap;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use self::blocks::{BLOCK_BYTES, Block, Blocks, Key};
use super::{StoreActivity, blocking};

/// Blocks of one read that are fetched at one time.
const FETCHES_IN_FLIGHT: usize = 8;

/// The name of a table's log within its folder.
const TABLE_LOG: &str = "_delta_log";

/// Keeps blocks of the files of `inner`. Clones share them.
#[derive(Debug, Clone)]
pub struct CachedStore {
    inner: Arc<dyn ObjectStore>,
    blocks: Arc<Blocks>,
    fetches: Arc<Mutex<HashMap<Key, Arc<Fetch>>>>,
    activity: Arc<StoreActivity>,
}

type Fetch = OnceCell<Block>;

impl fmt::Display for CachedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CachedStore({})", self.inner)
    }
}

/// A fetch that others may wait for too. Dropped, it is over: who comes later looks into the cache.
struct UnderWay<'a> {
    store: &'a CachedStore,
    key: &'a Key,
    fetch: Arc<Fetch>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut fetches = self.store.fetches.lock();
        if fetches.get(self.key).is_some_and(|fetch| Arc::ptr_eq(fetch, &self.fetch)) {
            fetches.remove(self.key);
        }
    }
}

impl CachedStore {
    /// A cache of at most `bytes` in `folder`, which is made, and emptied. Blocks.
    ///
    /// # Errors
    /// The failure of the disk.
    pub fn open(
        inner: Arc<dyn ObjectStore>,
        folder: &FsPath,
        bytes: u64,
        activity: Arc<StoreActivity>,
    ) -> io::Result<Self> {
        let blocks = Arc::new(Blocks::open(folder, bytes, Arc::clone(&activity))?);
        Ok(Self { inner, blocks, fetches: Arc::default(), activity })
    }

    /// Forgets every block, and gives up the disk that they take. Returns their bytes.
    ///
    /// # Errors
    /// The failure of the disk: the blocks are forgotten, and their bytes may be left.
    pub(crate) async fn clear(&self) -> Result<u64> {
        let blocks = Arc::clone(&self.blocks);
        blocking(move || {
            blocks.clear().map_err(|source| object_store::Error::Generic {
                store: "CachedStore",
                source: Box::new(source),
            })
        })
        .await
    }

    async fn block(&self, key: Key) -> Result<Block> {
        if let Some(block) = self.blocks.read(&key).await {
            StoreActivity::add(&self.activity.cache_hits, 1);
            return Ok(block);
        }
        let fetch = Arc::clone(self.fetches.lock().entry(key.clone()).or_default());
        let under_way = UnderWay { store: self, key: &key, fetch };
        under_way.fetch.get_or_try_init(|| self.fetch(&key)).await.cloned()
    }

    async fn fetch(&self, key: &Key) -> Result<Block> {
        // Another may have fetched it since it was missed.
        if let Some(block) = self.blocks.read(key).await {
            return Ok(block);
        }
        StoreActivity::add(&self.activity.cache_misses, 1);
        let start = key.number * BLOCK_BYTES;
        let options = GetOptions::new().with_range(Some(start..start + BLOCK_BYTES));
        let found = self.inner.get_opts(&key.location, options).await?;
        let meta = Arc::new(found.meta.clone());
        let block = Block { meta, bytes: found.bytes().await? };
        self.blocks.write(key.clone(), block.clone()).await;
        Ok(block)
    }

    /// The bytes of `range`, as far as there are any, and what is known of the object.
    async fn range(&self, location: &Path, range: Range<u64>) -> Result<(Arc<ObjectMeta>, Bytes)> {
        let numbers = range.start / BLOCK_BYTES..=(range.end.max(range.start + 1) - 1) / BLOCK_BYTES;
        // The first says how long the file is: what lies behind its end cannot be asked for.
        let first = self.block(Key { location: location.clone(), number: *numbers.start() }).await?;
        let end = range.end.min(first.meta.size);
        let last = end.saturating_sub(1) / BLOCK_BYTES;
        let rest = (numbers.start() + 1..=last).map(|number| Key { location: location.clone(), number });
        let rest: Vec<Block> =
            stream::iter(rest).map(|key| self.block(key)).buffered(FETCHES_IN_FLIGHT).try_collect().await?;
        let parts = std::iter::once(&first).chain(&rest).zip(*numbers.start()..);
        let mut parts = parts.map(|(block, number)| block.part(number, range.start..end));
        let bytes = if rest.is_empty() {
            parts.next().unwrap_or_default()
        } else {
            parts
                .fold(BytesMut::new(), |mut all, part| {
                    all.extend_from_slice(&part);
                    all
                })
                .freeze()
        };
        Ok((first.meta, bytes))
    }

    fn forget(&self, location: &Path) {
        if is_data_file(location) {
            self.blocks.forget(location);
        }
    }
}

/// Whether the object never changes.
fn is_data_file(location: &Path) -> bool {
    location.extension() == Some("parquet") && location.parts().all(|part| part.as_ref() != TABLE_LOG)
}

/// The range of a read that asks for nothing else than bytes.
fn plain_range(options: &GetOptions) -> Option<Range<u64>> {
    let GetOptions { range: Some(GetRange::Bounded(range)), .. } = options else { return None };
    let plain = !options.head
        && options.if_match.is_none()
        && options.if_none_match.is_none()
        && options.if_modified_since.is_none()
        && options.if_unmodified_since.is_none()
        && options.version.is_none();
    (plain && range.start < range.end).then(|| range.clone())
}

#[async_trait]
impl ObjectStore for CachedStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.forget(location);
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.forget(location);
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let range = plain_range(&options).filter(|_| is_data_file(location));
        let Some(range) = range else { return self.inner.get_opts(location, options).await };
        let (meta, bytes) = self.range(location, range.clone()).await?;
        let range = range.start..range.start + bytes.len() as u64;
        let payload = GetResultPayload::Stream(stream::iter([Ok(bytes)]).boxed());
        Ok(GetResult { payload, meta: (*meta).clone(), range, attributes: Default::default() })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if !is_data_file(location) {
            return self.inner.get_ranges(location, ranges).await;
        }
        let mut all = Vec::with_capacity(ranges.len());
        for range in ranges {
            all.push(self.range(location, range.clone()).await?.1);
        }
        Ok(all)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let deleted = self.inner.delete_stream(locations);
        deleted.inspect_ok(move |location| store.forget(location)).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.forget(to);
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.forget(from);
        self.forget(to);
        self.inner.rename_opts(from, to, options).await
    }
}
