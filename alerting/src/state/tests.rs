//! Tests of the state machine: scripts, and random samples against a naive implementation.
//!
//! A script is lines of `load SECOND VALUE [ahead]`, `silence`, and `expect` with what the line before did:
//! `nothing`, `pending SINCE`, `fired SINCE AT [late]`, `resolved SINCE AT [no_data]`, several joined by `+`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use proptest::prelude::*;

use super::{Change, NEVER, Order, Params, Phase, Sample, Slot, go_silent, step};
use crate::rule::{Rule, RuleSpec};

fn rule(extra: &str) -> Rule {
    let yaml = format!("{{name: r, database: d, table: t, when: \"x > 10\", {extra}}}");
    RuleSpec::from_yaml(&yaml).unwrap().validate().unwrap()
}

fn describe(changes: &[Change]) -> String {
    let one = |change: &Change| match change {
        Change::Fired { since, at, late } => {
            format!("fired {since} {at}{}", if *late { " late" } else { "" })
        }
        Change::Resolved { since, at, no_data } => {
            format!("resolved {since} {at}{}", if *no_data { " no_data" } else { "" })
        }
    };
    changes.iter().map(one).collect::<Vec<_>>().join(" + ")
}

/// Runs a script; durations and times are in nanoseconds, so `for: 5ns` is 5.
fn check(extra: &str, script: &str) {
    let params = Params::from(&rule(extra));
    let (mut slot, mut newest, mut did) = (Slot::default(), NEVER, String::new());
    for (number, line) in script.lines().map(str::trim).enumerate().filter(|(_, l)| !l.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["load", time, value, ref rest @ ..] => {
                let time: i64 = time.parse().unwrap();
                let limit = if rest == ["ahead"] { NEVER } else { i64::MAX };
                let order = Order::of(time, newest, limit);
                let changes =
                    step(&params, &mut slot, newest, Sample { time, value: value.parse().unwrap(), order });
                did = describe(&changes.into_iter().flatten().collect::<Vec<_>>());
                if order == Order::InOrder {
                    newest = time;
                }
            }
            ["silence"] => {
                did = describe(&go_silent(&params, &mut slot, newest).into_iter().collect::<Vec<_>>())
            }
            ["expect", ..] => {
                let expected = line.trim_start_matches("expect").trim();
                let shown = match (did.as_str(), slot.phase) {
                    ("", Phase::Pending) => format!("pending {}", slot.since),
                    ("", _) => "nothing".to_owned(),
                    (did, _) => did.to_owned(),
                };
                assert_eq!(shown, expected, "line {} of {script}", number + 1);
            }
            _ => panic!("line {}: {line}", number + 1),
        }
    }
}

#[test]
fn it_fires_at_the_first_sample_at_or_after_for() {
    check(
        "for: 5ns",
        "load 1 11
         expect pending 1
         load 5 12
         expect pending 1
         load 7 12
         expect fired 1 7
         load 8 12
         expect nothing
         load 9 10
         expect resolved 1 9
         load 10 11
         expect pending 10
         load 15 11
         expect fired 10 15",
    );
}

#[test]
fn without_for_the_first_sample_fires() {
    check("", "load 1 11\nexpect fired 1 1\nload 2 1\nexpect resolved 1 2\nload 3 11\nexpect fired 3 3");
}

#[test]
fn one_sample_below_ends_pending() {
    check(
        "for: 5ns",
        "load 1 11\nload 4 10\nexpect nothing\nload 6 11\nexpect pending 6\nload 7 11\nexpect pending 6",
    );
}

#[test]
fn between_clear_and_when_it_keeps_firing() {
    check(
        "clear: x < 5",
        "load 1 11
         expect fired 1 1
         load 2 7
         expect nothing
         load 3 5
         expect nothing
         load 4 4.9
         expect resolved 1 4
         load 5 7
         expect nothing",
    );
}

#[test]
fn a_late_sample_is_not_evaluated() {
    check(
        "for: 2ns",
        "load 10 11
         load 9 0
         expect pending 10
         load 10 0
         expect pending 10
         load 12 11
         expect fired 10 12
         load 11 0
         expect nothing
         load 13 0
         expect resolved 10 13",
    );
}

#[test]
fn a_late_hazard_fires_once_and_is_marked() {
    check(
        "late: evaluate",
        "load 10 0
         load 5 11
         expect fired 5 5 late
         load 6 0
         expect nothing
         load 11 0
         expect resolved 5 11
         load 5 11
         expect nothing
         load 4 11
         expect nothing
         load 7 11
         expect fired 7 7 late",
    );
}

