//! A store that fails as a seed says: before a change, after it took effect, or all calls while it is down.
//!
//! Invariant: which changes fail follows from the seed and their order. Reads fail only while the store is down,
//! because readers ask in no fixed order.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

use crate::disk::sim::Random;

/// What goes wrong, and how often.
#[derive(Debug)]
pub struct StoreFaults {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    random: Random,
    down: bool,
    percent: u64,
    failures: u64,
}

/// What happens to a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Done,
    FailsBefore,
    FailsAfter,
}

impl StoreFaults {
    /// None, until they are asked for.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = State { random: Random::new(seed), down: false, percent: 0, failures: 0 };
        Self { state: Mutex::new(state) }
    }

    /// Whether all calls fail.
    pub fn set_down(&self, down: bool) {
        self.state.lock().down = down;
    }

    /// How many of a hundred changes fail, half of them after they took effect.
    pub fn set_percent(&self, percent: u64) {
        self.state.lock().percent = percent;
    }

    /// The number of failures so far.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.state.lock().failures
    }

    fn refuse_when_down(&self) -> Result<()> {
        let mut state = self.state.lock();
        if !state.down {
            return Ok(());
        }
        state.failures += 1;
        Err(lost())
    }

    fn fate(&self) -> Result<Fate> {
        self.refuse_when_down()?;
        let mut state = self.state.lock();
        let percent = state.percent;
        if !state.random.chance(percent) {
            return Ok(Fate::Done);
        }
        state.failures += 1;
        Ok(if state.random.chance(50) { Fate::FailsBefore } else { Fate::FailsAfter })
    }
}

fn lost() -> Error {
    Error::Generic { store: "FaultyStore", source: "the store does not answer".into() }
}

/// A store with faults.
#[derive(Debug, Clone)]
pub struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    faults: Arc<StoreFaults>,
}

impl FaultyStore {
    /// Puts faults over a store.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>, faults: Arc<StoreFaults>) -> Self {
        Self { inner, faults }
    }

    async fn change<T>(&self, change: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let fate = self.faults.fate()?;
        if fate == Fate::FailsBefore {
            return Err(lost());
        }
        let done = change.await?;
        if fate == Fate::FailsAfter { Err(lost()) } else { Ok(done) }
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.change(self.inner.put_opts(location, payload, opts)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.change(self.inner.put_multipart_opts(location, opts)).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.faults.refuse_when_down()?;
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.faults.refuse_when_down()?;
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let each = locations.and_then(move |location| {
            let store = store.clone();
            async move {
                let mut answers = store.inner.delete_stream(stream::iter([Ok(location)]).boxed());
                store.change(async { answers.next().await.unwrap_or_else(|| Err(lost())) }).await
            }
        });
        each.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.faults.refuse_when_down() {
            Ok(()) => self.inner.list(prefix),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.faults.refuse_when_down()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.change(self.inner.copy_opts(from, to, options)).await
    }
}
