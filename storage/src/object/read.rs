//! Reads and listings. Everything here blocks but the stream that an answer is read from.
//!
//! Invariant: an object's path below the root is its location, segment by segment; temporary files are no
//! objects.

use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use object_store::path::Path;
use object_store::{
    Attributes, Error, GetOptions, GetResult, GetResultPayload, ListResult, ObjectMeta, Result,
};

use super::folders::is_temporary;
use super::write::{failed, generic};
use super::{blocking, write};
use crate::disk::{Disk, DiskFile, Metadata};

/// Bytes that are read at a time. Most ranges of a query, and most staged files, come in one piece and are not
/// copied again; a large object does not stand in memory as a whole.
const CHUNK_BYTES: u64 = 8 << 20;

/// The path of an object below `root`.
pub(super) fn locate(root: &FsPath, location: &Path) -> Result<PathBuf> {
    let mut path = root.to_owned();
    for part in location.parts() {
        if is_temporary(part.as_ref()) {
            return Err(generic(format!("{location} is a name that the store keeps for itself")));
        }
        path.push(part.as_ref());
    }
    Ok(path)
}

/// An object that is being read.
#[derive(Debug)]
pub(super) struct Reading {
    meta: ObjectMeta,
    range: Range<u64>,
    rest: Rest,
    first: Option<Bytes>,
}

/// What is still to be read.
#[derive(Debug)]
struct Rest {
    file: Arc<dyn DiskFile>,
    target: Arc<FsPath>,
    range: Range<u64>,
}

impl Reading {
    /// Opens an object and reads the first bytes of what is asked for, so that a small range costs one wait.
    pub(super) fn open(
        disk: &dyn Disk,
        target: &FsPath,
        location: Path,
        options: &GetOptions,
    ) -> Result<Self> {
        let file = disk.open_to_read(target).map_err(|error| failed(target, error))?;
        let metadata = file.metadata().map_err(|error| failed(target, error))?;
        if metadata.is_folder {
            let source = format!("{} is a folder", target.display()).into();
            return Err(Error::NotFound { path: location.to_string(), source });
        }
        let meta = object_meta(location, &metadata);
        options.check_preconditions(&meta)?;
        let range = match &options.range {
            Some(range) => {
                let range = range.as_range(meta.size);
                range.map_err(|error| Error::Generic { store: write::STORE, source: error.into() })?
            }
            None => 0..meta.size,
        };
        let mut rest = Rest { file: file.into(), target: target.into(), range: range.clone() };
        let first = if options.head { None } else { rest.next_chunk()? };
        Ok(Self { meta, range, rest, first })
    }

    /// The answer, whose stream reads the rest.
    pub(super) fn into_result(self) -> GetResult {
        let Self { meta, range, rest, first } = self;
        let rest = stream::unfold(Some(rest), |rest| async {
            let mut rest = rest.filter(|rest| !rest.range.is_empty())?;
            let read = blocking(move || Ok((rest.next_chunk()?, rest))).await;
            match read {
                Ok((bytes, rest)) => bytes.map(|bytes| (Ok(bytes), Some(rest))),
                Err(error) => Some((Err(error), None)),
            }
        });
        let payload = match first {
            None => GetResultPayload::Stream(stream::empty().boxed()),
            Some(first) => GetResultPayload::Stream(stream::iter([Ok(first)]).chain(rest.fuse()).boxed()),
        };
        GetResult { payload, meta, range, attributes: Attributes::default() }
    }
}

impl Rest {
    fn next_chunk(&mut self) -> Result<Option<Bytes>> {
        if self.range.is_empty() {
            return Ok(None);
        }
        let end = self.range.end.min(self.range.start + CHUNK_BYTES);
        let bytes = read_range(&*self.file, &self.target, self.range.start..end)?;
        self.range.start = end;
        Ok(Some(bytes))
    }
}

/// Reads ranges of an object; one that ends behind the object's end is cut there.
pub(super) fn ranges(disk: &dyn Disk, target: &FsPath, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
    let file = disk.open_to_read(target).map_err(|error| failed(target, error))?;
    let length = file.length().map_err(|error| failed(target, error))?;
    let read = |range: &Range<u64>| {
        if range.start >= length && !range.is_empty() {
            let path = target.display();
            return Err(generic(format!("{path} has {length} bytes, asked for those from {}", range.start)));
        }
        read_range(&*file, target, range.start..range.end.min(length))
    };
    ranges.iter().map(read).collect()
}

fn read_range(file: &dyn DiskFile, target: &FsPath, range: Range<u64>) -> Result<Bytes> {
    let length = usize::try_from(range.end.saturating_sub(range.start))
        .map_err(|error| generic(format!("a range of {} is too long: {error}", target.display())))?;
    let mut bytes = vec![0; length];
    let read = file.read_at(range.start, &mut bytes).map_err(|error| failed(target, error))?;
    if read < length {
        return Err(generic(format!("{} ended {} bytes early", target.display(), length - read)));
    }
    Ok(bytes.into())
}

/// All objects below `prefix`, in the order of their names.
pub(super) fn list_all(disk: &dyn Disk, root: &FsPath, prefix: &Path) -> Result<Vec<ObjectMeta>> {
    let mut objects = Vec::new();
    let mut waiting = vec![prefix.clone()];
    while let Some(folder) = waiting.pop() {
        let listed = list_folder(disk, root, &folder)?;
        objects.extend(listed.objects);
        waiting.extend(listed.common_prefixes);
    }
    objects.sort_unstable_by(|a, b| a.location.cmp(&b.location));
    Ok(objects)
}

/// The objects and folders of one folder, in the order of their names. A folder that is not there is empty.
pub(super) fn list_folder(disk: &dyn Disk, root: &FsPath, prefix: &Path) -> Result<ListResult> {
    let folder = locate(root, prefix)?;
    let mut found = ListResult { objects: Vec::new(), common_prefixes: Vec::new() };
    if !look_at(disk, &folder)?.is_some_and(|metadata| metadata.is_folder) {
        return Ok(found);
    }
    for name in disk.list(&folder).map_err(|error| failed(&folder, error))? {
        if is_temporary(&name) {
            continue;
        }
        let path = folder.join(&name);
        // It may have been removed since.
        let Some(metadata) = look_at(disk, &path)? else { continue };
        let text = if prefix.as_ref().is_empty() { name } else { format!("{prefix}/{name}") };
        let location = Path::parse(text)?;
        if metadata.is_folder {
            found.common_prefixes.push(location);
        } else {
            found.objects.push(object_meta(location, &metadata));
        }
    }
    Ok(found)
}

fn look_at(disk: &dyn Disk, path: &FsPath) -> Result<Option<Metadata>> {
    match disk.metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => Ok(None),
        Err(error) => Err(failed(path, error)),
    }
}

fn object_meta(location: Path, metadata: &Metadata) -> ObjectMeta {
    ObjectMeta {
        location,
        last_modified: metadata.modified.into(),
        size: metadata.bytes,
        e_tag: Some(e_tag(metadata)),
        version: None,
    }
}

/// Changes whenever the object does: a name is given to a new file each time, or to the same one with a new time.
pub(super) fn e_tag(metadata: &Metadata) -> String {
    let modified = metadata.modified.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}-{:x}", metadata.inode, modified.as_micros(), metadata.bytes)
}
