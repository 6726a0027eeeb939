//! Sends a file to a store without holding it in memory.
//!
//! Invariants: at most [`PARTS_IN_FLIGHT`] parts are in memory. The object appears as a whole or not at all, and not
//! when its bytes are not those that were expected; when a part fails, the upload is aborted. What a killed process
//! leaves of an upload has no name and is for the bucket's own rule on incomplete uploads.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload, UploadPart};

use crate::disk::DiskFile;
use crate::error::{Error, Result};

/// Bytes of a part. S3 takes at least 5 MiB and at most 10,000 parts, so a file may have 78 GiB.
const PART_BYTES: u64 = 8 << 20;

/// Parts that are under way at one time: 24 MiB of memory, and enough to hide the store's latency.
const PARTS_IN_FLIGHT: usize = 3;

/// Where the bytes of a transfer are.
pub(crate) enum Input<'a> {
    /// In memory.
    Memory(Bytes),
    /// In an open file, from its start.
    File(Arc<dyn DiskFile>),
    /// In a store.
    Object(&'a dyn ObjectStore, &'a Path),
}

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
    transfer_checked(Input::Object(from, source), bytes, None, to, location).await.map(|_| ())
}

/// Sends `bytes` bytes of `input` to `location` of the store `to`, where they are durable on return. Returns their
/// CRC-32C.
///
/// # Errors
/// [`Error::Damaged`] when there are fewer bytes, or their checksum is not the `expected` one; else as [`transfer`].
pub(crate) async fn transfer_checked(
    input: Input<'_>,
    bytes: u64,
    expected: Option<u32>,
    to: &dyn ObjectStore,
    location: &Path,
) -> Result<u32> {
    let mut source = Source { input, read: 0, bytes, checksum: 0, expected };
    let first = source.next().await?;
    if (first.len() as u64) < PART_BYTES {
        source.check()?;
        to.put(location, PutPayload::from(first)).await?;
        return Ok(source.checksum);
    }
    let mut parts = to.put_multipart(location).await?;
    match send(parts.as_mut(), first, &mut source).await {
        Ok(()) => Ok(source.checksum),
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
    file.check()?;
    parts.complete().await?;
    Ok(())
}

/// A file that is read part by part.
struct Source<'a> {
    input: Input<'a>,
    read: u64,
    bytes: u64,
    /// Of what was read.
    checksum: u32,
    expected: Option<u32>,
}

impl Source<'_> {
    /// The next part; shorter than [`PART_BYTES`] at the end of the file, then empty.
    async fn next(&mut self) -> Result<Bytes> {
        let end = self.bytes.min(self.read + PART_BYTES);
        if self.read == end {
            return Ok(Bytes::new());
        }
        let part = self.input.read(self.read, end).await?;
        if part.len() as u64 != end - self.read {
            return Err(Error::Damaged(format!("{} ends before byte {end}", self.input.name())));
        }
        self.checksum = crc32c::crc32c_append(self.checksum, &part);
        self.read = end;
        Ok(part)
    }

    fn check(&self) -> Result<()> {
        match self.expected.filter(|expected| *expected != self.checksum) {
            None => Ok(()),
            Some(expected) => Err(Error::Damaged(format!(
                "{} is damaged: its checksum is {:08x}, written was {expected:08x}",
                self.input.name(),
                self.checksum
            ))),
        }
    }
}

impl Input<'_> {
    async fn read(&self, from: u64, to: u64) -> Result<Bytes> {
        match self {
            Self::Object(store, path) => Ok(store.get_range(path, from..to).await?),
            Self::File(file) => {
                let file = Arc::clone(file);
                let read = tokio::task::spawn_blocking(move || read_range(&*file, from, to)).await;
                read.map_err(|error| Error::Internal(format!("a read ended badly: {error}")))?
            }
            Self::Memory(bytes) => {
                let range = usize::try_from(from).ok().zip(usize::try_from(to).ok());
                Ok(range
                    .and_then(|(from, to)| bytes.get(from..to))
                    .map(|part| bytes.slice_ref(part))
                    .unwrap_or_default())
            }
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Object(_, path) => path.to_string(),
            Self::File(_) => "a file".to_owned(),
            Self::Memory(_) => "a buffer".to_owned(),
        }
    }
}

fn read_range(file: &dyn DiskFile, from: u64, to: u64) -> Result<Bytes> {
    let length =
        usize::try_from(to - from).map_err(|_| Error::Internal("a part does not fit into memory".into()))?;
    let mut buffer = vec![0; length];
    let read = file.read_at(from, &mut buffer)?;
    buffer.truncate(read);
    Ok(buffer.into())
}
