//! Bodies and listings that go on after they broke off.

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetRange, GetResult, GetResultPayload, ObjectMeta, ObjectStore, Result,
};

use super::policy::{Patience, REMOTE_STORE};
use super::{RetryingStore, StoreActivity};

/// The connection ended before the body did.
#[derive(Debug, thiserror::Error)]
#[error("the body ended at byte {0} of {1}")]
struct EndedEarly(u64, u64);

struct Body<S> {
    store: RetryingStore<S>,
    location: Path,
    options: GetOptions,
    patience: Patience,
    rest: BoxStream<'static, Result<Bytes>>,
    at: u64,
    end: u64,
}

/// `found` with a body that, when it breaks off, is asked for again from there.
pub(super) fn unbroken<S: ObjectStore + MultipartStore>(
    store: RetryingStore<S>,
    mut options: GetOptions,
    found: GetResult,
) -> GetResult {
    let GetResult { payload, meta, range, attributes } = found;
    let GetResultPayload::Stream(rest) = payload else {
        return GetResult { payload, meta, range, attributes };
    };
    // The rest must be of the same object; one of another would be a body that never was.
    options.if_match = options.if_match.or_else(|| meta.e_tag.clone());
    let patience = store.budget.patience("reading", &meta.location);
    let (location, at, end) = (meta.location.clone(), range.start, range.end);
    let body = Body { store, location, options, patience, rest, at, end };
    let chunks = stream::try_unfold(body, |mut body| async move {
        let chunk = body.next().await?;
        Ok(chunk.map(|chunk| (chunk, body)))
    });
    let payload = GetResultPayload::Stream(chunks.boxed());
    GetResult { payload, meta, range, attributes }
}

impl<S: ObjectStore + MultipartStore> Body<S> {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if self.at >= self.end {
                return Ok(None);
            }
            let broken = match self.patience.wait_for(self.rest.try_next()).await {
                Ok(Some(chunk)) => {
                    self.at += chunk.len() as u64;
                    self.patience.progressed();
                    StoreActivity::add(&self.store.budget.activity.received_bytes, chunk.len() as u64);
                    return Ok(Some(chunk));
                }
                Ok(None) => {
                    let source = EndedEarly(self.at, self.end).into();
                    Error::Generic { store: REMOTE_STORE, source }
                }
                Err(error) => error,
            };
            self.patience.after(broken).await?;
            let options =
                GetOptions { range: Some(GetRange::Bounded(self.at..self.end)), ..self.options.clone() };
            let again = self.store.inner.get_opts(&self.location, options);
            self.rest = match self.patience.attempt(again).await {
                Ok(found) => found.into_stream(),
                // Asked for again by the next turn, as a body that breaks off at once.
                Err(error) => stream::once(async { Err(error) }).boxed(),
            };
        }
    }
}

struct Listing<S> {
    store: RetryingStore<S>,
    prefix: Option<Path>,
    after: Option<Path>,
    patience: Patience,
    rest: BoxStream<'static, Result<ObjectMeta>>,
}

/// A listing that, when it breaks off, is asked for again after the last name.
pub(super) fn unbroken_list<S: ObjectStore + MultipartStore>(
    store: RetryingStore<S>,
    prefix: Option<Path>,
    after: Option<Path>,
) -> BoxStream<'static, Result<ObjectMeta>> {
    let patience = store.budget.patience("listing", prefix.clone().unwrap_or_default());
    let rest = list(&store, prefix.as_ref(), after.as_ref());
    let listing = Listing { store, prefix, after, patience, rest };
    let objects = stream::try_unfold(listing, |mut listing| async move {
        let object = listing.next().await?;
        Ok(object.map(|object| (object, listing)))
    });
    objects.boxed()
}

fn list<S: ObjectStore>(
    store: &RetryingStore<S>,
    prefix: Option<&Path>,
    after: Option<&Path>,
) -> BoxStream<'static, Result<ObjectMeta>> {
    match after {
        None => store.inner.list(prefix),
        Some(after) => store.inner.list_with_offset(prefix, after),
    }
}

impl<S: ObjectStore + MultipartStore> Listing<S> {
    async fn next(&mut self) -> Result<Option<ObjectMeta>> {
        loop {
            match self.patience.wait_for(self.rest.try_next()).await {
                Ok(object) => {
                    if let Some(object) = &object {
                        self.after = Some(object.location.clone());
                        self.patience.progressed();
                    }
                    return Ok(object);
                }
                Err(error) => self.patience.after(error).await?,
            }
            self.rest = list(&self.store, self.prefix.as_ref(), self.after.as_ref());
        }
    }
}
