//! `kill -9` at random moments under four writing connections.
//!
//! `BUSBAR_KILL_ROUNDS` sets the number of rounds, `BUSBAR_KILL_SEED` repeats the moments of a run.

use std::path::Path;
use std::time::Duration;

use crate::journal::{self, Journal, Random, Way};
use crate::server::Launch;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

/// Files below a folder whose path ends so.
fn files(folder: &Path, end: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, end));
        } else if path.to_str().unwrap().ends_with(end) {
            found.push(path.to_str().unwrap().to_owned());
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_point_is_lost_or_doubled_by_kills_at_random_moments() {
    let rounds = number("BUSBAR_KILL_ROUNDS").unwrap_or(30);
    let seed = number("BUSBAR_KILL_SEED").unwrap_or_else(rand::random);
    println!("BUSBAR_KILL_SEED={seed}");
    let mut random = Random::new(seed);
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    // Small, so that flushes, commits and trims happen within the rounds.
    let launch = Launch::new(&data)
        .flag("flush-bytes", "256KiB")
        .flag("flush-age", "1s")
        .flag("log-segment-bytes", "64KiB");
    let ways = [Way::HttpV1, Way::HttpV3, Way::Mqtt, Way::Mqtt];
    let mut journals: Vec<Journal> =
        ways.into_iter().enumerate().map(|(at, way)| Journal::new(at, way, seed, 10)).collect();
    let mut server = launch.start().await;
    for round in 1..=rounds {
        let writers = journal::write_all(journals, &server, usize::MAX);
        tokio::time::sleep(Duration::from_millis(20 + random.below(700))).await;
        assert!(server.kill().await.by_signal());
        journals = journal::join(writers).await;
        if random.below(4) == 0 {
            let starting = launch.spawn();
            tokio::time::sleep(Duration::from_millis(random.below(300))).await;
            starting.kill().await;
        }
        server = launch.start().await;
        journal::check(&server, &mut journals).await;
        println!("round {round}: {} points", journals.iter().map(Journal::points).sum::<usize>());
    }
    for journal in &journals {
        assert!(journal.bodies > 0, "every connection wrote: {journal:?}");
    }
    server.stop().await;
    let server = launch.start().await;
    journal::check(&server, &mut journals).await;
    let in_files = "SELECT sum(rows) FROM system.files WHERE place = 'table'";
    let rows = server.count(journal::DATABASE, in_files).await;
    let points: usize = journals.iter().map(Journal::points).sum();
    assert!(usize::try_from(rows).unwrap() >= points, "all points are in files: {rows} of {points}");
    if rounds >= 10 {
        let commits = files(&data.join("tables"), ".json").len();
        let oldest = files(&data.join("log"), ".seg").remove(0);
        println!("{commits} commits, oldest segment {oldest}");
        assert!(commits >= 5, "flushes happened within the rounds: {commits}");
        assert!(!oldest.ends_with("/00000000000000000001.seg"), "the log was trimmed");
    }
    server.stop().await;
}
