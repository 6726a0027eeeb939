//! Random writes, flushes and stagings answer as a map of points does.

use std::collections::BTreeMap;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use storage::model::FieldValue;

use super::lines::Line;
use super::world::World;

const TABLE: &str = "m";

/// Tags `x` and `y`, and time.
type Point = (Option<String>, Option<String>, i64);

/// Fields `f` (float), `n` (integer, later also float) and `s` (text).
#[derive(Debug, Clone, Default, PartialEq)]
struct Fields {
    f: Option<f64>,
    n: Option<f64>,
    s: Option<String>,
}

type Model = BTreeMap<Point, Fields>;

#[derive(Debug, Clone)]
enum Step {
    Write(Vec<(Point, Value)>),
    Flush,
    Stage,
}

#[derive(Debug, Clone)]
enum Value {
    F(i8),
    N(i8),
    /// A float in the integer field.
    Wide(i8),
    S(String),
    FAndN(i8, i8),
}

/// A condition on rows, in SQL and for the model.
#[derive(Debug, Clone)]
enum Condition {
    All,
    X(String),
    YIn(Vec<String>),
    YMissing,
    Times(i64, i64),
    F(i8),
    NAndTime(i8, i64),
    XOrTime(String, i64),
}

impl Condition {
    fn sql(&self) -> String {
        let time = |nanos: &i64| format!("to_timestamp_nanos({nanos})");
        match self {
            Self::All => "true".into(),
            Self::X(x) => format!("x = '{x}'"),
            Self::YIn(ys) => format!("y IN ('none', '{}')", ys.join("', '")),
            Self::YMissing => "y IS NULL".into(),
            Self::Times(from, to) => format!("time >= {} AND time < {}", time(from), time(to)),
            Self::F(least) => format!("f >= {least}"),
            Self::NAndTime(n, from) => format!("n = {n} AND time > {}", time(from)),
            Self::XOrTime(x, from) => format!("(x = '{x}' OR time > {})", time(from)),
        }
    }

    fn holds(&self, (x, y, time): &Point, fields: &Fields) -> bool {
        match self {
            Self::All => true,
            Self::X(wanted) => x.as_ref() == Some(wanted),
            Self::YIn(wanted) => y.as_ref().is_some_and(|y| wanted.contains(y)),
            Self::YMissing => y.is_none(),
            Self::Times(from, to) => from <= time && time < to,
            Self::F(least) => fields.f.is_some_and(|f| f >= f64::from(*least)),
            Self::NAndTime(n, from) => fields.n == Some(f64::from(*n)) && time > from,
            Self::XOrTime(wanted, from) => x.as_ref() == Some(wanted) || time > from,
        }
    }
}

fn time() -> impl Strategy<Value = i64> {
    // Few and close, so that points meet and bounds fall within a microsecond.
    prop_oneof![-2_001_i64..-1_995, 995_i64..1_005, 5_000_i64..5_003, 9_990_i64..10_010]
}

fn tag() -> impl Strategy<Value = String> {
    prop_oneof!["a", "b", "é", "B"]
}

/// A time of one of a few windows, each of which overlaps the next, as flushes of late devices do.
fn time_in(window: i64) -> impl Strategy<Value = i64> {
    (0_i64..15, -1_i64..2).prop_map(move |(step, jitter)| window * 1_000 + step * 100 + jitter)
}

fn points() -> impl Strategy<Value = Vec<(Point, Value)>> {
    let tags = || (proptest::option::of(tag()), proptest::option::of(tag()));
    let scattered = (tags(), time()).prop_map(|((x, y), time)| (x, y, time)).boxed();
    let windowed = move |window| (tags(), time_in(window)).prop_map(|((x, y), time)| (x, y, time)).boxed();
    let point = prop_oneof![1 => Just(None), 3 => (0_i64..6).prop_map(Some)];
    point.prop_flat_map(move |window| {
        let point = window.map_or_else(|| scattered.clone(), &windowed);
        proptest::collection::vec((point, value()), 1..12)
    })
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => any::<i8>().prop_map(Value::F),
        2 => (-3_i8..3).prop_map(Value::N),
        1 => (-3_i8..3).prop_map(Value::Wide),
        1 => "[a-c]{0,2}".prop_map(Value::S),
        2 => (any::<i8>(), -3_i8..3).prop_map(|(f, n)| Value::FAndN(f, n)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => points().prop_map(Step::Write),
        2 => Just(Step::Flush),
        1 => Just(Step::Stage),
    ]
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        Just(Condition::All),
        tag().prop_map(Condition::X),
        proptest::collection::vec(tag(), 1..3).prop_map(Condition::YIn),
        Just(Condition::YMissing),
        (time(), time()).prop_map(|(from, to)| Condition::Times(from, to)),
        any::<i8>().prop_map(Condition::F),
        ((-3_i8..3), time()).prop_map(|(n, from)| Condition::NAndTime(n, from)),
        (tag(), time()).prop_map(|(x, from)| Condition::XOrTime(x, from)),
    ]
}

fn line((x, y, time): &Point, value: &Value) -> Line {
    let tags = [("x", x), ("y", y)];
    let tags = tags.into_iter().filter_map(|(name, tag)| Some((name.to_owned(), tag.clone()?))).collect();
    let f = |v: i8| ("f".to_owned(), FieldValue::Float(v.into()));
    let n = |v: i8| ("n".to_owned(), FieldValue::Integer(v.into()));
    let fields = match value {
        Value::F(v) => vec![f(*v)],
        Value::N(v) => vec![n(*v)],
        Value::Wide(v) => vec![("n".to_owned(), FieldValue::Float(f64::from(*v) + 0.5))],
        Value::S(text) => vec![("s".to_owned(), FieldValue::Text(text.as_str().into()))],
        Value::FAndN(v, w) => vec![f(*v), n(*w)],
    };
    Line { table: TABLE.into(), tags, fields, time: *time }
}

