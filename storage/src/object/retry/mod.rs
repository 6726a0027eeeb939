//! A store that repeats what a remote one did not answer.
//!
//! Reads, listings, overwriting puts, parts and deletes may be repeated: twice is as good as once. A create may
//! not be repeated blindly, because the request whose answer was lost may have made the object:
//!
//! 1. send the create;
//! 2. when the answer is unclear or "exists already", read the object;
//! 3. it holds our bytes: we made it. It holds others: "exists already". It is missing: begin at 1; should the
//!    lost request still arrive, the next one is refused and step 2 finds our bytes.
//!
//! Invariants: callers create objects whose bytes name their maker (a Delta commit holds the log's epoch), so
//! equal bytes are the same create. A body or listing that breaks off goes on where it broke off, and only if
//! the object is still the same. Listings are in the order of names, as S3 gives them.

mod bodies;
mod multipart;
mod policy;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use self::multipart::Upload;
use self::policy::{Budget, is_passing};
pub use self::policy::{REMOTE_STORE, RetryPolicy};
use super::StoreActivity;

/// Deletes that are under way at one time.
const DELETES_IN_FLIGHT: usize = 8;

/// Repeats the requests to `S`.
#[derive(Debug)]
pub struct RetryingStore<S> {
    inner: Arc<S>,
    budget: Arc<Budget>,
}

impl<S> Clone for RetryingStore<S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), budget: Arc::clone(&self.budget) }
    }
}

impl<S: ObjectStore> fmt::Display for RetryingStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RetryingStore({})", self.inner)
    }
}

impl<S: ObjectStore + MultipartStore> RetryingStore<S> {
    /// Repeats the requests to `inner`, which should not repeat any itself.
    #[must_use]
    pub fn new(inner: S, policy: RetryPolicy, activity: Arc<StoreActivity>) -> Self {
        Self { inner: Arc::new(inner), budget: Arc::new(Budget::new(policy, activity)) }
    }

    async fn create(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let mut patience = self.budget.patience("creating", location);
        loop {
            self.count_sent(&payload);
            let put = self.inner.put_opts(location, payload.clone(), options.clone());
            let unclear = match patience.attempt(put).await {
                Err(error) if is_passing(&error) || matches!(error, Error::AlreadyExists { .. }) => error,
                answer => return answer,
            };
            match self.get(location).await {
                Ok(found) => {
                    let (e_tag, version) = (found.meta.e_tag.clone(), found.meta.version.clone());
                    let ours = found.bytes().await? == Bytes::from(payload.clone());
                    let path = location.to_string();
                    let others = || Error::AlreadyExists { path, source: Box::new(unclear) };
                    return if ours { Ok(PutResult { e_tag, version }) } else { Err(others()) };
                }
                // A server that was creating it for two at one time refuses both, or one for the moment.
                Err(Error::NotFound { .. }) => patience.after_passing(unclear).await?,
                Err(error) => return Err(error),
            }
        }
    }

    fn count_sent(&self, payload: &PutPayload) {
        StoreActivity::add(&self.budget.activity.sent_bytes, payload.content_length() as u64);
    }
}

#[async_trait]
impl<S: ObjectStore + MultipartStore> ObjectStore for RetryingStore<S> {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        match options.mode {
            PutMode::Create => self.create(location, payload, options).await,
            PutMode::Overwrite => {
                let put = || {
                    self.count_sent(&payload);
                    self.inner.put_opts(location, payload.clone(), options.clone())
                };
                self.budget.patience("putting", location).run(put).await
            }
            // Nobody could tell whose version is there after a lost answer: that is for the caller to see.
            PutMode::Update(_) => {
                self.count_sent(&payload);
                let put = self.inner.put_opts(location, payload, options);
                self.budget.patience("updating", location).attempt(put).await
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        if !options.attributes.is_empty() {
            let (operation, implementer) = ("attributes of an upload in parts".to_owned(), self.to_string());
            return Err(Error::NotImplemented { operation, implementer });
        }
        let begin = || self.inner.create_multipart(location);
        let id = self.budget.patience("beginning an upload to", location).run(begin).await?;
        Ok(Box::new(Upload::new(self.clone(), location.clone(), id)))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let get = || self.inner.get_opts(location, options.clone());
        let found = self.budget.patience("getting", location).run(get).await?;
        Ok(bodies::unbroken(self.clone(), options, found))
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let get = || self.inner.get_ranges(location, ranges);
        let found = self.budget.patience("getting ranges of", location).run(get).await?;
        let received: usize = found.iter().map(Bytes::len).sum();
        StoreActivity::add(&self.budget.activity.received_bytes, received as u64);
        Ok(found)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let deletes = locations.map(move |location| {
            let store = store.clone();
            async move {
                let location = location?;
                let mut patience = store.budget.patience("deleting", &location);
                loop {
                    match patience.attempt(store.inner.delete(&location)).await {
                        // The request whose answer was lost may have deleted it.
                        Err(Error::NotFound { .. }) if patience.has_repeated() => break,
                        Ok(()) => break,
                        Err(error) => patience.after(error).await?,
                    }
                }
                Ok(location)
            }
        });
        deletes.buffered(DELETES_IN_FLIGHT).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        bodies::unbroken_list(self.clone(), prefix.cloned(), None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        bodies::unbroken_list(self.clone(), prefix.cloned(), Some(offset.clone()))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let list = || self.inner.list_with_delimiter(prefix);
        self.budget.patience("listing", prefix.unwrap_or(&Path::default())).run(list).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let copy = || self.inner.copy_opts(from, to, options.clone());
        let mut patience = self.budget.patience("copying to", to);
        match options.mode {
            CopyMode::Overwrite => patience.run(copy).await,
            CopyMode::Create => patience.attempt(copy()).await,
        }
    }
}
