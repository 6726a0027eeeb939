//! The machine's own file system.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{Disk, DiskFile, Metadata};
use crate::error::{Error, Result};

/// The machine's own file system.
#[derive(Debug, Default, Clone, Copy)]
pub struct LocalDisk;

#[derive(Debug)]
struct LocalFile {
    file: File,
    path: PathBuf,
}

fn boxed(opened: io::Result<File>, action: &'static str, path: &Path) -> Result<Box<dyn DiskFile>> {
    let file = opened.map_err(Error::io(action, path))?;
    Ok(Box::new(LocalFile { file, path: path.into() }))
}

fn known(metadata: &fs::Metadata) -> io::Result<Metadata> {
    Ok(Metadata {
        is_folder: metadata.is_dir(),
        bytes: metadata.len(),
        modified: metadata.modified()?,
        inode: metadata.ino(),
        device: metadata.dev(),
    })
}

impl Disk for LocalDisk {
    fn make_folder(&self, path: &Path) -> Result<()> {
        fs::create_dir(path).map_err(Error::io("create folder", path))
    }

    fn open(&self, path: &Path, create: bool) -> Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(create).truncate(false);
        boxed(options.open(path), "open", path)
    }

    fn open_to_read(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        boxed(File::open(path), "open", path)
    }

    fn create_new(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        boxed(File::options().read(true).write(true).create_new(true).open(path), "create", path)
    }

    fn metadata(&self, path: &Path) -> Result<Metadata> {
        fs::metadata(path).and_then(|found| known(&found)).map_err(Error::io("look at", path))
    }

    fn list(&self, folder: &Path) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
            let entry = entry.map_err(Error::io("list", folder))?;
            if let Ok(name) = entry.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(from, to).map_err(Error::io("rename", from))
    }

    fn link(&self, from: &Path, to: &Path) -> Result<()> {
        fs::hard_link(from, to).map_err(Error::io("link", to))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        fs::remove_file(path).map_err(Error::io("remove", path))
    }

    fn sync_folder(&self, folder: &Path) -> Result<()> {
        let open = File::open(folder).map_err(Error::io("open folder", folder))?;
        open.sync_all().map_err(Error::io("sync folder", folder))
    }
}

impl DiskFile for LocalFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, offset).map_err(Error::io("write", &self.path))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("read", &self.path)(error)),
            }
        }
        Ok(filled)
    }

    fn metadata(&self) -> Result<Metadata> {
        let found = self.file.metadata().and_then(|found| known(&found));
        found.map_err(Error::io("look at", &self.path))
    }

    fn set_length(&self, length: u64) -> Result<()> {
        self.file.set_len(length).map_err(Error::io("set length of", &self.path))
    }

    fn set_modified(&self, time: SystemTime) -> Result<()> {
        self.file.set_modified(time).map_err(Error::io("set the time of", &self.path))
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(Error::io("sync", &self.path))
    }

    fn sync_all(&self) -> Result<()> {
        self.file.sync_all().map_err(Error::io("sync", &self.path))
    }
}
