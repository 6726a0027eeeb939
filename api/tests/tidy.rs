//! The house rules as a test: what lies where, which crate knows which, and how files look.
//!
//! It links nothing of the engine, so it builds in seconds. Files are those that git knows or would add.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// The top level is fixed; beside it only hidden files.
const TOP_LEVEL: [&str; 12] = [
    "Cargo.toml",
    "ingest",
    "storage",
    "query",
    "alerting",
    "api",
    "bench",
    "loadgen",
    "deploy",
    "README.md",
    "Cargo.lock",
    "LICENSE",
];

/// Which crates of the workspace a crate may depend on.
const GRAPH: [(&str, &[&str]); 7] = [
    ("storage", &[]),
    ("ingest", &["storage"]),
    ("query", &["storage"]),
    ("alerting", &["storage"]),
    ("api", &["alerting", "ingest", "query", "storage"]),
    ("bench", &["alerting", "ingest", "query", "storage"]),
    ("loadgen", &[]),
];

/// Which crates may depend on a library: in the program, and beyond that in tests.
const FENCES: [(&str, &[&str], &[&str]); 11] = [
    ("axum", &["api", "loadgen"], &["loadgen"]),
    ("hyper-util", &["api", "loadgen"], &[]),
    ("utoipa", &["api"], &[]),
    ("clap", &["api", "bench", "loadgen"], &[]),
    ("datafusion", &["query", "alerting"], &[]),
    ("deltalake-core", &["storage"], &["query"]),
    ("object_store", &["storage", "query"], &["api", "ingest"]),
    ("parquet", &["storage", "query", "bench"], &["api"]),
    ("sqlx", &["storage"], &["loadgen"]),
    ("rumqttc", &["ingest", "loadgen"], &["api"]),
    ("rumqttd", &["loadgen"], &["ingest"]),
];

/// The lockstep group: two versions of one of them would not fit together.
const ONE_VERSION: [&str; 9] = [
    "arrow",
    "arrow-array",
    "arrow-schema",
    "datafusion",
    "datafusion-common",
    "object_store",
    "parquet",
    "deltalake-core",
    "axum",
];

/// Lines of one file.
const FILE_LINES: usize = 500;

/// Names that say nothing about what a module holds.
const EMPTY_NAMES: [&str; 11] = [
    "utils",
    "util",
    "common",
    "helpers",
    "helper",
    "types",
    "misc",
    "stuff",
    "shared_utils",
    "prelude",
    "tools",
];

/// Words of the language, which would need `r#`.
const KEYWORDS: [&str; 37] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn",
    "else", "enum", "extern", "final", "fn", "for", "if", "impl", "in", "let", "loop", "macro", "match",
    "move", "mut", "override", "priv", "pub", "ref", "return", "static", "trait", "type", "use", "yield",
];

