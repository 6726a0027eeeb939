//! Mappings, their errors, and the rows they make of payloads.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use serde_json::{Value, json};

use storage::model::FieldValue::{self, Boolean, Float, Integer, Text};

use super::{DecodeError, Mapping, MappingError, Route, Router};
use crate::row::Row;

/// Messages that were really sent, with where they were published.
const MESSAGES: &str = include_str!("../../../testdata/mqtt_messages.jsonl");

fn mapping(json: Value) -> Mapping {
    serde_json::from_value(json).unwrap()
}

fn decode(mapping: Mapping, topic: &str, payload: &str) -> Result<Vec<Row>, DecodeError> {
    let router = Router::new(&[mapping]).unwrap();
    match router.route(topic) {
        Some(Route::Json(route)) => route.rows(payload.as_bytes()),
        other => panic!("{topic} is {other:?}"),
    }
}

/// The row of the recorded message whose topic this is; `nth` among those.
fn recorded(rules: Value, topic: &str) -> Row {
    let message = MESSAGES
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|message| message["topic"] == topic)
        .expect(topic);
    let mut rows = decode(mapping(rules), topic, message["payload"].as_str().unwrap()).unwrap();
    assert_eq!(rows.len(), 1);
    let mut row = rows.remove(0);
    row.fields.sort_by(|left, right| left.0.cmp(&right.0));
    row
}

