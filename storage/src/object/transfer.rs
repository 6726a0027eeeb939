//! Sends a file from one store to another without holding it in memory.
//!
//! Invariants: at most [`PARTS_IN_FLIGHT`] parts are in memory. The object appears as a whole or not at all; when
//! a part fails, the upload is aborted. What a killed process leaves of an upload has no name and is for the
//! bucket's own rule on incomplete uploads.

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload, UploadPart};

use crate::error::Result;

/// Bytes of a part. S3 takes at least 5 MiB and at most 10,000 parts, so a file may have 78 GiB.
const PART_BYTES: u64 = 8 << 20;

/// Parts that are under way at one time: 24 MiB of memory, and enough to hide the store's latency.
const PARTS_IN_FLIGHT: usize = 3;

/// Copies `source`, which has so many bytes, from the store `from` to `location` of the store `to`. On return it is durable there.
///
/// # Errors
/// The file cannot be read, or the store does not take it: it may be tried again.
pub async fn transfer(
    from: &dyn ObjectStore,
    source: &Path,
    bytes: u64,
    to: &dyn ObjectStore,
    location: &Path,
) -> Result<()> {
    let mut source = Source { store: from, path: source, read: 0, bytes };
    let first = source.next().await?;
    if (first.len() as u64) < PART_BYTES {
        to.put(location, PutPayload::from(first)).await?;
        return Ok(());
    }
    let mut parts = to.put_multipart(location).await?;
    match send(parts.as_mut(), first, &mut source).await {
        Ok(()) => Ok(()),
        Err(error) => {
            if let Err(left) = parts.abort().await {
                tracing::warn!(error = %left, %location, "an upload that failed could not be aborted");
            }
            Err(error)
        }
    }
}

async fn send(parts: &mut dyn MultipartUpload, first: Bytes, file: &mut Source<'_>) -> Result<()> {
    let mut under_way: FuturesUnordered<UploadPart> = FuturesUnordered::new();
    let mut next = first;
    while !next.is_empty() {
        if under_way.len() == PARTS_IN_FLIGHT
            && let Some(sent) = under_way.next().await
        {
            sent?;
        }
        under_way.push(parts.put_part(PutPayload::from(next)));
        next = file.next().await?;
    }
    while let Some(sent) = under_way.next().await {
        sent?;
    }
    parts.complete().await?;
    Ok(())
}

/// A file that is read part by part.
struct Source<'a> {
    store: &'a dyn ObjectStore,
    path: &'a Path,
    read: u64,
    bytes: u64,
}

impl Source<'_> {
    /// The next part; shorter than [`PART_BYTES`] at the end of the file, then empty.
    async fn next(&mut self) -> Result<Bytes> {
        let end = self.bytes.min(self.read + PART_BYTES);
        if self.read == end {
            return Ok(Bytes::new());
        }
        let part = self.store.get_range(self.path, self.read..end).await?;
        self.read = end;
        Ok(part)
    }
}
