//! Files, names and faults of a simulated disk.
//!
//! Invariant: every change goes through [`Medium::begin`], which counts it, traces it, and decides whether it fails.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::io::{self, ErrorKind};
use std::path::{Component, Path};
use std::time::{Duration, SystemTime};

use super::file::{FileState, SECTOR};
use super::names::{Name, Names};
use super::{Metadata, Operation, Random};

/// The folder above all.
const ROOT: u64 = 0;

#[derive(Debug)]
pub(super) struct Medium {
    seed: u64,
    names: Names,
    /// `None` for a folder.
    files: BTreeMap<u64, Option<FileState>>,
    next_inode: u64,
    operations: u64,
    off_at: Option<u64>,
    failing: Vec<(Operation, u64)>,
    pub(super) capacity: Option<u64>,
    pub(super) failures: u64,
    pub(super) trace: u64,
}

/// What [`Medium::begin`] says of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Done,
    Fails,
}

impl Medium {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            names: Names::default(),
            files: BTreeMap::from([(ROOT, None)]),
            next_inode: ROOT + 1,
            operations: 0,
            off_at: None,
            failing: Vec::new(),
            capacity: None,
            failures: 0,
            trace: 0,
        }
    }

    pub(super) fn power_cut(&mut self) -> Self {
        let seed = self.seed ^ self.operations.rotate_left(32);
        let mut next = self.kill();
        next.names = next.names.survive(&mut Random::of(seed, ROOT));
        for (inode, file) in &mut next.files {
            *file = file.take().map(|file| file.survive(&mut Random::of(seed, *inode)));
        }
        next
    }

    pub(super) fn kill(&mut self) -> Self {
        self.off_at = Some(0);
        Self {
            seed: self.seed,
            names: std::mem::take(&mut self.names),
            files: std::mem::take(&mut self.files),
            next_inode: self.next_inode,
            operations: self.operations,
            off_at: None,
            failing: Vec::new(),
            capacity: self.capacity,
            failures: self.failures,
            trace: self.trace,
        }
    }

    pub(super) fn turn_off_after(&mut self, operations: u64) {
        self.off_at = Some(self.operations + operations);
    }

    pub(super) fn is_off(&self) -> bool {
        self.off_at.is_some_and(|at| self.operations >= at)
    }

    pub(super) fn fail(&mut self, operation: Operation, skip: u64) {
        self.failing.push((operation, skip));
    }

    pub(super) fn disarm(&mut self) {
        self.failing.clear();
        if !self.is_off() {
            self.off_at = None;
        }
    }

    pub(super) fn used_bytes(&self) -> u64 {
        let linked: std::collections::BTreeSet<u64> = self.names.seen.values().copied().collect();
        let files = linked.iter().filter_map(|inode| self.files.get(inode)?.as_ref());
        files.map(|file| file.content.len() as u64).sum()
    }

    fn refuse_when_off(&self) -> io::Result<()> {
        if self.is_off() { Err(io::Error::other("the power is off")) } else { Ok(()) }
    }

    /// Counts a change, and says whether it fails.
    fn begin(&mut self, operation: Operation, inode: u64) -> io::Result<Fate> {
        self.refuse_when_off()?;
        self.operations += 1;
        let mut trace = std::hash::DefaultHasher::new();
        // Not how many bytes: those of a table log's checkpoint depend on the order of maps in its library.
        for number in [self.trace, operation as u64, inode] {
            trace.write_u64(number);
        }
        self.trace = trace.finish();
        let armed = self.failing.iter().position(|(kind, _)| *kind == operation);
        if let Some(place) = armed
            && let Some((_, skip)) = self.failing.get_mut(place)
        {
            if *skip == 0 {
                self.failing.remove(place);
                self.failures += 1;
                return Ok(Fate::Fails);
            }
            *skip -= 1;
        }
        Ok(Fate::Done)
    }

    fn begin_or_fail(&mut self, operation: Operation, inode: u64) -> io::Result<()> {
        match self.begin(operation, inode)? {
            Fate::Done => Ok(()),
            Fate::Fails => Err(broken()),
        }
    }

    /// The numbers for what is about to happen to a file.
    fn random(&self, inode: u64) -> Random {
        Random::of(self.seed ^ self.operations.rotate_left(32), inode)
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<u64> {
        self.refuse_when_off()?;
        let mut inode = ROOT;
        for part in path.components() {
            match part {
                Component::Normal(name) => {
                    if self.files.get(&inode).is_some_and(Option::is_some) {
                        return Err(ErrorKind::NotADirectory.into());
                    }
                    let name = (inode, text(name)?);
                    inode = *self.names.seen.get(&name).ok_or(ErrorKind::NotFound)?;
                }
                Component::RootDir | Component::CurDir => {}
                Component::Prefix(_) | Component::ParentDir => return Err(ErrorKind::InvalidInput.into()),
            }
        }
        Ok(inode)
    }

    pub(super) fn file_at(&self, path: &Path) -> io::Result<u64> {
        let inode = self.find(path)?;
        if self.files.get(&inode).is_some_and(Option::is_none) {
            return Err(ErrorKind::IsADirectory.into());
        }
        Ok(inode)
    }

    /// The name that a path is: its folder exists.
    fn name(&self, path: &Path) -> io::Result<Name> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(ErrorKind::InvalidInput.into());
        };
        let folder = self.find(folder)?;
        if self.files.get(&folder).is_some_and(Option::is_some) {
            return Err(ErrorKind::NotADirectory.into());
        }
        Ok((folder, text(name)?))
    }

    /// Makes a file or folder with a new name.
    pub(super) fn make(&mut self, path: &Path, is_folder: bool) -> io::Result<u64> {
        let name = self.name(path)?;
        if self.names.seen.contains_key(&name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let inode = self.next_inode;
        self.begin_or_fail(if is_folder { Operation::MakeFolder } else { Operation::Open }, inode)?;
        self.next_inode += 1;
        self.files.insert(inode, (!is_folder).then(FileState::default));
        self.names.change(vec![(name, Some(inode))]);
        Ok(inode)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = self.file_at(from)?;
        let (from, to) = (self.name(from)?, self.name(to)?);
        self.begin_or_fail(Operation::Rename, inode)?;
        self.names.change(vec![(from, None), (to, Some(inode))]);
        Ok(())
    }

    pub(super) fn link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = self.file_at(from)?;
        let to = self.name(to)?;
        if self.names.seen.contains_key(&to) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        self.begin_or_fail(Operation::Link, inode)?;
        self.names.change(vec![(to, Some(inode))]);
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let inode = self.file_at(path)?;
        let name = self.name(path)?;
        self.begin_or_fail(Operation::Remove, inode)?;
        self.names.change(vec![(name, None)]);
        Ok(())
    }

    pub(super) fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let inode = self.find(folder)?;
        if self.files.get(&inode).is_some_and(Option::is_some) {
            return Err(ErrorKind::NotADirectory.into());
        }
        Ok(self.names.of_folder(inode).map(|(name, _)| name.to_owned()).collect())
    }

    pub(super) fn sync_folder(&mut self, folder: &Path) -> io::Result<()> {
        let inode = self.find(folder)?;
        // What of it a failed sync has brought to the medium is as open as before.
        self.begin_or_fail(Operation::SyncFolder, inode)?;
        self.names.sync(inode);
        Ok(())
    }

    pub(super) fn metadata(&self, inode: u64) -> io::Result<Metadata> {
        self.refuse_when_off()?;
        let file = self.files.get(&inode).ok_or(ErrorKind::NotFound)?;
        Ok(Metadata {
            is_folder: file.is_none(),
            bytes: file.as_ref().map_or(0, |file| file.content.len() as u64),
            modified: SystemTime::UNIX_EPOCH + Duration::from_micros(inode),
            inode,
            device: 0,
        })
    }

    pub(super) fn read(&self, inode: u64, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.refuse_when_off()?;
        let Some(Some(file)) = self.files.get(&inode) else { return Err(ErrorKind::IsADirectory.into()) };
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = file.content.get(offset..).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        if let (Some(from), Some(to)) = (rest.get(..read), buffer.get_mut(..read)) {
            to.copy_from_slice(from);
        }
        Ok(read)
    }

    pub(super) fn write(&mut self, inode: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let fate = self.begin(Operation::Write, inode)?;
        let room = self.capacity.map(|capacity| capacity.saturating_sub(self.used_bytes()));
        let mut random = self.random(inode);
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let file = self.file_mut(inode)?;
        let longer = (offset + bytes.len()).saturating_sub(file.content.len()) as u64;
        let is_full = room.is_some_and(|room| longer > room);
        if fate == Fate::Done && !is_full {
            file.write(offset, bytes);
            return Ok(());
        }
        let sectors = bytes.len().div_ceil(SECTOR) as u64;
        let written = usize::try_from(random.below(sectors)).unwrap_or_default() * SECTOR;
        // A part that needs no room that is not there.
        let fits = room.map_or(usize::MAX, |room| {
            bytes.len().saturating_sub(usize::try_from(longer.saturating_sub(room)).unwrap_or(usize::MAX))
        });
        file.write(offset, bytes.get(..written.min(fits)).unwrap_or_default());
        if fate == Fate::Fails {
            return Err(broken());
        }
        self.failures += 1;
        Err(ErrorKind::StorageFull.into())
    }

    pub(super) fn set_length(&mut self, inode: u64, length: u64) -> io::Result<()> {
        if self.begin(Operation::Write, inode)? == Fate::Fails {
            return Err(broken());
        }
        let length = usize::try_from(length).map_err(io::Error::other)?;
        self.file_mut(inode)?.resize(length);
        Ok(())
    }

    pub(super) fn sync(&mut self, inode: u64) -> io::Result<()> {
        let fate = self.begin(Operation::Sync, inode)?;
        let mut random = self.random(inode);
        let file = self.file_mut(inode)?;
        if fate == Fate::Fails {
            file.fail_sync(&mut random);
            return Err(broken());
        }
        file.sync();
        Ok(())
    }

    fn file_mut(&mut self, inode: u64) -> io::Result<&mut FileState> {
        match self.files.get_mut(&inode) {
            Some(Some(file)) => Ok(file),
            Some(None) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }
}

fn text(name: &std::ffi::OsStr) -> io::Result<String> {
    name.to_str().map(str::to_owned).ok_or_else(|| ErrorKind::InvalidInput.into())
}

fn broken() -> io::Error {
    io::Error::other("input/output error")
}