/// What no file may hold. Put together from parts, because this file is searched too.
const BANNED: [&str; 6] = [
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("db", "g!("),
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("<<<<", "<<<"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("api lies in the workspace").to_owned()
}

/// Every file that git knows or would add, from the root.
fn files() -> Vec<String> {
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").arg("-C").arg(root()).args(arguments).output().expect("git runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("names are UTF-8");
    let exists = |name: &&str| !name.is_empty() && root().join(name).is_file();
    text.split('\0').filter(exists).map(str::to_owned).collect()
}

/// The text of a file; `None` when it is not text.
fn text(name: &str) -> Option<String> {
    String::from_utf8(std::fs::read(root().join(name)).expect("a listed file can be read")).ok()
}

fn rust_files() -> impl Iterator<Item = (String, String)> {
    let rust = files().into_iter().filter(|name| name.ends_with(".rs"));
    rust.map(|name| (text(&name).unwrap_or_else(|| panic!("{name} is not UTF-8")), name))
        .map(|(text, name)| (name, text))
}

fn metadata() -> Metadata {
    let options = ["--offline".to_owned(), "--locked".to_owned()];
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .other_options(options)
        .exec()
        .expect("cargo metadata runs")
}

/// Fails with all faults at once.
fn none(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn the_top_level_is_fixed() {
    let found: BTreeSet<String> =
        files().iter().filter_map(|name| name.split('/').next().map(str::to_owned)).collect();
    let is_foreign = |name: &&String| !name.starts_with('.') && !TOP_LEVEL.contains(&name.as_str());
    none(
        found
            .iter()
            .filter(is_foreign)
            .map(|name| format!("{name} does not belong at the top level"))
            .collect(),
    );
}

#[test]
fn each_crate_knows_only_those_below_it() {
    let graph: BTreeMap<&str, &[&str]> = GRAPH.into_iter().collect();
    let packages = metadata().packages;
    let names: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    assert_eq!(names, graph.keys().copied().collect(), "the crates of the workspace");
    let mut faults = Vec::new();
    for package in &packages {
        let allowed = graph[package.name.as_str()];
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            if names.contains(name) && name != package.name.as_str() && !allowed.contains(&name) {
                faults.push(format!("{} may not depend on {name}", package.name));
            }
        }
    }
    none(faults);
}

#[test]
fn each_library_stays_behind_its_fence() {
    let mut faults = Vec::new();
    for package in metadata().packages {
        for dependency in &package.dependencies {
            let Some((library, program, tests)) = FENCES.iter().find(|(name, ..)| *name == dependency.name)
            else {
                continue;
            };
            let user = package.name.as_str();
            let in_tests = dependency.kind == DependencyKind::Development;
            let may = program.contains(&user) || (in_tests && tests.contains(&user));
            if !may {
                faults.push(format!("{user} may not depend on {library}"));
            }
        }
    }
    none(faults);
}

#[test]
fn the_lockstep_group_has_one_version_each() {
    let lock: toml::Table = toml::from_str(&text("Cargo.lock").unwrap()).unwrap();
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in lock["package"].as_array().unwrap() {
        versions
            .entry(package["name"].as_str().unwrap())
            .or_default()
            .push(package["version"].as_str().unwrap());
    }
    let fault = |name: &&str| {
        let found = versions.get(*name).map_or(&[][..], Vec::as_slice);
        (found.len() != 1).then(|| format!("{name} has the versions {found:?}, not one"))
    };
    none(ONE_VERSION.iter().filter_map(fault).collect());
}

#[test]
fn every_module_begins_with_its_purpose() {
    let fault = |(name, text): (String, String)| {
        let first = text.lines().next().unwrap_or_default();
        let good = first.strip_prefix("//! ").is_some_and(|header| header.len() > 3);
        (!good).then(|| format!("{name} does not begin with a //! header"))
    };
    none(rust_files().filter_map(fault).collect());
}

#[test]
fn no_file_is_long() {
    let fault = |(name, text): (String, String)| {
        let lines = text.lines().count();
        (lines > FILE_LINES).then(|| format!("{name} has {lines} lines, at most {FILE_LINES} are allowed"))
    };
    none(rust_files().filter_map(fault).collect());
}

#[test]
fn every_module_has_a_name_that_says_something() {
    let mut faults = Vec::new();
    for (name, _) in rust_files() {
        for part in name.trim_end_matches(".rs").split('/') {
            if EMPTY_NAMES.contains(&part) || KEYWORDS.contains(&part) {
                faults.push(format!("{name}: no module may be called {part}"));
            }
        }
    }
    none(faults);
}

#[test]
fn no_file_holds_what_may_not_be_published() {
    let mut faults = Vec::new();
    for name in files() {
        let Some(text) = text(&name) else { continue };
        for (at, line) in text.lines().enumerate() {
            for word in BANNED.iter().filter(|word| line.contains(**word)) {
                faults.push(format!("{name}:{}: {word}", at + 1));
            }
        }
    }
    none(faults);
}

#[test]
fn main_is_a_few_lines() {
    let lines = text("api/src/main.rs").unwrap().lines().count();
    assert!(lines <= 40, "api/src/main.rs has {lines} lines; what it does belongs in the library");
}
