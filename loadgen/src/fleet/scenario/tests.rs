//! Scenarios that are known, and such that make no sense.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use super::*;

fn phase(text: &str) -> Result<Scenario, String> {
    Scenario::parse(&format!("[[phase]]\nname = 'p'\n{text}"))
}

#[test]
fn every_known_scenario_can_be_read_and_says_what_it_shows() {
    for (name, _) in BUILT_IN {
        let scenario = Scenario::read(name).unwrap();
        assert!(!scenario.about.is_empty(), "{name}");
        let course = scenario.course(1_000).unwrap();
        let end = course.schedule.due(course.rows()).unwrap();
        assert!(
            end <= scenario.length() && end + Duration::from_millis(100) > scenario.length(),
            "{name}: {end:?}"
        );
    }
}

#[test]
fn bursts_come_again_and_again_and_end_with_their_phase() {
    let scenario = phase("for = '25s'\nload = 0.5\nburst = { load = 4, every = '10s', for = '2s' }").unwrap();
    let course = scenario.course(100).unwrap();
    // 10 s, then 2 of 10 s twice; the last five seconds are the begin of the third stretch.
    assert_eq!(course.rows(), 50 * 10 + (400 * 2 + 50 * 8) + (400 * 2 + 50 * 3));
    let at = |seconds: f64| course.schedule.rows_until(seconds);
    assert_eq!((at(10.0), at(12.0), at(20.0), at(22.0)), (500.0, 1_300.0, 1_700.0, 2_500.0));
}

#[test]
fn a_share_of_the_batches_is_late_and_only_in_its_phase() {
    let text = "[[phase]]\nname = 'a'\nfor = '10s'\nload = 1\n\
                [[phase]]\nname = 'b'\nfor = '10s'\nload = 1\nlate = { share = 0.25, by = '1h' }";
    let course = Scenario::parse(text).unwrap().course(1_000).unwrap();
    let late = |rows: Range<u64>| rows.step_by(10).filter(|row| course.is_late(row / 10, *row)).count();
    assert_eq!((late(0..10_000), late(10_000..20_000)), (0, 250));
    assert_eq!(course.late_by, Duration::from_secs(3_600));
}

#[test]
fn newcomers_come_evenly_and_stay_for_later_phases() {
    let text = "[[phase]]\nname = 'a'\nfor = '10s'\nload = 1\nnewcomers = 5\n\
                [[phase]]\nname = 'b'\nfor = '10s'\nload = 1";
    let course = Scenario::parse(text).unwrap().course(100).unwrap();
    let come = [0, 500, 999, 1_000, 1_999].map(|row| course.newcomers_until(row));
    assert_eq!(come, [0, 25, 49, 50, 50]);
    assert_eq!(course.newcomers(), 50);
}

#[test]
fn all_connections_are_opened_anew_at_the_times_that_a_phase_says() {
    let text = "[[phase]]\nname = 'a'\nfor = '10s'\nload = 1\n\
                [[phase]]\nname = 'b'\nfor = '10s'\nload = 1\nreconnect = '4s'";
    let course = Scenario::parse(text).unwrap().course(100).unwrap();
    assert_eq!(course.reconnects, [14, 18].map(Duration::from_secs));
}

#[test]
fn what_makes_no_sense_is_refused_with_its_reason() {
    for (text, reason) in [
        ("for = '1s'", "missing field `load`"),
        ("for = '1 parsec'\nload = 1", "'1 parsec'"),
        ("for = '1s'\nload = 1\nlod = 2", "unknown field `lod`"),
        ("for = '0s'\nload = 1", "must last"),
        ("for = '40000000000y'\nload = 1", "must last"),
        ("for = '1s'\nload = -1", "from 0"),
        ("for = '9s'\nload = 1\nburst = { load = 2, every = '2s', for = '2s' }", "between two"),
        ("for = '9s'\nload = 1\nto = 2\nburst = { load = 2, every = '2s', for = '1s' }", "leave out 'to'"),
        ("for = '9s'\nload = 1\nlate = { share = 2, by = '1h' }", "at most 1"),
        ("for = '9s'\nload = 1\nlate = { share = 0.5, by = '8s' }", "older than the scenario"),
        ("for = '9s'\nload = 1\nreconnect = '0s'", "100ms at least"),
    ] {
        let error = phase(text).unwrap_err();
        assert!(error.contains(reason), "{text}: {error}");
    }
    assert!(Scenario::parse("about = 'x'").unwrap_err().contains("no [[phase]]"));
    assert!(Scenario::read("strom").unwrap_err().to_string().contains("reconnect-storm"));
    let fast = phase("for = '1s'\nload = 1").unwrap();
    assert!(fast.course(600_000).unwrap_err().to_string().contains("lower --rate"));
    assert!(fast.course(0).unwrap_err().to_string().contains("raise --rate"));
}