fn fields(pairs: &[(&str, FieldValue)]) -> Vec<(String, FieldValue)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn tags(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn zigbee() -> Value {
    json!({
        "topic": "zigbee2mqtt/{device}", "database": "home", "table": "zigbee",
        "tags": {"device": "{device}"}, "fields": "*", "time": "$.last_seen",
    })
}

#[test]
fn a_flat_message_becomes_one_row() {
    let row = recorded(zigbee(), "zigbee2mqtt/Temperatur Wohnung");
    assert_eq!((row.database.as_str(), row.table.as_str()), ("home", "zigbee"));
    assert_eq!(row.tags, tags(&[("device", "Temperatur Wohnung")]));
    assert_eq!(
        row.fields,
        fields(&[
            ("battery", Float(97.0)),
            ("humidity", Float(45.07)),
            ("linkquality", Float(224.0)),
            ("power_outage_count", Float(805.0)),
            ("pressure", Float(997.2)),
            ("temperature", Float(21.58)),
            ("voltage", Float(2995.0)),
        ])
    );
    assert_eq!(row.time, None);
}

#[test]
fn nulls_and_texts_are_left_out_and_nested_objects_are_flattened() {
    let row = recorded(zigbee(), "zigbee2mqtt/Tradfri");
    let expected = [
        ("battery", Float(100.0)),
        ("linkquality", Float(216.0)),
        ("update.installed_version", Float(33_816_598.0)),
        ("update.latest_version", Float(33_816_598.0)),
    ];
    assert_eq!(row.fields, fields(&expected));
    let mut rules = zigbee();
    rules["deny"] = json!(["update.*"]);
    rules["strings"] = json!(["update.*"]);
    assert_eq!(recorded(rules.clone(), "zigbee2mqtt/Tradfri").fields, fields(&expected[..2]));
    rules["deny"] = json!(["battery"]);
    rules["allow"] = json!(["update.state", "battery"]);
    assert_eq!(
        recorded(rules, "zigbee2mqtt/Tradfri").fields,
        fields(&[("update.state", Text("idle".into()))])
    );
}

#[test]
fn numbers_and_switches_that_came_as_text_are_read_when_the_type_says_so() {
    let listed = |fields: Value| json!({"topic": "zigbee2mqtt/{d}", "database": "home", "table": "{d}", "fields": fields});
    let row = recorded(
        listed(
            json!({"battery": {"path": "$.battery", "type": "integer"}, "volts": {"path": "$.voltage", "type": "float"}}),
        ),
        "zigbee2mqtt/WeatherGuestRoom",
    );
    assert_eq!(row.table, "WeatherGuestRoom");
    assert_eq!(row.fields, fields(&[("battery", Integer(37)), ("volts", Float(2975.0))]));
    let row = recorded(
        listed(
            json!({"left": {"path": "$.state_left", "type": "boolean"}, "text": "$.state_right", "none": "$.nothing"}),
        ),
        "zigbee2mqtt/QBKG12LM",
    );
    assert_eq!(row.fields, fields(&[("left", Boolean(false)), ("text", Text("OFF".into()))]));
}

#[test]
fn a_time_with_a_zone_is_taken() {
    let row = recorded(zigbee(), "zigbee2mqtt/QBKG12LM");
    assert_eq!(row.time.unwrap().to_string(), "2020-02-26T19:44:09Z");
}

#[test]
fn a_local_time_without_a_zone_is_not_guessed() {
    let rules = json!({
        "topic": "tele/{device}/SENSOR", "database": "home", "table": "tasmota", "time": "$.Time",
        "tags": {"device": "{device}", "unit": "$.TempUnit", "none": "$.Nothing"}, "fields": "*",
    });
    let row = recorded(rules, "tele/tasmota_C59B5E/SENSOR");
    assert_eq!(row.time, None);
    assert_eq!(row.tags, tags(&[("device", "tasmota_C59B5E"), ("unit", "C")]));
    assert_eq!(row.fields[0], ("ANALOG.CTEnergy.Current".into(), Float(8.992)));
    assert_eq!(row.fields.len(), 7);
}

#[test]
fn a_wrapped_message_is_unwrapped_by_its_root() {
    let rules = json!({
        "topic": "stat/{device}/STATUS10", "database": "home", "table": "tasmota", "root": "$.StatusSNS.DHT11",
        "fields": "*",
    });
    let row = recorded(rules, "stat/tasmota_C59B5E/STATUS10");
    assert_eq!(
        row.fields,
        fields(&[("DewPoint", Float(7.5)), ("Humidity", Float(37.0)), ("Temperature", Float(23.0))])
    );
}

#[test]
fn fractional_seconds_are_a_time() {
    let rules = json!({
        "topic": "{device}/events/rpc", "database": "home", "table": "shelly", "time": "$.params.ts",
        "tags": {"device": "$.src"}, "fields": {"power": "$.params.switch:0.apower", "amps": "$.params['switch:0'].current"},
    });
    let row = recorded(rules, "shelly1pmminig3-5432044edbc0/events/rpc");
    assert_eq!(row.time.unwrap().nanos(), 1_788_945_292_880_000_000);
    assert_eq!(row.tags, tags(&[("device", "shelly1pmminig3-5432044edbc0")]));
    assert_eq!(row.fields, fields(&[("amps", Float(0.071)), ("power", Float(11.5))]));
}

#[test]
fn truth_values_are_taken_and_arrays_are_not() {
    let rules = json!({
        "topic": "{device}/status/{part}", "database": "home", "table": "shelly", "fields": "*", "deny": ["id"],
        "tags": {"part": "{device}/{part}"}, "time": "$.aenergy.minute_ts",
    });
    let row = recorded(rules, "shellyplus1pm-a8032abe2f18/status/switch:0");
    assert_eq!(
        row.fields,
        fields(&[
            ("aenergy.minute_ts", Float(1_632_666_538.0)),
            ("aenergy.total", Float(0.0)),
            ("apower", Float(0.0)),
            ("output", Boolean(false)),
            ("temperature.tC", Float(46.2)),
            ("temperature.tF", Float(115.1)),
            ("voltage", Float(240.873)),
        ])
    );
    assert_eq!(row.tags, tags(&[("part", "shellyplus1pm-a8032abe2f18/switch:0")]));
    assert_eq!(row.time.unwrap().nanos(), 1_632_666_538_000_000_000);
}

fn simple(fields: Value) -> Mapping {
    mapping(json!({"topic": "t", "database": "d", "table": "t", "fields": fields, "time": "$.t"}))
}

#[test]
fn an_array_of_objects_is_many_rows() {
    let rows = decode(simple(json!("*")), "t", r#"[{"a":1,"t":1700000000},{"a":2}]"#).unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].time.unwrap().nanos(), 1_700_000_000_000_000_000);
    assert_eq!(rows[1].time, None);
}

#[test]
fn bad_payloads_are_refused_with_a_reason() {
    let check = |fields: Value, payload: &str, expected: &str| {
        let error = decode(simple(fields), "t", payload).expect_err(payload).to_string();
        assert!(error.contains(expected), "{payload}: {error}");
    };
    check(json!("*"), "", "no JSON");
    check(json!("*"), "{\"a\":1", "no JSON");
    check(json!("*"), "\u{1}\u{2}", "no JSON");
    check(json!("*"), &format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000)), "no JSON");
    check(json!("*"), "76.2", "no JSON object");
    check(json!("*"), "[]", "no JSON object");
    check(json!("*"), "[{\"a\":1},2]", "no JSON object");
    check(json!("*"), "{}", "no field");
    check(json!("*"), "{\"a\":\"x\",\"b\":null,\"c\":[1]}", "no field");
    let many: Vec<String> = (0..501).map(|n| format!("\"f{n}\":1")).collect();
    check(json!("*"), &format!("{{{}}}", many.join(",")), "makes 501 fields");
    for (kind, value) in [
        ("integer", "1.5"),
        ("integer", "1e300"),
        ("integer", "\"x\""),
        ("float", "\"NaN\""),
        ("float", "\"inf\""),
        ("float", "true"),
        ("boolean", "2"),
        ("boolean", "\"open\""),
        ("string", "[1]"),
    ] {
        let payload = format!("{{\"a\":{value}}}");
        check(json!({"a": {"path": "$.a", "type": kind}}), &payload, "the field 'a' is no ");
    }
    check(json!({"a": "$.a"}), "{\"a\":{}}", "the field 'a' is no ");
}

