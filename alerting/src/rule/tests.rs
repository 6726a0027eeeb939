//! Tests of rules as text.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use super::{Condition, Op, RuleId, RuleSpec, Severity};

const FULL: &str = r#"
name: stuffy
database: office
table: air
where: { room: "1.07" }
when: "CO2 > 1000"
for: 5m
clear: "CO2 < 900"
no_data: 30m
severity: critical
labels: { team: hvac }
annotations: { summary: open a window }
late: ignore
webhooks: [ops, "https://example.org/hook"]
enabled: true
"#;

#[test]
fn a_full_rule_reads_alike_from_yaml_and_json() {
    let spec = RuleSpec::from_yaml(FULL).unwrap();
    let rule = spec.validate().unwrap();
    assert_eq!(rule.hold_ns, 300_000_000_000);
    assert_eq!(rule.no_data_ns, Some(1_800_000_000_000));
    assert_eq!(rule.severity, Severity::Critical);
    assert_eq!(rule.when.to_string(), "CO2 > 1000");
    let json = serde_json::to_vec(&spec).unwrap();
    assert_eq!(RuleSpec::from_json(&json).unwrap(), spec);
    assert_eq!(rule.id, RuleId::of("stuffy"));
    assert_ne!(rule.id, RuleId::of("Stuffy"));
}

#[test]
fn a_file_of_rules_is_a_list_or_has_one_under_rules() {
    let one = "{name: a, database: d, table: t, when: x > 1}";
    for text in [format!("# c\n- {one}\n- {one}\n"), format!("---\nrules:\n- {one}\n- {one}\n")] {
        assert_eq!(RuleSpec::list_from_yaml(&text).unwrap().len(), 2, "{text}");
    }
    assert!(RuleSpec::list_from_yaml("rule: []").is_err());
}

#[test]
fn all_faults_are_reported_at_once_with_their_places() {
    let text = r#"{name: " ", database: _d, table: busbar_t, where: {a: ""}, when: "x >", for: 5 parsecs,
        clear: "x ~ 1", no_data: 0s, severity: bad, late: maybe, webhooks: [a, a]}"#;
    let faults = RuleSpec::from_yaml(text).unwrap().validate().unwrap_err();
    let pointers: Vec<&str> = faults.0.iter().map(|f| f.pointer.as_str()).collect();
    let expected = [
        "/name",
        "/database",
        "/table",
        "/where",
        "/webhooks/1",
        "/when",
        "/clear",
        "/for",
        "/no_data",
        "/severity",
        "/late",
    ];
    assert_eq!(pointers, expected, "{faults}");
}

#[test]
fn an_unknown_key_is_refused_by_name() {
    let faults = RuleSpec::from_yaml("{name: a, database: d, table: t, when: x > 1, form: 5m}").unwrap_err();
    assert!(faults.to_string().contains("form"), "{faults}");
    assert!(
        RuleSpec::from_json(br#"{"name":"a","database":"d","table":"t","when":"x > 1","form":1}"#).is_err()
    );
}

#[test]
fn conditions_are_read_with_any_spelling_of_the_field() {
    for (text, field, op, constant) in [
        ("CO2>1000", "CO2", Op::Greater, 1000.0),
        ("  t.in >= -4.5e1 ", "t.in", Op::GreaterOrEqual, -45.0),
        ("\"a b\\\"c\"<=0", "a b\"c", Op::LessOrEqual, 0.0),
        ("°C < 3", "°C", Op::Less, 3.0),
        ("open == true", "open", Op::Equal, 1.0),
        ("open != false", "open", Op::NotEqual, 0.0),
    ] {
        let condition = Condition::parse(text).unwrap();
        assert_eq!((&*condition.field, condition.op, condition.constant), (field, op, constant), "{text}");
    }
    for bad in
        ["", "x", "> 1", "x 1", "x = 1", "x > ", "x > NaN", "x > inf", "x > 1 2", "\"x > 1", "\"\" > 1"]
    {
        assert!(Condition::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_clear_that_meets_when_is_refused() {
    let check = |when: &str, clear: &str| {
        let mut spec = RuleSpec::from_yaml("{name: a, database: d, table: t, when: x > 1}").unwrap();
        spec.when = when.into();
        spec.clear = Some(clear.into());
        spec.validate()
    };
    for (when, clear) in
        [("x > 10", "x < 9"), ("x > 10", "x <= 10"), ("x == 1", "x != 1"), ("x < 3", "x >= 3")]
    {
        assert!(check(when, clear).is_ok(), "{when} / {clear}");
    }
    for (when, clear) in [
        ("x > 10", "x < 11"),
        ("x >= 10", "x <= 10"),
        ("x > 1", "y < 0"),
        ("x != 1", "x < 5"),
        ("x > 1", "x > 5"),
    ] {
        assert!(check(when, clear).is_err(), "{when} / {clear}");
    }
}

#[test]
fn late_evaluation_and_for_exclude_each_other() {
    let text = "{name: a, database: d, table: t, when: x > 1, for: 1s, late: evaluate}";
    let faults = RuleSpec::from_yaml(text).unwrap().validate().unwrap_err();
    assert_eq!(faults.0[0].pointer, "/late");
}
