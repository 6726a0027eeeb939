//! A store that fails one put of a log entry, before or after it took effect, and counts what is read.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing is written.
    FailBefore,
    /// It is written, the answer is lost.
    FailAfter,
    /// It is written, and the store's own retry finds it there.
    ExistsAfter,
}

#[derive(Debug)]
pub(super) struct FlakyStore {
    inner: Arc<dyn ObjectStore>,
    next: Mutex<Option<Fault>>,
    reads: AtomicUsize,
}

impl FlakyStore {
    pub(super) fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, next: Mutex::new(None), reads: AtomicUsize::new(0) }
    }

    pub(super) fn fail_next(&self, fault: Fault) {
        *self.next.lock() = Some(fault);
    }

    /// The requests that have read an object since this was asked last.
    pub(super) fn take_reads(&self) -> usize {
        self.reads.swap(0, Ordering::Relaxed)
    }

    pub(super) fn is_armed(&self) -> bool {
        self.next.lock().is_some()
    }
}

impl fmt::Display for FlakyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FlakyStore({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FlakyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let fault = if opts.mode == PutMode::Create { self.next.lock().take() } else { None };
        let lost = Error::Generic { store: "FlakyStore", source: "the line is cut".into() };
        match fault {
            None => self.inner.put_opts(location, payload, opts).await,
            Some(Fault::FailBefore) => Err(lost),
            Some(fault) => {
                self.inner.put_opts(location, payload, opts).await?;
                let path = location.to_string();
                Err(match fault {
                    Fault::ExistsAfter => Error::AlreadyExists { path, source: "it is there".into() },
                    _ => lost,
                })
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
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
}
