//! Sends a local file to a store without holding it in memory.
//!
//! Invariants: at most [`PARTS_IN_FLIGHT`] parts are in memory. The object appears as a whole or not at all; when
//! a part fails, the upload is aborted. What a killed process leaves of an upload has no name and is for the
//! bucket's own rule on incomplete uploads.

use std::fs::File;
use std::io::Read;
use std::path::Path as FsPath;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload, UploadPart};

use super::blocking;
use crate::error::{Error, Result};

/// Bytes of a part. S3 takes at least 5 MiB and at most 10,000 parts, so a file may have 78 GiB.
const PART_BYTES: usize = 8 << 20;

/// Parts that are under way at one time: 24 MiB of memory, and enough to hide the store's latency.
const PARTS_IN_FLIGHT: usize = 3;

/// Puts the content of the local file `source` at `location`. On return it is durable there.
///
/// # Errors
/// The file cannot be read, or the store does not take it: it may be tried again.
pub async fn upload(store: &dyn ObjectStore, location: &Path, source: &FsPath) -> Result<()> {
    let mut file = Source::open(source).await?;
    let first = file.next().await?;
    if first.len() < PART_BYTES {
        store.put(location, PutPayload::from(first)).await?;
        return Ok(());
    }
    let mut parts = store.put_multipart(location).await?;
    match send(parts.as_mut(), first, &mut file).await {
        Ok(()) => Ok(()),
        Err(error) => {
            if let Err(left) = parts.abort().await {
                tracing::warn!(error = %left, %location, "an upload that failed could not be aborted");
            }
            Err(error)
        }
    }
}

async fn send(parts: &mut dyn MultipartUpload, first: Vec<u8>, file: &mut Source) -> Result<()> {
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

/// A file that is read part by part, where blocking is allowed.
struct Source {
    path: Arc<FsPath>,
    file: Arc<File>,
}

impl Source {
    async fn open(path: &FsPath) -> Result<Self> {
        let path: Arc<FsPath> = Arc::from(path);
        let opened = Arc::clone(&path);
        let file = blocking(move || Ok(File::open(opened))).await?;
        let file = file.map_err(Error::io("open", &*path))?;
        Ok(Self { path, file: Arc::new(file) })
    }

    /// The next part; shorter than [`PART_BYTES`] at the end of the file, then empty.
    async fn next(&mut self) -> Result<Vec<u8>> {
        let file = Arc::clone(&self.file);
        let read = blocking(move || {
            let mut part = Vec::with_capacity(PART_BYTES);
            Ok((&*file).take(PART_BYTES as u64).read_to_end(&mut part).map(|_| part))
        });
        read.await?.map_err(Error::io("read", &*self.path))
    }
}
