//! Reads never lie: every byte of a data file that a query or a merge gets was checked.
//!
//! The Parquet crate (59) cannot write page checksums, and a flipped bit in a plain page is just another value.
//! What there is, is the checksum of the whole file (`add.tags`, manifest). So, per file:
//!
//! 1. At its first read in this process the file is read through once; its checksum must be the expected one.
//!    The same pass keeps a checksum of each [`BLOCK_BYTES`] in memory.
//! 2. A read is widened to blocks, and each block must have the checksum that it had then. So a bit that flips
//!    between two reads is seen as well.
//!
//! Invariant: for a file that was [expected](VerifiedStore::expect), what is returned is what was written, or an
//! error. Other objects pass through. See `decisions/006-reads-are-verified-by-block.md`.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use hashbrown::HashMap;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result,
};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::error::Error;
use crate::model::DataFile;

/// Bytes that one checksum covers. A column chunk is some 100 KB, so a read is widened by about as much again;
/// a terabyte of files needs 64 MB of checksums.
const BLOCK_BYTES: u64 = 64 << 10;

/// A store whose data files are checked on the way out.
#[derive(Debug)]
pub struct VerifiedStore {
    inner: Arc<dyn ObjectStore>,
    files: Mutex<Files>,
}

#[derive(Debug, Default)]
struct Files {
    by_path: HashMap<Path, Known>,
    /// Files that nobody has any more are dropped when there are so many entries.
    sweep_at: usize,
}

/// A file, and who may read it.
#[derive(Debug)]
struct Known {
    readers: Vec<Weak<DataFile>>,
    expected: Arc<Expected>,
}

/// What a file must be, and the checksums of its blocks once it was.
#[derive(Debug)]
struct Expected {
    bytes: u64,
    checksum: u32,
    blocks: OnceCell<Box<[u32]>>,
}

impl VerifiedStore {
    /// Reads of `inner`, checked.
    pub(crate) fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, files: Mutex::default() }
    }

    /// From now on what is read of this file is checked. Call it before the first read.
    pub fn expect(&self, file: &Arc<DataFile>) {
        let mut files = self.files.lock();
        if files.by_path.len() >= files.sweep_at {
            files.by_path.retain(|_, known| known.readers.iter().any(|reader| reader.strong_count() > 0));
            files.sweep_at = (2 * files.by_path.len()).max(1_024);
        }
        let (bytes, checksum) = (file.bytes, file.checksum);
        let fresh = || Known {
            readers: Vec::new(),
            expected: Arc::new(Expected { bytes, checksum, blocks: OnceCell::new() }),
        };
        let known = files.by_path.entry(file.path.clone()).or_insert_with(fresh);
        if known.expected.bytes != bytes || known.expected.checksum != checksum {
            // A staged file that was written again.
            *known = fresh();
        }
        known.readers.retain(|reader| reader.strong_count() > 0);
        if !known.readers.iter().any(|reader| std::ptr::eq(reader.as_ptr(), Arc::as_ptr(file))) {
            known.readers.push(Arc::downgrade(file));
        }
    }

    fn expected(&self, location: &Path) -> Option<Arc<Expected>> {
        self.files.lock().by_path.get(location).map(|known| Arc::clone(&known.expected))
    }

    /// The checksums of a file's blocks, after it was read through and found to be what was written.
    async fn blocks<'a>(&self, location: &Path, expected: &'a Expected) -> Result<&'a [u32]> {
        let blocks = expected.blocks.get_or_try_init(|| self.read_through(location, expected)).await?;
        Ok(blocks)
    }

    async fn read_through(&self, location: &Path, expected: &Expected) -> Result<Box<[u32]>> {
        let mut stream = self.inner.get(location).await?.into_stream();
        let mut sum = BlockSums::default();
        while let Some(bytes) = stream.try_next().await? {
            sum.add(&bytes);
        }
        sum.end_block();
        if sum.bytes != expected.bytes || sum.whole != expected.checksum {
            return Err(damaged(format!(
                "{location} is damaged: it has {} bytes with checksum {:08x}, written were {} with {:08x}; restore it \
                 from a backup",
                sum.bytes, sum.whole, expected.bytes, expected.checksum
            )));
        }
        Ok(sum.blocks.into())
    }

    /// The bytes of some ranges, each checked.
    async fn read(&self, location: &Path, expected: &Expected, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let blocks = self.blocks(location, expected).await?;
        let wide = widened(ranges, expected.bytes);
        let read = self.inner.get_ranges(location, &wide).await?;
        for (range, bytes) in wide.iter().zip(&read) {
            check(location, range, bytes, blocks)?;
        }
        let slice = |range: &Range<u64>| {
            let at = wide.partition_point(|wide| wide.end <= range.start);
            let Some((wide, bytes)) = wide.get(at).zip(read.get(at)) else { return Bytes::new() };
            let place =
                |offset: u64| usize::try_from(offset.saturating_sub(wide.start)).unwrap_or(usize::MAX);
            let (start, end) = (place(range.start), place(range.end).min(bytes.len()));
            bytes.slice(start.min(end)..end)
        };
        Ok(ranges.iter().map(slice).collect())
    }
}

