//! A store in memory that is away, slow, or loses answers, by script or by a seeded die.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use hashbrown::HashMap;
use object_store::memory::InMemory;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartId,
    MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result,
};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::RetryPolicy;

/// What happens to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// It does not arrive.
    Before,
    /// It is done, the answer is lost.
    After,
    /// It is done, and the answer never comes.
    Silence,
    /// It is done, and the body ends in its middle.
    Broken,
}

/// Clones are the same store.
#[derive(Debug, Clone)]
pub(crate) struct FlakyStore(Arc<State>);

#[derive(Debug)]
struct State {
    objects: InMemory,
    uploads: Mutex<HashMap<MultipartId, BTreeMap<usize, PutPayload>>>,
    script: Mutex<VecDeque<Fault>>,
    /// Of a hundred requests, those with a fault.
    percent: Mutex<u32>,
    die: Mutex<StdRng>,
    is_down: Mutex<bool>,
    loses_commit: Mutex<bool>,
    /// How long each request takes.
    latency: Mutex<Duration>,
}

/// Retries that come soon, for tests.
pub(crate) fn soon() -> RetryPolicy {
    RetryPolicy {
        attempt_timeout: Duration::from_millis(50),
        operation_timeout: Duration::from_secs(20),
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(5),
        retries: 1_000,
    }
}

impl FlakyStore {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(State {
            objects: InMemory::new(),
            uploads: Mutex::default(),
            script: Mutex::default(),
            percent: Mutex::new(0),
            die: Mutex::new(StdRng::seed_from_u64(seed)),
            is_down: Mutex::new(false),
            loses_commit: Mutex::new(false),
            latency: Mutex::default(),
        }))
    }

    /// What happens to the next requests.
    pub(crate) fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.0.script.lock().extend(faults);
    }

    pub(crate) fn fail_percent(&self, percent: u32) {
        *self.0.percent.lock() = percent;
    }

    pub(crate) fn set_down(&self, is_down: bool) {
        *self.0.is_down.lock() = is_down;
    }

    /// From now on each request takes so long.
    pub(crate) fn set_latency(&self, latency: Duration) {
        *self.0.latency.lock() = latency;
    }

    /// The next commit of a table is done, its answer is lost, and then the store is down.
    pub(crate) fn lose_next_commit(&self) {
        *self.0.loses_commit.lock() = true;
    }

    pub(crate) fn unfinished_uploads(&self) -> usize {
        self.0.uploads.lock().len()
    }

    fn draw(&self) -> Fault {
        if *self.0.is_down.lock() {
            return Fault::Before;
        }
        if let Some(fault) = self.0.script.lock().pop_front() {
            return fault;
        }
        let mut die = self.0.die.lock();
        if die.random_range(0..100) >= *self.0.percent.lock() {
            return Fault::None;
        }
        match die.random_range(0..10) {
            0..4 => Fault::Before,
            4..7 => Fault::After,
            7..9 => Fault::Broken,
            _ => Fault::Silence,
        }
    }

    async fn wait(&self) {
        let latency = *self.0.latency.lock();
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
    }

    async fn through<T>(&self, request: impl Future<Output = Result<T>>) -> Result<T> {
        self.through_with(self.draw(), request).await
    }

    async fn through_with<T>(&self, fault: Fault, request: impl Future<Output = Result<T>>) -> Result<T> {
        self.wait().await;
        match fault {
            Fault::None | Fault::Broken => request.await,
            Fault::Before => Err(cut()),
            Fault::After => request.await.and(Err(cut())),
            Fault::Silence => {
                let _done = request.await;
                std::future::pending().await
            }
        }
    }
}

fn cut() -> Error {
    Error::Generic { store: "FlakyStore", source: "the line is cut".into() }
}

impl fmt::Display for FlakyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FlakyStore")
    }
}

#[async_trait]
impl ObjectStore for FlakyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let is_commit = location.as_ref().contains("_delta_log/");
        if is_commit && std::mem::take(&mut *self.0.loses_commit.lock()) {
            self.0.objects.put_opts(location, payload, options).await?;
            self.set_down(true);
            return Err(cut());
        }
        self.through(self.0.objects.put_opts(location, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.0.objects.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let fault = self.draw();
        let found = self.through_with(fault, self.0.objects.get_opts(location, options)).await?;
        let (meta, range, attributes) = (found.meta.clone(), found.range.clone(), found.attributes.clone());
        let bytes = found.bytes().await?;
        let mut chunks: Vec<_> =
            bytes.chunks(3.max(bytes.len() / 4)).map(|c| Ok(c.to_vec().into())).collect();
        if fault == Fault::Broken {
            chunks.truncate(chunks.len() / 2);
            chunks.push(Err(cut()));
        }
        let payload = GetResultPayload::Stream(stream::iter(chunks).boxed());
        Ok(GetResult { payload, meta, range, attributes })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let deleted = locations.then(move |location| {
            let store = store.clone();
            async move {
                let location = location?;
                store.through(store.0.objects.delete(&location)).await?;
                Ok(location)
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.broken(self.0.objects.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.broken(self.0.objects.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.through(self.0.objects.list_with_delimiter(prefix)).await
    }

    /// A copy that must not overwrite is never repeated, so it has no fault.
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let copy = self.0.objects.copy_opts(from, to, options.clone());
        match options.mode {
            CopyMode::Create => copy.await,
            CopyMode::Overwrite => self.through(copy).await,
        }
    }
}

impl FlakyStore {
    fn broken(
        &self,
        listing: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let listed = match self.draw() {
            Fault::None => listing,
            Fault::Before | Fault::After => stream::iter([Err(cut())]).boxed(),
            Fault::Broken => listing.take(2).chain(stream::iter([Err(cut())])).boxed(),
            Fault::Silence => listing.take(1).chain(stream::pending()).boxed(),
        };
        let store = self.clone();
        let answered = async move {
            store.wait().await;
            listed
        };
        stream::once(answered).flatten().boxed()
    }
}

#[async_trait]
impl MultipartStore for FlakyStore {
    async fn create_multipart(&self, _path: &Path) -> Result<MultipartId> {
        let begin = async {
            let mut uploads = self.0.uploads.lock();
            let id = format!("{}", self.0.die.lock().random::<u64>());
            uploads.insert(id.clone(), BTreeMap::new());
            Ok(id)
        };
        self.through(begin).await
    }

    async fn put_part(
        &self,
        _path: &Path,
        id: &MultipartId,
        part: usize,
        data: PutPayload,
    ) -> Result<PartId> {
        let put = async {
            let mut uploads = self.0.uploads.lock();
            uploads.get_mut(id).ok_or_else(|| missing(id))?.insert(part, data);
            Ok(PartId { content_id: part.to_string() })
        };
        self.through(put).await
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        let complete = async {
            let sent = self.0.uploads.lock().remove(id).ok_or_else(|| missing(id))?;
            assert_eq!(sent.len(), parts.len());
            let bytes: Vec<u8> =
                sent.values().flat_map(|part| part.iter().flatten().copied().collect::<Vec<_>>()).collect();
            self.0.objects.put(path, bytes.into()).await
        };
        self.through(complete).await
    }

    async fn abort_multipart(&self, _path: &Path, id: &MultipartId) -> Result<()> {
        let abort = async {
            self.0.uploads.lock().remove(id);
            Ok(())
        };
        self.through(abort).await
    }
}

fn missing(id: &MultipartId) -> Error {
    Error::NotFound { path: id.clone(), source: "no such upload".into() }
}
