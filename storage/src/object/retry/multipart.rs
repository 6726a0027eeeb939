//! An upload whose parts are repeated one by one.

use std::sync::Arc;

use async_trait::async_trait;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    Error, MultipartId, MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload, PutResult, Result,
    UploadPart,
};
use parking_lot::Mutex;

use super::RetryingStore;
use super::policy::REMOTE_STORE;

/// One upload. Dropped before `complete` or `abort`, it stays in the store without a name.
#[derive(Debug)]
pub(super) struct Upload<S> {
    store: RetryingStore<S>,
    location: Path,
    id: MultipartId,
    begun_bytes: u64,
    /// One for each part, in their order; `None` until it is there.
    parts: Arc<Mutex<Vec<Option<PartId>>>>,
}

impl<S> Upload<S> {
    pub(super) fn new(store: RetryingStore<S>, location: Path, id: MultipartId) -> Self {
        Self { store, location, id, begun_bytes: 0, parts: Arc::default() }
    }
}

impl<S: ObjectStore + MultipartStore> Upload<S> {
    /// Whether the object is there with what was sent, because a completion was done whose answer was lost.
    async fn is_complete(&self) -> Result<Option<PutResult>> {
        match self.store.head(&self.location).await {
            Ok(meta) if meta.size == self.begun_bytes => {
                Ok(Some(PutResult { e_tag: meta.e_tag, version: meta.version }))
            }
            Ok(_) | Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl<S: ObjectStore + MultipartStore> MultipartUpload for Upload<S> {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.begun_bytes += data.content_length() as u64;
        let part = {
            let mut parts = self.parts.lock();
            parts.push(None);
            parts.len() - 1
        };
        let (store, location, id) = (self.store.clone(), self.location.clone(), self.id.clone());
        let parts = Arc::clone(&self.parts);
        Box::pin(async move {
            let put = || {
                store.count_sent(&data);
                store.inner.put_part(&location, &id, part, data.clone())
            };
            let put = store.budget.patience("putting a part of", &location).run(put).await?;
            if let Some(slot) = parts.lock().get_mut(part) {
                *slot = Some(put);
            }
            Ok(())
        })
    }

    /// Fails, and publishes nothing, when a part failed or was never awaited: the object would have a hole.
    async fn complete(&mut self) -> Result<PutResult> {
        let parts: Option<Vec<PartId>> = self.parts.lock().iter().cloned().collect();
        let Some(parts) = parts else {
            let source = "not every part of the upload was sent".into();
            return Err(Error::Generic { store: REMOTE_STORE, source });
        };
        let mut patience = self.store.budget.patience("completing", &self.location);
        loop {
            let complete = self.store.inner.complete_multipart(&self.location, &self.id, parts.clone());
            match patience.attempt(complete).await {
                Ok(put) => return Ok(put),
                Err(error) if patience.has_repeated() => match self.is_complete().await? {
                    Some(put) => return Ok(put),
                    None => patience.after(error).await?,
                },
                Err(error) => patience.after(error).await?,
            }
        }
    }

    async fn abort(&mut self) -> Result<()> {
        let abort = || self.store.inner.abort_multipart(&self.location, &self.id);
        self.store.budget.patience("aborting", &self.location).run(abort).await
    }
}
