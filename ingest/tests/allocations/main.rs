//! Rows take no memory of their own on their way from a body to an acknowledgement: parsed, looked up, logged, synced and
//! visible, in a server that has seen their series before. A program of its own, because what others allocate counts too.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::System;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use ingest::intake::{Intake, LinesRequest, Mode, Protocol};
use ingest::line_protocol::Precision;
use ingest::ring::Ring;
use ingest::writer::Writer;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use storage::engine::{Engine, EngineConfig};
use storage::model::DatabaseName;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SERIES: usize = 500;
const BODIES: usize = 8;

/// Rows of a body, each `step` series behind the one before.
fn body(rows: usize, begins: i64, step: usize) -> String {
    let mut body = String::new();
    for row in 0..rows {
        let device = row * step % SERIES;
        let time = begins + i64::try_from(row).unwrap();
        writeln!(
            body,
            "probe,building=b{},room=r{},device=d{device} temperature=21.{},humidity={}i,ok={},power=-0.25 {time}",
            device / 100,
            device / 10,
            row % 90,
            row % 50,
            row % 3 == 0,
        )
        .unwrap();
    }
    body
}

/// Allocations and reallocations while the bodies are written.
async fn written(intake: &Intake, bodies: Vec<String>) -> usize {
    let requests: Vec<_> = bodies
        .into_iter()
        .map(|body| LinesRequest {
            database: DatabaseName::new("db").unwrap(),
            body: body.into(),
            precision: Precision::Nanosecond,
            mode: Mode::Partial,
            protocol: Protocol::V1,
        })
        .collect();
    let region = Region::new(ALLOCATOR);
    for request in requests {
        let written = intake.write_lines(request).await.unwrap();
        assert_eq!((written.rows, written.rejected.len()), (written.lines, 0));
    }
    let change = region.change();
    change.allocations + change.reallocations
}

#[tokio::test]
async fn a_row_of_a_known_series_takes_no_allocation() {
    let folder = tempfile::tempdir().unwrap();
    let config = EngineConfig {
        segment_bytes: 64 << 20,
        flush_age: Duration::from_secs(86_400),
        ..EngineConfig::new(folder.path())
    };
    let (engine, committer) = Engine::open(config).await.unwrap();
    let ring = Arc::new(Ring::default());
    let writer = Writer::start(committer, Arc::clone(&ring), Arc::default()).unwrap();
    let intake = Intake::new(engine.clone(), ring, true);

    for (name, step) in [("in their order", 1), ("in another order", 7_919)] {
        let mut begins = 1_767_225_600_000_000_000;
        let mut bodies = |rows: usize| {
            let bodies = (0..BODIES).map(|_| {
                begins += 1_000_000;
                body(rows, begins, step)
            });
            bodies.collect::<Vec<_>>()
        };
        // All series come to be known, and whatever grows has grown.
        written(&intake, bodies(4_000)).await;
        let (some, more) = (written(&intake, bodies(1_000)).await, written(&intake, bodies(4_000)).await);
        // Columns double twice on the way from 1,000 rows to 4,000: that is of a body and not of its rows.
        let (rows, grown) = (3_000 * BODIES, more.saturating_sub(some));
        assert!(grown < rows / 200, "{grown} allocations for {rows} rows {name}: {some}, {more}");
        let of_body = some / BODIES;
        assert!(of_body < 200, "{of_body} allocations for a body {name}");
    }
    writer.stop();
    engine.close().await.unwrap();
}
