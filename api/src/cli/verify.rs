//! `busbar verify`: reads a data directory through and says what is damaged.
//!
//! Invariant: the exit code is 0 when nothing is damaged, 1 when something is, 2 when the check could not be made.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use storage::verify::{Report, verify};

use super::{Failure, load, print, with_settings};

const ABOUT: &str = "Check log, definitions, staged files, tables, streams and registry of a stopped engine; 0 if all of \
                     it is what was written, 1 if something is damaged, 2 if it cannot be checked";

pub(super) fn command() -> Command {
    let json =
        Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print the result as one JSON object");
    with_settings(Command::new("verify").about(ABOUT)).arg(json)
}

pub(super) fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    match check(matches) {
        Ok(report) => {
            let json = matches.get_flag("json");
            print(&if json { format!("{}\n", serde_json::to_string(&report)?) } else { text(&report) })?;
            Ok(if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Err(error) => {
            // Nothing is left to tell when standard error is closed.
            drop(writeln!(io::stderr(), "busbar: cannot verify: {error}"));
            Ok(ExitCode::from(2))
        }
    }
}

fn check(matches: &ArgMatches) -> Result<Report, Failure> {
    let config = load(matches)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut progress = |what: &str| drop(writeln!(io::stderr(), "checking {what}"));
    Ok(runtime.block_on(verify(&config.data_dir, &mut progress))?)
}

fn text(report: &Report) -> String {
    let mut lines = Vec::new();
    for finding in &report.findings {
        let at = finding.offset.map_or_else(String::new, |offset| format!(" at byte {offset}"));
        lines.push(format!("damaged: {}{at}: {}", finding.file, finding.what));
    }
    lines.extend(report.notes.iter().map(|note| format!("note: {note}")));
    let c = &report.checked;
    lines.push(format!(
        "checked {} frames, {} definitions, {} staged sets, {} tables with {} commits, {} files and {} rows, {} stream \
         records: {} bytes",
        c.frames, c.definitions, c.staged_sets, c.tables, c.commits, c.files, c.rows, c.records, c.bytes
    ));
    lines.push(match report.findings.len() {
        0 => "nothing is damaged".to_owned(),
        1 => "1 thing is damaged".to_owned(),
        many => format!("{many} things are damaged"),
    });
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use storage::verify::{Finding, Report};

    use super::text;

    #[test]
    fn a_finding_names_file_and_byte() {
        let finding = Finding { file: "log/1.seg".into(), offset: Some(40), what: "frame 2 is lost".into() };
        let report = Report { findings: vec![finding], ..Report::default() };
        let text = text(&report);
        assert!(text.starts_with("damaged: log/1.seg at byte 40: frame 2 is lost\n"), "{text}");
        assert!(text.ends_with("1 thing is damaged\n"), "{text}");
    }
}
