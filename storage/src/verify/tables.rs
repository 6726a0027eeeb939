//! Tables: the lines of their logs, their deletes, and the files that the logs name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;

use super::{Report, names, relative};
use crate::delta::TableLog;
use crate::disk::LocalDisk;
use crate::engine::Layout;
use crate::error::{Error, Result};
use crate::flush::manifest::checksum_of;
use crate::log::Epoch;
use crate::model::DataFile;
use crate::object::DurableLocalStore;
use crate::tombstone::stored;

const LOG: &str = "_delta_log";

pub(super) async fn tables(data_dir: &Path, report: &mut Report, progress: &mut (dyn FnMut(&str) + Send)) {
    let root = Layout(data_dir).tables();
    if !root.is_dir() {
        return;
    }
    let store: Arc<dyn ObjectStore> = match DurableLocalStore::open(&root) {
        Ok(store) => Arc::new(store),
        Err(error) => return report.error("tables", &error),
    };
    let node = app_id(data_dir);
    for database in names(&root) {
        for table in names(&root.join(&database)) {
            let name = format!("{database}/{table}");
            let folder = root.join(&name);
            if !folder.is_dir() {
                continue;
            }
            progress(&format!("table {name}"));
            report.checked.tables += 1;
            commits(data_dir, &folder, report);
            deletes(data_dir, &folder, report);
            if let Err(error) = one(data_dir, &store, &name, node.as_deref(), report).await {
                report.error(format!("tables/{name}/{LOG}"), &error);
            }
        }
    }
}

/// The name under which this log commits.
fn app_id(data_dir: &Path) -> Option<String> {
    let text = std::fs::read_to_string(Layout(data_dir).log().join("epoch")).ok()?;
    let epoch = Epoch::parse(text.trim())?;
    Some(format!("busbar-busbar-{epoch}"))
}

/// Every line of every commit is JSON.
fn commits(data_dir: &Path, folder: &Path, report: &mut Report) {
    let log = folder.join(LOG);
    for name in names(&log).iter().filter(|name| name.ends_with(".json")) {
        let path = log.join(name);
        let file = relative(data_dir, &path);
        match std::fs::read(&path) {
            Err(error) => report.damage(file, None, error.to_string()),
            Ok(bytes) => {
                report.checked.commits += 1;
                report.checked.bytes += bytes.len() as u64;
                let mut offset = 0_u64;
                for line in bytes.split(|byte| *byte == b'\n') {
                    if !line.is_empty() && serde_json::from_slice::<Value>(line).is_err() {
                        report.damage(file.clone(), Some(offset), "this line of the commit is not JSON");
                    }
                    offset += line.len() as u64 + 1;
                }
            }
        }
    }
}

/// Every delete that the table's files have not all had applied.
fn deletes(data_dir: &Path, folder: &Path, report: &mut Report) {
    let folder = folder.join(stored::FOLDER);
    for name in names(&folder).iter().filter(|name| name.ends_with(".json")) {
        let path = folder.join(name);
        let file = relative(data_dir, &path);
        match std::fs::read(&path) {
            Err(error) => report.damage(file, None, error.to_string()),
            Ok(bytes) => {
                report.checked.bytes += bytes.len() as u64;
                if let Err(error) = stored::parse(&object_store::path::Path::from(file.as_str()), &bytes) {
                    report.error(file, &error);
                }
            }
        }
    }
}

/// The table as its log has it, and each of its files.
async fn one(
    data_dir: &Path,
    store: &Arc<dyn ObjectStore>,
    name: &str,
    app_id: Option<&str>,
    report: &mut Report,
) -> Result<()> {
    let path = object_store::path::Path::parse(name).map_err(|error| Error::Internal(error.to_string()))?;
    let Some(table) = TableLog::open(Arc::clone(store), &path, app_id.unwrap_or_default()).await? else {
        report.damage(format!("tables/{name}/{LOG}"), None, "there is no table log, though there is a table");
        return Ok(());
    };
    let root = Layout(data_dir).tables();
    let mut listed = BTreeSet::new();
    for file in table.files()? {
        let path = root.join(file.path.as_ref());
        match checked(&path, &file) {
            Err(what) => report.damage(
                relative(data_dir, &path),
                None,
                format!(
                    "{what}; lost are {} rows of sequences {} to {}",
                    file.rows, file.sequences.min, file.sequences.max
                ),
            ),
            Ok(()) => {
                report.checked.files += 1;
                report.checked.rows += file.rows;
                report.checked.bytes += file.bytes;
            }
        }
        listed.insert(path);
    }
    for leftover in parquet_files(&root.join(name)).difference(&listed) {
        let note = format!("{}: no commit names it", relative(data_dir, leftover));
        report.notes.push(note);
    }
    Ok(())
}

/// A file is there, is what was written, and holds what its commit says.
fn checked(path: &Path, file: &DataFile) -> std::result::Result<(), String> {
    let length = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?.len();
    if length != file.bytes {
        return Err(format!("has {length} bytes, written were {}", file.bytes));
    }
    let checksum = checksum_of(&LocalDisk, path).map_err(|error| error.to_string())?;
    if checksum != file.checksum {
        return Err(format!("has the checksum {checksum:08x}, written was {:08x}", file.checksum));
    }
    let open = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let reader =
        SerializedFileReader::new(open).map_err(|error| format!("has no readable footer: {error}"))?;
    let rows = reader.metadata().file_metadata().num_rows();
    if u64::try_from(rows) != Ok(file.rows) {
        return Err(format!("holds {rows} rows, its commit says {}", file.rows));
    }
    Ok(())
}

/// All Parquet files below a table's folder, but for those of its log.
fn parquet_files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for name in names(folder).into_iter().filter(|name| name != LOG) {
        let path = folder.join(name);
        if path.is_dir() {
            found.extend(parquet_files(&path));
        } else if path.extension().is_some_and(|end| end == "parquet") {
            found.insert(path);
        }
    }
    found
}
