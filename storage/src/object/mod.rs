//! The stores of tables. [`TableStore`] says which there are; what a remote one does not answer is asked again
//! by [`RetryingStore`], what was read of it is kept by [`CachedStore`]. This file is the local one: an object
//! store on a folder of a [`Disk`] that is durable when a call returns.
//!
//! `object_store`'s own local file system syncs nothing (0.13), so a put that it has answered can be gone after
//! a power cut. This one writes in this order:
//!
//! 1. make the folder and its missing parents, and sync the parent of each;
//! 2. write a temporary file in that folder and sync it;
//! 3. give it its name: `rename` to overwrite, `link` to create (atomic: of many creators one wins);
//! 4. sync the folder.
//!
//! Invariants: a name that is visible has its whole content on the disk. When a call returns `Ok`, its change
//! survives a power cut. When step 4 fails, nobody knows what is on the disk and a second sync would lie
//! (LOG-4): the name becomes unreadable and the store takes no more changes until it is opened again. One
//! process at a time owns the root. Listings are in the order of names.

mod activity;
mod cache;
#[cfg(any(test, feature = "simulation"))]
mod faulty;
#[cfg(test)]
pub(crate) mod flaky;
mod folders;
mod read;
mod retry;
mod table_store;
#[cfg(test)]
mod tests;
mod transfer;
mod upload;
mod verified;
mod write;

use std::fmt;
use std::ops::Range;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryFutureExt};
use object_store::path::Path;
use object_store::{
    Attributes, CopyMode, CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    RenameOptions, RenameTargetMode, Result,
};

pub use self::activity::StoreActivity;
pub use self::cache::CachedStore;
#[cfg(any(test, feature = "simulation"))]
pub use self::faulty::{FaultyStore, StoreFaults};
pub use self::retry::{REMOTE_STORE, RetryPolicy, RetryingStore};
pub(crate) use self::table_store::OpenStore;
pub use self::table_store::{Credentials, S3Config, StoreSettings, TableStore};
pub use self::transfer::transfer;
pub(crate) use self::transfer::{Input, transfer_checked};
use self::upload::Upload;
pub use self::verified::VerifiedStore;
use self::write::{Publish, Writer};
use crate::disk::{Disk, LocalDisk};
use crate::error::Error;

/// Deletes whose folders are synced together: as many as are ready, at most this many, so that a failed sync
/// leaves a bounded number of answers in doubt.
const DELETES_PER_SYNC: usize = 256;

/// An [`ObjectStore`] below one local folder whose changes are durable on return.
#[derive(Debug, Clone)]
pub struct DurableLocalStore {
    writer: Arc<Writer>,
}

impl fmt::Display for DurableLocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DurableLocalStore({})", self.writer.root().display())
    }
}

impl DurableLocalStore {
    /// Opens the store below `root`, which is made when it is missing. Removes what unfinished writes left, and
    /// syncs every folder, because a killed process may have left names that only memory holds. Blocks.
    ///
    /// # Errors
    /// The folder cannot be made, read or synced.
    pub fn open(root: &FsPath) -> crate::Result<Self> {
        Self::open_on(root, Arc::new(LocalDisk))
    }

    /// As [`open`](Self::open), on this disk.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_on(root: &FsPath, disk: Arc<dyn Disk>) -> crate::Result<Self> {
        let root = std::path::absolute(root).map_err(Error::io("find", root))?;
        disk.create_folder(&root)?;
        folders::sweep(disk.as_ref(), &root)?;
        Ok(Self { writer: Arc::new(Writer::new(root, disk)) })
    }

    /// The store below `root`, which is there, to be read only: another process may be writing it, so nothing is swept.
    ///
    /// # Errors
    /// `root` is not a folder.
    pub fn open_to_read(root: &FsPath) -> crate::Result<Self> {
        let root = std::path::absolute(root).map_err(Error::io("find", root))?;
        if !LocalDisk.metadata(&root)?.is_folder {
            return Err(Error::Invalid(format!("{} is not a folder", root.display())));
        }
        Ok(Self { writer: Arc::new(Writer::new(root, Arc::new(LocalDisk))) })
    }

    /// Makes an object of a file of the same disk, without a copy: it gets a second name, durable on return. The file is
    /// synced, and nobody will change it. `false` when the file system does not do it for these files, and then nothing is
    /// done.
    ///
    /// # Errors
    /// The file is not there; the failure of the disk.
    pub async fn adopt(&self, file: PathBuf, location: &Path) -> Result<bool> {
        let target = self.locate(location)?;
        let writer = Arc::clone(&self.writer);
        blocking(move || writer.adopt(&file, &target)).await
    }

    fn locate(&self, location: &Path) -> Result<PathBuf> {
        read::locate(self.writer.root(), location)
    }

    fn list_after(
        &self,
        prefix: Option<&Path>,
        after: Option<Path>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = prefix.cloned().unwrap_or_default();
        let writer = Arc::clone(&self.writer);
        let listed = blocking(move || {
            let mut objects = read::list_all(writer.disk(), writer.root(), &prefix)?;
            objects.retain(|object| after.as_ref().is_none_or(|after| object.location > *after));
            Ok(stream::iter(objects).map(Ok))
        });
        listed.try_flatten_stream().boxed()
    }

    fn refuse_attributes(&self, attributes: &Attributes) -> Result<()> {
        if attributes.is_empty() { Ok(()) } else { Err(self.not_implemented("attributes")) }
    }

    fn not_implemented(&self, operation: &str) -> object_store::Error {
        object_store::Error::NotImplemented { operation: operation.to_owned(), implementer: self.to_string() }
    }
}