#[test]
fn times_go_by_their_size_and_form() {
    let at = |time: &str| {
        let payload = format!("{{\"a\":1,\"t\":{time}}}");
        decode(simple(json!({"a": "$.a"})), "t", &payload).unwrap()[0].time.map(|time| time.nanos())
    };
    let second = 1_700_000_000_000_000_000;
    for text in [
        "1700000000",
        "1700000000000",
        "1700000000000000",
        "1700000000000000000",
        "\"1700000000\"",
        "1.7e9",
        "1700000000.0",
        "1700000000000.0",
        "\"2023-11-14T22:13:20Z\"",
        "\"2023-11-14T23:13:20+01:00\"",
        "\"2023-11-14T23:13:20.000+0100\"",
        "\"2023-11-14 22:13:20Z\"",
    ] {
        assert_eq!(at(text), Some(second), "{text}");
    }
    assert_eq!(at("1700000000.123456"), Some(second + 123_456_000));
    assert_eq!(at("\"2023-11-14T22:13:20.123456789Z\""), Some(second + 123_456_789));
    for text in ["\"2023-11-14T22:13:20\"", "\"\"", "\"x\"", "\"NaN\"", "1e300", "true", "{}", "null"] {
        assert_eq!(at(text), None, "{text}");
    }
}

#[test]
fn mistakes_in_mappings_are_named() {
    let check = |change: fn(&mut Value), expected: &str| {
        let mut rules = zigbee();
        change(&mut rules);
        let error = Router::new(&[mapping(rules)]).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(|m| m["topic"] = json!("a#"), "'+' and '#' must fill a level");
    check(|m| m["table"] = json!("{other}"), "'{other}' names something that the topic does not capture");
    check(|m| m["database"] = json!("a}"), "'a}' names something");
    check(|m| m["tags"] = json!({"x": "$..x"}), "'$..x' is no JSON path");
    check(|m| m["fields"] = json!("all"), "fields must be \"*\"");
    check(|m| m["fields"] = json!({}), "fields must be \"*\"");
    check(|m| m["fields"] = json!({"a": "a"}), "'a' is no JSON path");
    check(|m| m["time"] = json!("ts"), "'ts' is no JSON path");
    let unknown = json!({"topic": "t", "database": "d", "table": "t", "fields": "*", "filds": 1});
    assert!(serde_json::from_value::<Mapping>(unknown).unwrap_err().to_string().contains("filds"));
    let typed =
        json!({"topic": "t", "database": "d", "table": "t", "fields": {"a": {"path": "$.a", "type": "int"}}});
    assert!(serde_json::from_value::<Mapping>(typed).is_err());
    let many = vec![mapping(zigbee()); 1_001];
    assert_eq!(Router::new(&many).unwrap_err(), MappingError::TooMany(1_001));
}

#[test]
fn the_first_mapping_that_fits_is_used() {
    let mut second = zigbee();
    second["topic"] = json!("#");
    second["tags"] = json!({});
    second["table"] = json!("rest");
    let router = Router::new(&[mapping(zigbee()), mapping(second)]).unwrap();
    let table = |topic: &str| match router.route(topic) {
        Some(Route::Json(route)) => route.rows(b"{\"a\":1}").unwrap()[0].table.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(table("zigbee2mqtt/x"), "zigbee");
    assert_eq!(table("zigbee2mqtt/x/y"), "rest");
    assert!(matches!(router.route("busbar/db1/lp"), Some(Route::LineProtocol { database: "db1" })));
    assert!(Router::new(&[]).unwrap().route("x").is_none());
}
