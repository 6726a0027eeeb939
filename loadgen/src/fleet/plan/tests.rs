//! Rows, kinds and lines of a plan.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use super::*;
use std::collections::BTreeSet;

fn plan(kinds: &'static [Kind], devices: u64, series: Option<u64>, total_rows: u64) -> Plan {
    Plan::new(Shape {
        kinds,
        buildings: 2,
        floors: 2,
        rooms: 3,
        devices,
        series,
        seed: 7,
        tags: vec![],
        start_ns: 1_700_000_000_000_000_000,
        step_ns: 1_000,
        batch_rows: 10,
        total_rows: Some(total_rows),
    })
    .unwrap()
}

fn lines(plan: &Plan, rows: Range<u64>) -> Vec<String> {
    let mut buffer = Vec::new();
    plan.push_lines(rows, &mut buffer);
    String::from_utf8(buffer).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn the_closed_form_counts_what_the_lines_hold() {
    let plan = plan(&MIXED, 3, None, 200);
    assert_eq!(plan.devices(), 36);
    for range in [0..200, 0..1, 17..23, 35..110, 150..200] {
        let written = lines(&plan, range.clone());
        for kind in MIXED {
            let counted =
                written.iter().filter(|line| line.starts_with(&format!("{},", kind.table()))).count();
            assert_eq!(plan.rows_of(kind, range.clone()), counted as u64, "{kind:?} {range:?}");
        }
    }
}

#[test]
fn every_line_is_valid_and_has_its_own_time() {
    let plan = plan(&MIXED, 5, None, 600);
    let text = lines(&plan, 0..600).join("\n");
    let mut times = BTreeSet::new();
    for line in influxdb_line_protocol::parse_lines(&text) {
        let line = line.unwrap();
        let keys: Vec<_> = line.series.tag_set.unwrap().iter().map(|(key, _)| key.to_string()).collect();
        assert_eq!(keys, ["building", "device", "floor", "room"]);
        times.insert(line.timestamp.unwrap());
    }
    assert_eq!(times.len(), 600);
}

#[test]
fn the_same_seed_gives_the_same_lines_in_any_cut() {
    let (a, b) = (plan(&MIXED, 5, None, 100), plan(&MIXED, 5, None, 100));
    let whole = lines(&a, 0..100);
    let cut: Vec<_> = [60..100, 0..60].into_iter().rev().flat_map(|range| lines(&b, range)).collect();
    assert_eq!(whole, cut);
}

#[test]
fn a_four_field_line_has_about_134_bytes_and_the_series_asked_for() {
    let plan = plan(&FOUR_FIELDS, 5, Some(1_000), 3_000);
    let written = lines(&plan, 0..3_000);
    let bytes: usize = written.iter().map(|line| line.len() + 1).sum();
    let mean = bytes / written.len();
    assert!((130..=138).contains(&mean), "{mean}: {}", written[0]);
    let series: BTreeSet<_> = written.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(series.len(), 1_000);
}

#[test]
fn the_last_batch_is_short_and_none_follows() {
    let plan = plan(&MIXED, 1, None, 25);
    assert_eq!(plan.total_batches(), Some(3));
    assert_eq!(plan.rows_in(2..3), 20..25);
    assert_eq!(plan.rows_in(3..4), 25..25);
}