#[async_trait]
impl ObjectStore for DurableLocalStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.refuse_attributes(&options.attributes)?;
        let publish = match options.mode {
            PutMode::Overwrite => Publish::Overwrite,
            PutMode::Create => Publish::Create,
            PutMode::Update(_) => return Err(self.not_implemented("put with an expected version")),
        };
        let target = self.locate(location)?;
        let writer = Arc::clone(&self.writer);
        blocking(move || writer.put(&target, &payload, publish)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.refuse_attributes(&options.attributes)?;
        let target = self.locate(location)?;
        let writer = Arc::clone(&self.writer);
        blocking(move || Ok(Box::new(Upload::begin(writer, target)?) as Box<dyn MultipartUpload>)).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let (target, location) = (self.locate(location)?, location.clone());
        let writer = Arc::clone(&self.writer);
        let read = blocking(move || {
            writer.check_readable(&target)?;
            read::Reading::open(writer.disk(), &target, location, &options)
        });
        Ok(read.await?.into_result())
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let (target, ranges) = (self.locate(location)?, ranges.to_vec());
        let writer = Arc::clone(&self.writer);
        blocking(move || {
            writer.check_readable(&target)?;
            read::ranges(writer.disk(), &target, &ranges)
        })
        .await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let answers = locations.ready_chunks(DELETES_PER_SYNC).then(move |locations| {
            let targets = locations.into_iter().map(|location| {
                let location = location?;
                let target = store.locate(&location)?;
                Ok((location, target))
            });
            let (targets, writer) = (targets.collect::<Vec<_>>(), Arc::clone(&store.writer));
            blocking(move || Ok(writer.delete(targets)))
        });
        answers
            .flat_map(|answers| match answers {
                Ok(answers) => stream::iter(answers),
                Err(error) => stream::iter(vec![Err(error)]),
            })
            .boxed()
    }

    /// In the order of names, as S3 gives it: readers of a Delta log rely on it. What is listed must fit into
    /// memory.
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.list_after(prefix, None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.list_after(prefix, Some(offset.clone()))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let prefix = prefix.cloned().unwrap_or_default();
        let writer = Arc::clone(&self.writer);
        blocking(move || read::list_folder(writer.disk(), writer.root(), &prefix)).await
    }

    /// Copies the bytes: a second name for the same file would make a later rename between the two do nothing.
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let publish = match options.mode {
            CopyMode::Overwrite => Publish::Overwrite,
            CopyMode::Create => Publish::Create,
        };
        let source = self.locate(from)?;
        let target = self.locate(to)?;
        let writer = Arc::clone(&self.writer);
        blocking(move || writer.copy(&source, &target, publish)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        match options.target_mode {
            RenameTargetMode::Overwrite => {
                let source = self.locate(from)?;
                let target = self.locate(to)?;
                let writer = Arc::clone(&self.writer);
                blocking(move || writer.rename(&source, &target)).await
            }
            RenameTargetMode::Create => {
                self.copy_opts(from, to, CopyOptions::new().with_mode(CopyMode::Create)).await?;
                self.delete(from).await
            }
        }
    }
}

/// Runs `work` where blocking is allowed: on the runtime's blocking threads, or here without a runtime.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(work).await?,
        Err(_) => work(),
    }
}
