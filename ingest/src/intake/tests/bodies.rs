//! Lines of a body are looked up together, read by the fields of the row before, and their new series made at once. None
//! of it may be seen: a body means what its lines mean one by one.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use proptest::prelude::*;

use super::{LineProblem, Node, Written};

const DAY_NS: i64 = 86_400_000_000_000;

#[derive(Debug, Clone)]
struct Part {
    series: String,
    fields: String,
    time: &'static str,
}

fn series() -> impl Strategy<Value = String> {
    let spelled = prop::sample::select(vec![
        "t",
        "t,a=1",
        "t,a=1,b=2",
        "t,b=2,a=1",
        "t,a=2",
        "t,c=x\\ y",
        "t,c=x\\,y,a=1",
        "u\\ v,a=1",
        "u,f=1",
        "t,time=1",
        "t,=1",
        "t,a=1,a=2",
        "",
    ]);
    // Mostly ones of which many follow each other in an order.
    prop_oneof![3 => (0_u32..40).prop_map(|n| format!("t,a={n}")), 2 => spelled.prop_map(str::to_owned)]
}

fn fields() -> impl Strategy<Value = String> {
    let value = prop::sample::select(vec![
        "1",
        "2.5",
        "-0",
        "3i",
        "-4i",
        "9007199254740993i",
        "5u",
        "t",
        "false",
        "\"x\"",
        "\"y z\"",
        "1e3",
        "NaN",
        "",
    ]);
    let name = prop::sample::select(vec!["f", "g", "h", "fg", "time", "a", "p\\ q"]);
    let any = prop::collection::vec((name, value), 0..4);
    let any = any.prop_map(|fields| {
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        fields.join(",")
    });
    let usual =
        prop::sample::select(vec!["f=1,g=2i,h=t", "f=2.5", "f=1i", "f=7,g=3i,h=f", "g=\"x\"", "f=1,"]);
    prop_oneof![2 => any, 3 => usual.prop_map(str::to_owned)]
}

fn part() -> impl Strategy<Value = Part> {
    let time =
        prop::sample::select(vec!["n", "n", "n", "n", "n", "expired", "ahead", "99999999999999999999", "x"]);
    (series(), fields(), time).prop_map(|(series, fields, time)| Part { series, fields, time })
}

/// The lines, each of its own time, that may be refused for it.
fn lines(parts: &[Part], now: i64) -> Vec<String> {
    let line = |(at, part): (i64, &Part)| {
        let Part { series, fields, time } = part;
        match *time {
            "n" => format!("{series} {fields} {}", now + at),
            "expired" => format!("{series} {fields} {}", now - 3 * DAY_NS + at),
            "ahead" => format!("{series} {fields} {}", now + 2 * DAY_NS + at),
            other => format!("{series} {fields} {other}"),
        }
    };
    (0..).zip(parts).map(line).collect()
}

fn refused(written: &Written, before: usize) -> Vec<(usize, LineProblem)> {
    let problem = |problem: &LineProblem| match problem {
        // The server's clock goes on.
        LineProblem::Time(_) => LineProblem::Time(String::new()),
        other => other.clone(),
    };
    written.rejected.iter().map(|line| (before + line.number, problem(&line.problem))).collect()
}

async fn compare(parts: &[Part], known: &[Part], now: i64) {
    let (together, alone) = (Node::keeping_a_day().await, Node::keeping_a_day().await);
    for part in known {
        for node in [&together, &alone] {
            node.write(&format!("{} {} {}", part.series, part.fields, now - 1)).await.unwrap();
        }
    }
    let lines = lines(parts, now);
    let written = together.write(&lines.join("\n")).await.unwrap();
    let mut told = Vec::new();
    let mut rows = 0;
    for (before, line) in lines.iter().enumerate() {
        let written = alone.write(line).await.unwrap();
        told.extend(refused(&written, before));
        rows += written.rows;
    }
    let refused = refused(&written, 0);
    for (one, other) in refused.iter().zip(&told) {
        assert_eq!(one, other, "{:?}", lines.get(one.0 - 1));
    }
    assert_eq!(refused.len(), told.len());
    assert_eq!(written.rows, rows);
    for table in ["t", "u", "u v"] {
        let schemas = [&together, &alone].map(|node| node.engine.catalog().table("db", table));
        assert_eq!(schemas[0].is_some(), schemas[1].is_some(), "{table}");
        let [Some(one), Some(other)] = schemas else { continue };
        assert_eq!(one.tags, other.tags, "{table}");
        let columns = [&together, &alone].map(|node| node.columns(table));
        assert_eq!(columns[0], columns[1], "{table}");
        let (one, other) = (together.rows(table), alone.rows(table));
        assert!(one.keys.iter().eq(other.keys.iter()), "{table}: {:?} {:?}", one.keys, other.keys);
        assert_eq!((&one.ends, &one.times), (&other.ends, &other.times), "{table}");
    }
}

impl Node {
    /// The columns of fields by their names; their order is that of their birth.
    fn columns(&self, table: &str) -> BTreeMap<String, Option<ArrayRef>> {
        let (schema, rows) = (self.schema(table), self.rows(table));
        let values =
            |id| rows.fields.iter().find(|field| field.column == id).map(|field| Arc::clone(&field.values));
        let physical =
            schema.fields.iter().flat_map(|field| [Some(&field.narrow), field.wide.as_ref()]).flatten();
        physical.map(|column| (column.stored_name.to_string(), values(column.id))).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_body_means_what_its_lines_mean_one_by_one(
        known in prop::collection::vec(part(), 0..60),
        parts in prop::collection::vec(part(), 1..200),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let now = storage::clock::now().nanos();
        runtime.block_on(compare(&parts, &known, now));
    }
}
