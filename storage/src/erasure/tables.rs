//! What lies in the folders of tables: objects of deletes, old versions, files that no table has any more.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use super::{Amount, Job, LOOK_AGAIN_AFTER, Place};
use crate::clock;
use crate::cluster::marks;
use crate::error::Result;
use crate::flush;
use crate::layout::{DATE_COLUMN, table_folder};
use crate::model::{DataFile, FilePlace, Sequence, TableSchema};
use crate::tombstone::{stored, swept};

impl Job<'_> {
    /// Forgets the deletes, which nothing needs any more.
    pub(super) async fn deletes(&self) -> Result<Place> {
        let mut place = Place::new("deletes");
        let deadline = self.deadline();
        loop {
            stored::drop_settled(self.shared).await;
            let live = self.live_deletes();
            if live.is_empty() {
                break;
            }
            if clock::instant() >= deadline {
                let why = "it hides rows still, or last values could not be freed of it: run the job again";
                live.iter().for_each(|delete| place.leave(delete, why));
                break;
            }
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
        let is_shared = self.shared.cluster.is_shared();
        let no_node_needs = if is_shared { Some(marks::least(self.shared).await?) } else { None };
        for schema in &self.tables {
            for object in stored::list(self.shared, schema).await? {
                place.looked_at = place.looked_at.and(object.size);
                let is_live = stored::sequence_of(&object.location)
                    .is_some_and(|sequence| self.shared.view.has_tombstone(schema.id, sequence));
                if swept::others_may_need(no_node_needs, stored::sequence_of(&object.location)) {
                    let why = "another node has older rows that are not in a table: run the job again";
                    place.leave(&object.location, why);
                } else if is_live {
                    let why = "a delete that came while the job ran; run it again for that";
                    place.keep(&object.location, why);
                } else {
                    self.shared.table_store.delete(&object.location).await?;
                    place.removed = place.removed.and(object.size);
                }
            }
        }
        Ok(place)
    }

    /// The deletes of the job that still stand in a view.
    fn live_deletes(&self) -> Vec<Sequence> {
        let snapshot = self.shared.view.snapshot();
        let views = self.tables.iter().filter_map(|schema| snapshot.table(schema.id));
        let deletes = views.flat_map(|view| view.tombstones.iter().map(|delete| delete.sequence));
        deletes.filter(|sequence| *sequence <= self.up_to).collect()
    }

    /// Leaves of each table's log its newest version alone.
    pub(super) async fn table_logs(&self) -> Result<Place> {
        let mut place = Place::new("table logs");
        for schema in &self.tables {
            let tables = &self.shared.tables;
            let Some(mut table) = tables.take(schema).await? else { continue };
            let forgotten = table.forget_history(tables.app_id()).await?;
            let sizes = forgotten.removed.iter().chain(&forgotten.left).copied();
            place.looked_at = Amount::of(sizes).plus(place.looked_at);
            place.removed = Amount::of(forgotten.removed).plus(place.removed);
            for path in forgotten.unknown {
                let path = format!("{}/{path}", table_folder(schema));
                place.leave(path, "it is no part of the table's log that is known: look at it and remove it");
            }
        }
        place.note("older versions of these tables cannot be opened any more");
        Ok(place)
    }

    /// Removes files that no table has any more, when no query reads them.
    pub(super) async fn replaced_files(&self) -> Result<Place> {
        let mut place = Place::new("replaced files");
        let deadline = self.deadline();
        while !self.still_read().is_empty() && clock::instant() < deadline {
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
        // Nothing is on its way into a table meanwhile.
        let _turn = self.engine.compactor().pause().await;
        let _paused = self.engine.flusher().pause().await;
        let read = self.still_read();
        for schema in &self.tables {
            for (object, fate) in self.unwanted(schema).await? {
                place.looked_at = place.looked_at.and(object.size);
                if read.iter().any(|file| file.path == object.location) {
                    let why = "a query reads it still: run the job again when it has ended";
                    place.leave(&object.location, why);
                    continue;
                }
                match fate {
                    Fate::Unwanted => {
                        self.shared.table_store.delete(&object.location).await?;
                        place.removed = place.removed.and(object.size);
                    }
                    Fate::Foreign => {
                        let hour = self.shared.config.vacuum.min_age.as_secs();
                        let why = format!(
                            "another node may be about to commit it, or reads it still: run the job again in {hour} s"
                        );
                        place.leave(&object.location, why);
                    }
                }
            }
        }
        Ok(place)
    }

    /// Files of the tables' folders that have left the view and that some snapshot still has.
    fn still_read(&self) -> Vec<Arc<DataFile>> {
        let mut files = self.shared.view.still_read();
        files.retain(|file| file.place == FilePlace::Table);
        files
    }

    /// The objects in a table's partitions that the table does not have.
    async fn unwanted(&self, schema: &TableSchema) -> Result<Vec<(ObjectMeta, Fate)>> {
        let shared = self.shared;
        let folder = table_folder(schema);
        let listed: Vec<ObjectMeta> = shared.table_store.list(Some(&folder)).try_collect().await?;
        let Some(mut table) = shared.tables.take(schema).await? else { return Ok(Vec::new()) };
        // The answer to a commit may have been lost: what is in the table must be wanted.
        table.reload(shared.tables.app_id()).await?;
        let mut wanted: HashSet<Path> = table.files()?.into_iter().map(|file| file.path).collect();
        let replaced: HashSet<Path> = table.replaced_since(i64::MIN).await?.into_iter().collect();
        let snapshot = shared.view.snapshot();
        let files = snapshot.table(schema.id).map(|view| view.files.as_slice()).unwrap_or_default();
        let (staged, of_table): (Vec<_>, Vec<_>) =
            files.iter().partition(|file| file.place == FilePlace::Staged);
        wanted.extend(of_table.iter().map(|file| file.path.clone()));
        let staged: HashSet<String> =
            staged.into_iter().map(|file| flush::name_in_table(shared, file)).collect();
        let of_partitions = |path: &Path| {
            let mut parts = path.prefix_match(&folder).into_iter().flatten();
            parts.next().is_some_and(|part| part.as_ref().starts_with(DATE_COLUMN))
        };
        let own = shared.epoch.to_string();
        let read_by_others: HashSet<Path> = if shared.cluster.is_shared() {
            let min_age_ms = i64::try_from(shared.config.vacuum.min_age.as_millis()).unwrap_or(i64::MAX);
            let now_ms = i64::try_from(clock::now().unix_millis()).unwrap_or(i64::MAX);
            table.replaced_since(now_ms.saturating_sub(min_age_ms)).await?.into_iter().collect()
        } else {
            HashSet::new()
        };
        let fate = |object: ObjectMeta| {
            let name = object.location.filename()?;
            if wanted.contains(&object.location) || staged.contains(name) || !of_partitions(&object.location)
            {
                return None;
            }
            if read_by_others.contains(&object.location) {
                return Some((object, Fate::Foreign));
            }
            let is_settled = replaced.contains(&object.location)
                || name.starts_with(&own)
                || is_older(&object, shared.config.vacuum.min_age);
            Some((object, if is_settled { Fate::Unwanted } else { Fate::Foreign }))
        };
        Ok(listed.into_iter().filter_map(fate).collect())
    }
}

/// What is to become of an object that a table does not have.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// Nobody wants it.
    Unwanted,
    /// Another node may be about to commit it, or read it.
    Foreign,
}

fn is_older(object: &ObjectMeta, age: Duration) -> bool {
    let now_ms = i64::try_from(clock::now().unix_millis()).unwrap_or(i64::MAX);
    let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    object.last_modified.timestamp_millis() <= now_ms.saturating_sub(age_ms)
}
