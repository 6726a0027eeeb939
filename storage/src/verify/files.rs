//! Log, definitions, staged files, streams and registry.

use std::path::Path;

use super::{Report, names, relative};
use crate::disk::{Disk as _, LocalDisk};
use crate::engine::{Layout, definitions as definitions_file};
use crate::error::Result;
use crate::flush::manifest;
use crate::log::{decode_group, salvage_reports, survey_log};
use crate::quarantine;
use crate::registry;
use crate::stream;

/// Surveys the log. A missing log is no damage: the directory may be new.
pub(super) fn log(data_dir: &Path, report: &mut Report) -> Result<()> {
    let folder = Layout(data_dir).log();
    let present = names(&folder);
    if !present.iter().any(|name| name == "epoch") {
        if present.iter().any(|name| name.ends_with(".seg")) {
            report.damage("log/epoch", None, "is missing, and without it no segment can be read");
        }
        return Ok(());
    }
    let mut undecoded = Vec::new();
    let survey = survey_log(&LocalDisk, &folder, &mut |header, payload| {
        if let Err(error) = decode_group(payload) {
            undecoded.push(format!("frame {}: {error}", header.number));
        }
        Ok(())
    });
    match survey {
        Err(error) => report.error("log", &error),
        Ok(survey) => {
            report.checked.frames = survey.frames;
            report.checked.bytes += survey.bytes;
            for loss in &survey.losses {
                let file = format!("log/{:020}.seg", loss.segment);
                report.damage(file, Some(loss.from_byte), loss.to_string());
            }
            if survey.torn_bytes > 0 {
                report.notes.push("log: the last frame is torn and was never acknowledged".to_owned());
            }
        }
    }
    undecoded.into_iter().for_each(|what| report.damage("log", None, what));
    match salvage_reports(&LocalDisk, &folder) {
        Err(error) => report.error("log/quarantined", &error),
        Ok(reports) => {
            for (earlier, loss) in reports.iter().flat_map(|r| r.losses.iter().map(move |loss| (r, loss))) {
                report.notes.push(format!("salvaged at {} ms: {loss}", earlier.unix_millis));
            }
        }
    }
    Ok(())
}

pub(super) fn definitions(data_dir: &Path, report: &mut Report) {
    let path = Layout(data_dir).definitions();
    if !path.exists() {
        return;
    }
    let read = LocalDisk.open(&path, false).and_then(|file| definitions_file::read(&*file, &path));
    match read {
        Err(error) => report.error("definitions.log", &error),
        Ok(read) => {
            report.checked.definitions = read.definitions.len() as u64;
            report.checked.bytes += read.valid + read.torn;
            if read.torn > 0 {
                let note = format!("definitions.log: a torn record of {} bytes is at the end", read.torn);
                report.notes.push(note);
            }
        }
    }
}

pub(super) fn staged(data_dir: &Path, report: &mut Report) {
    let folder = Layout(data_dir).staged();
    manifest::verify(&LocalDisk, &folder, &names(&folder), &mut |name, checked| match checked {
        Err(error) => report.error(format!("staged/{name}"), &error),
        Ok(bytes) => {
            report.checked.staged_sets += 1;
            report.checked.bytes += bytes;
        }
    });
}

pub(super) fn streams(data_dir: &Path, report: &mut Report) {
    let folders = ["alerting", quarantine::FOLDER].map(|name| data_dir.join(name));
    for path in folders.iter().flat_map(|folder| names(folder).into_iter().map(|name| folder.join(name))) {
        if !path.is_dir() {
            continue;
        }
        match stream::verify(&path) {
            Err(error) => report.error(relative(data_dir, &path), &error),
            Ok((records, bytes, torn)) => {
                report.checked.records += records;
                report.checked.bytes += bytes;
                if torn > 0 {
                    let note = format!(
                        "{}: the last record is torn or damaged ({torn} bytes)",
                        relative(data_dir, &path)
                    );
                    report.notes.push(note);
                }
            }
        }
    }
}

pub(super) async fn registry(data_dir: &Path, report: &mut Report) {
    let path = data_dir.join("registry").join("registry.sqlite");
    if !path.exists() {
        return;
    }
    let file = relative(data_dir, &path);
    match registry::integrity(&path).await {
        Err(error) => report.damage(file, None, format!("cannot be checked: {error}")),
        Ok(faults) => faults.into_iter().for_each(|fault| report.damage(file.clone(), None, fault)),
    }
}
