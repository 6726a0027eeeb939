//! Rows, kinds and lines of a plan.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use super::*;
use influxdb_line_protocol::FieldValue;
use std::collections::BTreeSet;

fn shape(kinds: &'static [Kind], devices: u64, series: Option<u64>, total_rows: u64) -> Shape {
    Shape {
        kinds,
        buildings: 2,
        floors: 2,
        rooms: 3,
        devices,
        series,
        seed: 7,
        tags: vec![],
        table_prefix: String::new(),
        shuffle: false,
        start_ns: 1_700_000_000_000_000_000,
        step_ns: 1_000,
        batch_rows: 10,
        total_rows: Some(total_rows),
        course: None,
    }
}

fn plan(kinds: &'static [Kind], devices: u64, series: Option<u64>, total_rows: u64) -> Plan {
    Plan::new(shape(kinds, devices, series, total_rows)).unwrap()
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

#[test]
fn a_line_of_the_benchmark_suite_has_about_339_bytes_ten_tags_and_ten_whole_numbers() {
    let plan = plan(&TSBS_CPU, 5, Some(100), 1_000);
    let written = lines(&plan, 0..1_000);
    let mean = written.iter().map(|line| line.len() + 1).sum::<usize>() / written.len();
    assert!((330..=350).contains(&mean), "{mean}: {}", written[0]);
    for line in influxdb_line_protocol::parse_lines(&written.join("\n")) {
        let line = line.unwrap();
        assert_eq!(line.series.tag_set.unwrap().len(), 10);
        assert_eq!(line.field_set.len(), 10);
        let is_percent = |value: &FieldValue<'_>| matches!(value, FieldValue::I64(0..=100));
        assert!(line.field_set.iter().all(|(_, value)| is_percent(value)), "{:?}", line.field_set);
    }
}

#[test]
fn a_shuffled_round_has_every_device_once_in_an_order_of_its_own() {
    let shape = Shape { shuffle: true, ..shape(&FOUR_FIELDS, 5, Some(90), 270) };
    let plan = Plan::new(shape).unwrap();
    let written = lines(&plan, 0..270);
    let series: Vec<&str> = written.iter().map(|line| line.split(' ').next().unwrap()).collect();
    let rounds: Vec<&[&str]> = series.chunks(90).collect();
    for (number, round) in rounds.iter().enumerate() {
        assert_eq!(round.iter().collect::<BTreeSet<_>>().len(), 90);
        assert!(rounds[..number].iter().all(|before| before != round), "round {number}");
    }
    // Whatever the cut.
    assert_eq!(lines(&plan, 95..200), written[95..200]);
}

#[test]
fn a_prefix_gives_a_fleet_a_table_of_its_own() {
    let shape = Shape { table_prefix: "warm_".to_owned(), ..shape(&FOUR_FIELDS, 1, None, 10) };
    let plan = Plan::new(shape).unwrap();
    assert_eq!(plan.table(Kind::Probe), "warm_probe");
    assert!(lines(&plan, 0..10).iter().all(|line| line.starts_with("warm_probe,")));
}