fn apply(model: &mut Model, point: &Point, value: &Value) {
    let fields = model.entry(point.clone()).or_default();
    match value {
        Value::F(v) => fields.f = Some(f64::from(*v)),
        Value::N(v) => fields.n = Some(f64::from(*v)),
        Value::Wide(v) => fields.n = Some(f64::from(*v) + 0.5),
        Value::S(text) => fields.s = Some(text.clone()),
        Value::FAndN(v, w) => {
            fields.f = Some(f64::from(*v));
            fields.n = Some(f64::from(*w));
        }
    }
}

fn read(batches: &[RecordBatch]) -> Vec<(Point, Fields)> {
    let mut rows = Vec::new();
    for batch in batches {
        let text = |column: usize| cast(batch.column(column), &DataType::Utf8).unwrap();
        let (x, y, s) = (text(0), text(1), text(5));
        let float = |column: usize| cast(batch.column(column), &DataType::Float64).unwrap();
        let (f, n) = (float(3), float(4));
        let time = cast(batch.column(2), &DataType::Int64).unwrap();
        let at = |array: &arrow::array::ArrayRef, row: usize| {
            let array = array.as_string::<i32>();
            arrow::array::Array::is_valid(array, row).then(|| array.value(row).to_owned())
        };
        let number = |array: &arrow::array::ArrayRef, row: usize| {
            arrow::array::Array::is_valid(array, row).then(|| array.as_primitive::<Float64Type>().value(row))
        };
        for row in 0..batch.num_rows() {
            let point = (at(&x, row), at(&y, row), time.as_primitive::<Int64Type>().value(row));
            rows.push((point, Fields { f: number(&f, row), n: number(&n, row), s: at(&s, row) }));
        }
    }
    rows
}

async fn check(steps: Vec<Step>, conditions: Vec<Condition>) {
    let mut world = World::new().await;
    // All columns and tags are known from the start, `n` as an integer.
    world.write_text("m,x=z,y=z f=0,n=0i,s=\"\" 0");
    let mut model = Model::new();
    let zero = Fields { f: Some(0.0), n: Some(0.0), s: Some(String::new()) };
    model.insert((Some("z".into()), Some("z".into()), 0), zero);
    for step in &steps {
        match step {
            Step::Write(points) => {
                let lines: Vec<Line> = points.iter().map(|(point, value)| line(point, value)).collect();
                world.write(&lines);
                points.iter().for_each(|(point, value)| apply(&mut model, point, value));
            }
            Step::Flush => world.flush().await,
            Step::Stage => world.stage().await,
        }
        for condition in &conditions {
            let sql = format!("SELECT x, y, time, f, n, s FROM m WHERE {}", condition.sql());
            let mut actual = read(&world.query(&sql).await.unwrap());
            actual.sort_by(|a, b| a.0.cmp(&b.0));
            let expected: Vec<_> = model
                .iter()
                .filter(|(point, fields)| condition.holds(point, fields))
                .map(|(point, fields)| (point.clone(), fields.clone()))
                .collect();
            assert_eq!(actual, expected, "{sql}\nafter {steps:?}");
            let ordered = world.query(&format!("{sql} ORDER BY y NULLS FIRST, time DESC, x")).await.unwrap();
            let ordered = read(&ordered);
            let key = |(point, _): &(Point, Fields)| (point.1.clone(), std::cmp::Reverse(point.2));
            assert!(ordered.is_sorted_by_key(key), "{sql}\nafter {steps:?}");
            assert_eq!(ordered.len(), expected.len(), "{sql}\nafter {steps:?}");
            let count = format!("SELECT count(*) FROM m WHERE {}", condition.sql());
            let count = world.query(&count).await.unwrap();
            let count = count[0].column(0).as_primitive::<Int64Type>().value(0);
            assert_eq!(usize::try_from(count).unwrap(), expected.len(), "{}", condition.sql());
        }
    }
}

#[test]
fn random_writes_answer_as_a_map_of_points_does() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let config = Config { cases: 32, failure_persistence: None, ..Config::default() };
    let steps = proptest::collection::vec(step(), 1..12);
    let conditions = proptest::collection::vec(condition(), 2..4);
    TestRunner::new(config)
        .run(&(steps, conditions), |(steps, conditions)| {
            runtime.block_on(check(steps, conditions));
            Ok(())
        })
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_of_overlapping_files_are_merged_across_batches() {
    let mut world = World::new().await;
    // Every third point is written again, and every fifth once more, so runs fall on the bounds of batches.
    for (every, value) in [(1, 1.0), (3, 2.0), (5, 3.0)] {
        let point = |i: i64| (Some(format!("d{}", i % 7)), None, i / 7);
        let lines: Vec<Line> = (0..30_000)
            .filter(|i| i % every == 0)
            .map(|i| {
                let mut line = line(&point(i), &Value::F(0));
                line.fields = vec![("f".into(), FieldValue::Float(value))];
                line
            })
            .collect();
        world.write(&lines);
        world.flush().await;
    }
    assert_eq!(world.shape(TABLE), (3, 0));
    let rows = world.query("SELECT count(*), sum(f) FROM m").await.unwrap();
    let expected: f64 = (0..30_000)
        .map(|i| {
            if i % 5 == 0 {
                3.0
            } else if i % 3 == 0 {
                2.0
            } else {
                1.0
            }
        })
        .sum();
    assert_eq!(rows[0].column(0).as_primitive::<Int64Type>().value(0), 30_000);
    assert!((rows[0].column(1).as_primitive::<Float64Type>().value(0) - expected).abs() < 1e-6);
}
