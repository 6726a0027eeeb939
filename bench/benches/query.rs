//! Query: SQL over rows in memory, in files, and in both.
#![expect(clippy::expect_used, reason = "a benchmark fails by panicking")]

use std::cell::LazyCell;

use ::query::{ExternalTables, QueryService, Settings, Source};
use bench::Scale;
use bench::data::{DATABASE, Fleet, ROUNDS_PER_HOUR, START_NS, TABLE, device_name};
use bench::node::Node;
use criterion::{Criterion, SamplingMode, Throughput};
use futures::TryStreamExt;

/// Rounds, one a minute: with 1,000 devices a million rows of 16 hours and 40 minutes.
const ROUNDS: u32 = 1_000;

/// Flushes that the rows in files came by.
const FLUSHES: u32 = 4;

/// Lines of the bodies that fill the node.
const LINES_PER_BODY: usize = 5_000;

/// Where the rows are.
const LAYOUTS: [(&str, Layout); 3] =
    [("memory", Layout::Memory), ("files", Layout::Files), ("both", Layout::Both)];

#[derive(Debug, Clone, Copy)]
enum Layout {
    /// All in memory.
    Memory,
    /// All in files, each with a part of the time.
    Files,
    /// The older half in files, the younger in memory.
    Both,
}

/// An SQL text, and what it is about.
struct Question {
    name: &'static str,
    sql: String,
    /// Rows of the table that it has to look at.
    looks_at: u32,
    /// Rows of its answer.
    answers: u32,
}

pub(crate) fn run(criterion: &mut Criterion, scale: Scale) {
    let (fleet, rounds) = (crate::few_series(scale), scale.pick(ROUNDS, 200));
    for (name, layout) in LAYOUTS {
        let world = LazyCell::new(|| World::new(fleet, rounds, layout));
        let mut group = criterion.benchmark_group(format!("query/{name}"));
        group.sample_size(20).sampling_mode(SamplingMode::Flat);
        for question in questions(fleet, rounds) {
            group.throughput(Throughput::Elements(question.looks_at.into()));
            group.bench_function(question.name, |b| {
                b.iter(|| assert_eq!(world.rows(&question.sql), question.answers as usize));
            });
        }
        group.finish();
    }
}

fn questions(fleet: Fleet, rounds: u32) -> [Question; 4] {
    let rows = fleet.devices * rounds;
    let device = device_name(fleet.devices / 2);
    // An hour in the middle: with rows in both, it lies at the border.
    let hour = rounds / 2 / ROUNDS_PER_HOUR;
    let nanos = |hour: u32| START_NS + i64::from(hour) * 3_600_000_000_000;
    let (from, to) = (nanos(hour), nanos(hour + 1));
    [
        Question {
            name: "device_hour",
            sql: format!(
                "SELECT time, temp, humidity, occupied, co2 FROM {TABLE} WHERE device = '{device}' \
                 AND time >= to_timestamp_nanos({from}) AND time < to_timestamp_nanos({to}) ORDER BY time"
            ),
            looks_at: ROUNDS_PER_HOUR,
            answers: ROUNDS_PER_HOUR,
        },
        Question {
            name: "last_per_device",
            sql: format!("SELECT device, last_value(temp ORDER BY time) FROM {TABLE} GROUP BY device"),
            looks_at: rows,
            answers: fleet.devices,
        },
        Question {
            name: "average_per_hour",
            sql: format!(
                "SELECT date_bin(INTERVAL '1 hour', time) AS hour, building, avg(temp), avg(humidity) \
                 FROM {TABLE} GROUP BY hour, building ORDER BY hour, building"
            ),
            looks_at: rows,
            // The devices of either scale are in one building.
            answers: rounds.div_ceil(ROUNDS_PER_HOUR),
        },
        Question {
            name: "count",
            sql: format!("SELECT count(*) FROM {TABLE} HAVING count(*) = {rows}"),
            looks_at: rows,
            answers: 1,
        },
    ]
}

/// A node with its rows in place, and the service that queries it.
struct World {
    service: QueryService,
    node: Node,
}

impl World {
    fn new(fleet: Fleet, rounds: u32, layout: Layout) -> Self {
        let node = Node::start().expect("a node starts");
        let in_files = match layout {
            Layout::Memory => 0,
            Layout::Files => rounds,
            Layout::Both => rounds / 2,
        };
        for flush in 0..FLUSHES {
            let part = in_files * flush / FLUSHES..in_files * (flush + 1) / FLUSHES;
            node.write(&fleet.bodies(part, LINES_PER_BODY), 2).expect("the rows are written");
            node.flush().expect("the rows are flushed");
        }
        node.write(&fleet.bodies(in_files..rounds, LINES_PER_BODY), 2).expect("the rows are written");
        let (_, view) = node.table().expect("the table is there");
        assert_eq!(view.memory_rows(), (fleet.devices * (rounds - in_files)) as usize);
        assert_eq!(view.files.is_empty(), in_files == 0);

        let source = Source { engine: node.engine().clone(), external: ExternalTables::default() };
        let settings = Settings::new(node.folder().join("spill"));
        let service = QueryService::new(source, settings).expect("the query service starts");
        Self { service, node }
    }

    /// The number of rows of the answer, read to its end.
    fn rows(&self, sql: &str) -> usize {
        self.node.runtime().block_on(async {
            let result = self.service.query(Some(DATABASE), sql).await.expect("the query is planned");
            let counted = result.batches.try_fold(0, async |rows, batch| Ok(rows + batch.num_rows()));
            counted.await.expect("the query runs")
        })
    }
}
