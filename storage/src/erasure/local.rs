//! What lies on the local disk beside log and tables, and what is not the engine's.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Amount, Job, LOOK_AGAIN_AFTER, Place, Treatment};
use crate::clock;
use crate::disk::Disk;
use crate::engine::Layout;
use crate::error::{Error, Result};
use crate::last_value;

/// What the engine has in a data directory, by the first part of its path.
const OWN: [&str; 8] =
    ["lock", "log", "definitions.log", "definitions.new", "staged", "tables", "last-values", "cache"];

/// The files of passing neighbours when the job began.
#[derive(Debug, Default)]
pub(super) struct Passing(Vec<(&'static str, Vec<(PathBuf, u64)>)>);

impl Passing {
    pub(super) fn list(job: &Job<'_>) -> Result<Self> {
        let passing = job.wanted.neighbours.iter().filter(|it| it.treatment == Treatment::Passing);
        let files = passing.map(|neighbour| Ok((neighbour.place, files_below(job, &neighbour.path)?)));
        Ok(Self(files.collect::<Result<_>>()?))
    }
}

impl Job<'_> {
    /// Removes copies, or other names, of files that are in tables, when no query reads them, and what was left half-written.
    pub(super) async fn staged_files(&self) -> Result<Place> {
        let mut place = Place::new("staged files");
        let deadline = self.deadline();
        loop {
            let swept = {
                let _turn = self.engine.compactor().pause().await;
                self.engine.flusher().pause_merging().await?.sweep(self.shared)?
            };
            place.looked_at.files = place.looked_at.files.max(swept.found as u64);
            place.removed = Amount::of(swept.removed).plus(place.removed);
            if swept.still_read.is_empty() {
                break;
            }
            if clock::instant() >= deadline {
                let why = "a query reads it still: run the job again when it has ended";
                swept.still_read.iter().for_each(|name| place.leave(format!("staged/{name}"), why));
                break;
            }
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
        Ok(place)
    }

    /// Writes saved last values anew.
    pub(super) async fn last_values(&self) -> Result<Place> {
        let mut place = Place::new("last values");
        let (shared, tables) = (self.shared.clone(), self.tables.clone());
        let erased = tokio::task::spawn_blocking(move || last_value::erase(&shared, &tables)).await;
        let erased = erased
            .map_err(|error| Error::Internal(format!("erasing last values ended badly: {error}")))??;
        place.looked_at = Amount::of(erased.rewritten.iter().chain(&erased.removed).copied());
        place.rewritten = Amount::of(erased.rewritten);
        place.removed = Amount::of(erased.removed);
        Ok(place)
    }

    /// Empties the cache of a remote store.
    pub(super) async fn read_cache(&self) -> Result<Place> {
        let mut place = Place::new("read cache");
        if let Some(cache) = &self.shared.table_cache {
            let bytes = cache.clear().await?;
            place.looked_at = Amount { files: 1, bytes };
            place.removed = place.looked_at;
        }
        Ok(place)
    }

    /// Looks at what others keep in the data directory.
    pub(super) async fn neighbours(&self, passing: Passing) -> Result<Vec<Place>> {
        let mut places = Vec::new();
        for neighbour in &self.wanted.neighbours {
            let Treatment::Kept(why) = neighbour.treatment else { continue };
            let mut place = Place::new(neighbour.place);
            let files = files_below(self, &neighbour.path)?;
            place.looked_at = Amount::of(files.iter().map(|(_, bytes)| *bytes));
            if !files.is_empty() {
                place.keep(neighbour.path.display(), why);
            }
            places.push(place);
        }
        let deadline = self.deadline();
        for (name, files) in passing.0 {
            let mut place = Place::new(name);
            place.looked_at = Amount::of(files.iter().map(|(_, bytes)| *bytes));
            let disk = &*self.shared.config.disk;
            let is_there = |path: &Path| disk.metadata(path).is_ok();
            while files.iter().any(|(path, _)| is_there(path)) && clock::instant() < deadline {
                tokio::time::sleep(LOOK_AGAIN_AFTER).await;
            }
            for (path, bytes) in files {
                if is_there(&path) {
                    place.leave(path.display(), "it is in use still: run the job again later");
                } else {
                    place.removed = place.removed.and(bytes);
                }
            }
            places.push(place);
        }
        Ok(places)
    }

    /// Names the backups that are known.
    pub(super) fn backups(&self) -> Place {
        let mut place = Place::new("backups");
        place.looked_at.files = self.wanted.backups.len() as u64;
        for backup in &self.wanted.backups {
            place.keep(backup, "it was taken before, and holds what was deleted until it is dropped");
        }
        place
    }

    /// Names what nobody knows of.
    pub(super) fn unknown(&self) -> Result<Place> {
        let mut place = Place::new("unknown files");
        let of_others = self.wanted.neighbours.iter().filter_map(|it| it.path.iter().next()?.to_str());
        let known: BTreeSet<&str> = OWN.into_iter().chain(of_others).collect();
        let data_dir = &self.shared.config.data_dir;
        for name in self.shared.config.disk.list(data_dir)? {
            if !known.contains(name.as_str()) {
                let files = files_below(self, Path::new(&name))?;
                place.looked_at = Amount::of(files.iter().map(|(_, bytes)| *bytes)).plus(place.looked_at);
                place.keep(data_dir.join(name).display(), "it is not the engine's, and was not looked into");
            }
        }
        // What the configuration says now is not all that was: a store that was local once may have left its tables.
        let tables = Layout(data_dir).tables();
        if self.engine.config().store.is_remote() && self.shared.config.disk.metadata(&tables).is_ok() {
            place.leave(
                tables.display(),
                "tables of a local store, which is not the one of the configuration",
            );
        }
        Ok(place)
    }
}

/// The files at and below a path of the data directory, with their sizes.
fn files_below(job: &Job<'_>, path: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let disk = &*job.shared.config.disk;
    let mut files = Vec::new();
    collect(disk, &job.shared.config.data_dir.join(path), &mut files)?;
    Ok(files)
}

fn collect(disk: &dyn Disk, path: &Path, files: &mut Vec<(PathBuf, u64)>) -> Result<()> {
    match disk.metadata(path) {
        Ok(found) if found.is_folder => {
            for name in disk.list(path)? {
                collect(disk, &path.join(name), files)?;
            }
        }
        Ok(found) => files.push((path.to_owned(), found.bytes)),
        // It may go meanwhile.
        Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}
