//! `loadgen fleet --scenario`.

use crate::run::{Run, loadgen, words};
use crate::server::Engine;
use std::collections::BTreeSet;
use std::sync::Arc;
use tempfile::TempDir;

/// Runs a scenario of one's own; the page that it writes is returned too.
async fn run(engine: &Arc<Engine>, scenario: &str, options: &str) -> (Run, String) {
    let folder = TempDir::new().unwrap();
    let (file, page) = (folder.path().join("own.toml"), folder.path().join("page.html"));
    std::fs::write(&file, scenario).unwrap();
    let url = engine.serve().await;
    let options = format!(
        "fleet --url {url} --shape four-fields --series 20 --connections 2 --scenario {} --html {} {options}",
        file.display(),
        page.display(),
    );
    let run = loadgen(words(&options)).await;
    (run, std::fs::read_to_string(page).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ramp_sends_what_its_rates_add_up_to_and_draws_it() {
    let engine = Arc::new(Engine::default());
    let scenario = "about = 'up & <away>'\n[[phase]]\nname = 'up'\nfor = '1s'\nload = 0\nto = 2";
    let (run, page) = run(&engine, scenario, "--rate 1000").await;
    run.expect(0, &["1,000 of 1,000 rows", "rows expected 1000, found 1000, double 0: equal"]);
    for part in ["up &amp; &lt;away&gt;", "<svg", "p99", "result         ok"] {
        assert!(page.contains(part), "no {part:?} in {page}");
    }
    let times: BTreeSet<_> = engine.table("probe").keys().map(|(time, _)| *time).collect();
    assert_eq!(times.len(), 1_000, "each row has its own time");
}

#[tokio::test(flavor = "multi_thread")]
async fn late_rows_are_as_old_as_the_phase_says_and_are_read_back() {
    let engine = Arc::new(Engine::default());
    let scenario = "[[phase]]\nname = 'late'\nfor = '1s'\nload = 1\nlate = { share = 0.5, by = '1h' }";
    let (run, _) = run(&engine, scenario, "--rate 1000 --batch 50").await;
    run.expect(0, &["rows expected 1000, found 1000, double 0: equal"]);
    let table = engine.table("probe");
    let newest = table.keys().map(|(time, _)| *time).max().unwrap();
    let late = table.keys().filter(|(time, _)| newest - time > 3_598_000_000_000).count();
    assert_eq!(late, 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_that_go_are_replaced_by_as_many_that_were_never_heard_of() {
    let engine = Arc::new(Engine::default());
    let scenario = "[[phase]]\nname = 'churn'\nfor = '2s'\nload = 1\nnewcomers = 30";
    run(&engine, scenario, "--rate 1000").await.0.expect(0, &["found 2000, double 0: equal"]);
    let table = engine.table("probe");
    let device = |tags: &[(String, String)]| tags.iter().find(|(key, _)| key == "device").unwrap().1.clone();
    let devices: BTreeSet<_> = table.keys().map(|(_, tags)| device(tags)).collect();
    assert!((75..=80).contains(&devices.len()), "{} devices", devices.len());
    let first = table.keys().take(20).map(|(_, tags)| device(tags)).collect::<BTreeSet<_>>();
    let last = table.keys().rev().take(20).map(|(_, tags)| device(tags)).collect::<BTreeSet<_>>();
    assert!(first.is_disjoint(&last));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_connections_are_opened_anew_and_no_row_is_lost() {
    let engine = Arc::new(Engine::default());
    let scenario = "[[phase]]\nname = 'storm'\nfor = '1s'\nload = 1\nreconnect = '300ms'";
    let (run, _) = run(&engine, scenario, "--rate 1000 --batch 10").await;
    run.expect(0, &["reconnects 6", "found 1000, double 0: equal"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn known_scenarios_are_listed_and_printed_to_begin_with() {
    loadgen(words("scenario")).await.expect(0, &["reconnect-storm", "late-data", "as after a power cut"]);
    let printed = loadgen(words("scenario burst")).await.expect(0, &["[[phase]]", "burst = {"]);
    assert_eq!(printed.out, include_str!("../../scenarios/burst.toml"));
    loadgen(words("scenario brust")).await.expect(2, &["no scenario is known as brust"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scenario_that_makes_no_sense_is_refused_before_anything_is_sent() {
    let engine = Arc::new(Engine::default());
    let (refused, page) = run(&engine, "[[phase]]\nname = 'x'\nfor = '1s'\nloud = 1", "").await;
    refused.expect(2, &["unknown field `loud`", "own.toml"]);
    assert!(page.is_empty() && engine.requests.lock().unwrap().is_empty());
    let options = "fleet --scenario churn --shape mixed --rate 100";
    loadgen(words(options)).await.expect(2, &["newcomers are for shapes of one table"]);
    loadgen(words("fleet --scenario steady --rows 5")).await.expect(2, &["cannot be used with"]);
}