#[test]
fn a_gap_restarts_pending_and_resolves_before_the_sample_is_evaluated() {
    check(
        "for: 2ns, no_data: 10ns",
        "load 1 11
         load 12 11
         expect pending 12
         load 14 11
         expect fired 12 14
         load 24 11
         expect nothing
         load 35 11
         expect resolved 12 34 no_data
         load 37 11
         expect fired 35 37",
    );
    check("no_data: 10ns", "load 1 11\nload 12 11\nexpect resolved 1 11 no_data + fired 12 12");
}

#[test]
fn silence_resolves_and_the_next_sample_starts_over() {
    check(
        "no_data: 10ns",
        "load 1 11
         silence
         expect resolved 1 11 no_data
         silence
         expect nothing
         load 5 11
         expect fired 5 5",
    );
    check("for: 1ns", "load 1 11\nload 2 11\nsilence\nexpect nothing\nload 3 1\nexpect resolved 1 3");
}

#[test]
fn a_sample_ahead_of_its_time_does_not_make_the_others_late() {
    check(
        "no_data: 10ns",
        "load 1 0
         load 1000 11 ahead
         expect fired 1000 1000
         load 2 11
         expect nothing
         load 3 0
         expect resolved 1000 3
         load 1000 11 ahead
         expect nothing
         load 4 11
         expect fired 4 4",
    );
    check("for: 3ns", "load 1000 11 ahead\nload 2 11\nexpect pending 2\nload 5 11\nexpect fired 2 5");
}

/// The rule in words, over the whole history each time: slow, and nothing like the machine.
fn naive(params: &Params, samples: &[(i64, f64)]) -> Vec<Change> {
    let mut accepted: Vec<(i64, f64)> = Vec::new();
    for (time, value) in samples {
        if accepted.last().is_none_or(|(newest, _)| time > newest) {
            accepted.push((*time, *value));
        }
    }
    let holds = |i: usize| params.when.holds(accepted[i].1);
    let clears = |i: usize| params.clear.as_ref().map_or(!holds(i), |c| c.holds(accepted[i].1));
    let gap = |i: usize| i > 0 && params.no_data_ns.is_some_and(|n| accepted[i].0 - accepted[i - 1].0 > n);
    let (mut changes, mut i) = (Vec::new(), 0);
    'episodes: while i < accepted.len() {
        // The first sample of a run that holds without a gap.
        if !holds(i) {
            i += 1;
            continue;
        }
        let start = i;
        let mut fired = start;
        while accepted[fired].0 - accepted[start].0 < params.hold_ns {
            fired += 1;
            if fired == accepted.len() {
                break 'episodes;
            }
            if gap(fired) || !holds(fired) {
                i = fired;
                continue 'episodes;
            }
        }
        let since = accepted[start].0;
        changes.push(Change::Fired { since, at: accepted[fired].0, late: false });
        let Some(end) = (fired + 1..accepted.len()).find(|j| gap(*j) || clears(*j)) else { break };
        if gap(end) {
            let at = accepted[end - 1].0 + params.no_data_ns.unwrap();
            changes.push(Change::Resolved { since, at, no_data: true });
            i = end;
        } else {
            changes.push(Change::Resolved { since, at: accepted[end].0, no_data: false });
            i = end + 1;
        }
    }
    changes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_machine_agrees_with_the_naive_implementation(
        steps in prop::collection::vec((-3_i64..12, 0_u8..16), 0..60),
        hold in 0_i64..12,
        no_data in prop::option::of(1_i64..15),
        clear in prop::option::of(2_u8..10),
    ) {
        let mut rule = rule("");
        rule.hold_ns = hold;
        rule.no_data_ns = no_data;
        rule.clear = clear.map(|c| crate::rule::Condition::parse(&format!("x < {c}")).unwrap());
        let params = Params::from(&rule);
        let mut time = 100;
        let samples: Vec<(i64, f64)> = steps
            .into_iter()
            .map(|(advance, value)| {
                time += advance;
                (time, f64::from(value))
            })
            .collect();
        let (mut slot, mut newest, mut changes) = (Slot::default(), NEVER, Vec::new());
        for (time, value) in &samples {
            let order = Order::of(*time, newest, i64::MAX);
            let sample = Sample { time: *time, value: *value, order };
            changes.extend(step(&params, &mut slot, newest, sample).into_iter().flatten());
            newest = newest.max(*time);
        }
        prop_assert_eq!(changes, naive(&params, &samples));
    }
}
