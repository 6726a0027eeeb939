//! Which objects of a table's log make up one of its versions.
//!
//! Invariant: a log of these objects alone opens at that version, and what the newest commit says of the table can be
//! held against it.

use std::collections::BTreeSet;

use crate::error::{Error, Result};

/// Of the names in a `_delta_log`, those that version `version` needs: the newest checkpoint up to it, the commit of
/// that version and every later one.
///
/// # Errors
/// [`Error::Damaged`] when a commit is missing.
pub(crate) fn parts_of_version<'a>(
    table: &str,
    names: impl Iterator<Item = &'a str> + Clone,
    version: u64,
) -> Result<Vec<String>> {
    let numbered = |end: &'static str| {
        let number = move |name: &str| name.strip_suffix(end).filter(|n| n.len() == 20)?.parse::<u64>().ok();
        names.clone().filter_map(number).filter(|number| *number <= version)
    };
    let checkpoint = numbered(".checkpoint.parquet").max();
    let commits: BTreeSet<u64> =
        numbered(".json").filter(|commit| checkpoint.is_none_or(|made| *commit >= made)).collect();
    let first = checkpoint.map_or(0, |made| made + 1);
    if let Some(missing) = (first..=version).find(|wanted| !commits.contains(wanted)) {
        return Err(Error::Damaged(format!(
            "the log of table {table} is damaged: version {missing} is missing below {version}; restore the table from a \
             backup"
        )));
    }
    let made = checkpoint.map(|made| format!("{made:020}.checkpoint.parquet"));
    Ok(made.into_iter().chain(commits.into_iter().map(|commit| format!("{commit:020}.json"))).collect())
}

#[cfg(test)]
mod tests {
    use super::parts_of_version;

    fn names(checkpoints: &[u64], commits: impl Iterator<Item = u64>) -> Vec<String> {
        let checkpoints = checkpoints.iter().map(|v| format!("{v:020}.checkpoint.parquet"));
        let commits = commits.map(|v| format!("{v:020}.json"));
        checkpoints.chain(commits).chain(["_last_checkpoint".to_owned()]).collect()
    }

    #[test]
    fn a_version_is_its_newest_checkpoint_and_the_commits_from_there() {
        let check = |found: &[String], version, expected: &[String]| {
            let parts = parts_of_version("t", found.iter().map(String::as_str), version);
            assert_eq!(parts.unwrap(), expected);
        };
        check(&names(&[], 0..9), 2, &names(&[], 0..3)[..3]);
        check(&names(&[5, 7], 3..9), 6, &names(&[5], 5..7)[..3]);
        check(&names(&[5], 6..9), 5, &names(&[5], 0..0)[..1]);
    }

    #[test]
    fn a_version_without_one_of_its_commits_is_damaged() {
        let refused = |found: &[String], version| {
            parts_of_version("t", found.iter().map(String::as_str), version).unwrap_err().to_string()
        };
        assert!(refused(&names(&[], 1..4), 3).contains("version 0 is missing"));
        assert!(refused(&names(&[5], 7..9), 8).contains("version 6 is missing"));
    }
}