/// The ranges widened to whole blocks, in order, those that touch made one.
fn widened(ranges: &[Range<u64>], bytes: u64) -> Vec<Range<u64>> {
    let widen = |range: &Range<u64>| {
        let start = range.start / BLOCK_BYTES * BLOCK_BYTES;
        start..range.end.next_multiple_of(BLOCK_BYTES).min(bytes)
    };
    let mut wide: Vec<Range<u64>> = ranges.iter().filter(|range| !range.is_empty()).map(widen).collect();
    wide.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(wide.len());
    for range in wide {
        match merged.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// Holds the blocks of a range against their checksums.
fn check(location: &Path, range: &Range<u64>, bytes: &Bytes, blocks: &[u32]) -> Result<()> {
    let first = usize::try_from(range.start / BLOCK_BYTES).unwrap_or(usize::MAX);
    let chunks = bytes.chunks(usize::try_from(BLOCK_BYTES).unwrap_or(usize::MAX));
    for (at, chunk) in chunks.enumerate() {
        if blocks.get(first + at) != Some(&crc32c::crc32c(chunk)) {
            let offset = range.start + at as u64 * BLOCK_BYTES;
            return Err(damaged(format!(
                "{location} has changed within {BLOCK_BYTES} bytes from {offset} on since it was first read; restore \
                 it from a backup"
            )));
        }
    }
    Ok(())
}

fn damaged(message: String) -> object_store::Error {
    // Said here, because Parquet and Arrow keep only a text of it on the way up, and a client is not told of paths.
    tracing::error!(%message, "a data file is damaged");
    object_store::Error::Generic { store: "busbar", source: Box::new(Error::Damaged(message)) }
}

/// The checksum of a whole and of its blocks, in one pass.
#[derive(Default)]
struct BlockSums {
    bytes: u64,
    whole: u32,
    blocks: Vec<u32>,
    block: u32,
    in_block: u64,
}

impl BlockSums {
    fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = usize::try_from(BLOCK_BYTES - self.in_block).unwrap_or(usize::MAX);
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            self.block = crc32c::crc32c_append(self.block, now);
            self.in_block += now.len() as u64;
            self.bytes += now.len() as u64;
            if self.in_block == BLOCK_BYTES {
                self.end_block();
            }
            bytes = rest;
        }
    }

    /// Ends the block that was begun, if one was.
    fn end_block(&mut self) {
        if self.in_block == 0 {
            return;
        }
        // The whole's checksum follows from those of the blocks, so each byte is summed once.
        let length = usize::try_from(self.in_block).unwrap_or(usize::MAX);
        self.whole = crc32c::crc32c_combine(self.whole, self.block, length);
        self.blocks.push(self.block);
        (self.block, self.in_block) = (0, 0);
    }
}

impl fmt::Display for VerifiedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifiedStore({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for VerifiedStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let Some(expected) = self.expected(location).filter(|_| !options.head) else {
            return self.inner.get_opts(location, options).await;
        };
        let range = match options.range {
            None => 0..expected.bytes,
            Some(GetRange::Bounded(ref range)) => range.start..range.end.min(expected.bytes),
            Some(GetRange::Offset(start)) => start..expected.bytes,
            Some(GetRange::Suffix(length)) => expected.bytes.saturating_sub(length)..expected.bytes,
        };
        let bytes = self.read(location, &expected, std::slice::from_ref(&range)).await?;
        let meta = ObjectMeta {
            location: location.clone(),
            // A path is never written twice, so its time says nothing.
            last_modified: chrono::DateTime::UNIX_EPOCH,
            size: expected.bytes,
            e_tag: None,
            version: None,
        };
        let payload = GetResultPayload::Stream(stream::iter(bytes.into_iter().map(Ok)).boxed());
        Ok(GetResult { payload, meta, range, attributes: object_store::Attributes::default() })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        match self.expected(location) {
            Some(expected) => self.read(location, &expected, ranges).await,
            None => self.inner.get_ranges(location, ranges).await,
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}
