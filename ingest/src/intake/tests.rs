//! Tests of the way from a line to an acknowledgement, over a real engine on a real disk.

mod bodies;
mod quarantine;
mod shared;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int64Type, UInt64Type};
use parking_lot::Mutex;
use storage::disk::{ObservedDisk, Operation};
use storage::engine::{Engine, EngineConfig};
use storage::memtable::{OrderedRows, RowFilter};
use storage::model::{
    DatabaseName, FieldType, FieldValue, Retention, TableSchema, TagTest, TimeRange, Timestamp,
};
use storage::rows::SortedRows;
use storage::view::{MemtableGroup, Snapshot};

use super::{DeleteRequest, Intake, LineProblem, LinesRequest, Mode, Protocol, WriteError, Written};
use crate::line_protocol::{LineError, Precision};
use crate::ring::Ring;
use crate::row::Row;
use crate::writer::Writer;

struct Node {
    intake: Intake,
    engine: Engine,
    writer: Option<Writer>,
    _folder: Option<tempfile::TempDir>,
}

impl Node {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut node = Self::open(config(folder.path())).await;
        node._folder = Some(folder);
        node
    }

    async fn keeping_a_day() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let retention = Retention::of(Duration::from_secs(86_400)).unwrap();
        let mut node = Self::open(EngineConfig { retention, ..config(folder.path()) }).await;
        node._folder = Some(folder);
        node
    }

    async fn open(config: EngineConfig) -> Self {
        let (engine, committer) = Engine::open(config).await.unwrap();
        let ring = Arc::new(Ring::default());
        let writer = Writer::start(committer, Arc::clone(&ring), Arc::default()).unwrap();
        Self { intake: Intake::new(engine.clone(), ring, true), engine, writer: Some(writer), _folder: None }
    }

    async fn write(&self, body: &str) -> Result<Written, WriteError> {
        self.intake.write_lines(request(body, Mode::Partial)).await
    }

    fn schema(&self, table: &str) -> Arc<TableSchema> {
        self.engine.catalog().table("db", table).unwrap()
    }

    fn rows(&self, table: &str) -> SortedRows {
        self.rows_in(&self.engine.snapshot(), table)
    }

    /// The number of rows that are not deleted.
    fn visible(&self, table: &str) -> usize {
        let (schema, snapshot) = (self.schema(table), self.engine.snapshot());
        let groups = snapshot.table(schema.id).unwrap().memtable_groups();
        let ordered =
            |group: &MemtableGroup<'_>| group.ordered(&schema, self.engine.series(), RowFilter::ALL).unwrap();
        groups.iter().map(|group| ordered(group).rows().rows()).sum()
    }

    fn rows_in(&self, snapshot: &Snapshot, table: &str) -> SortedRows {
        let schema = self.schema(table);
        let view = snapshot.table(schema.id).cloned().unwrap_or_default();
        let ordered = OrderedRows::of(view.memtables(), self.engine.series(), RowFilter::ALL).unwrap();
        ordered.into_rows(&schema).unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.stop();
        }
    }
}

fn config(folder: &Path) -> EngineConfig {
    EngineConfig { segment_bytes: 1 << 20, ..EngineConfig::new(folder) }
}

fn request(body: &str, mode: Mode) -> LinesRequest {
    LinesRequest {
        database: DatabaseName::new("db").unwrap(),
        body: body.to_owned().into(),
        precision: Precision::Nanosecond,
        mode,
        protocol: Protocol::V1,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_acknowledgement_and_the_visibility_come_after_the_sync_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let armed = Arc::new(AtomicBool::new(false));
    let (reached, in_sync) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let (released, held) = (Mutex::new(released), Arc::clone(&armed));
    let disk = ObservedDisk::new(Arc::new(move |operation, path| {
        if operation == Operation::Sync && is_segment(path) && held.swap(false, Ordering::SeqCst) {
            reached.send(()).unwrap();
            released.lock().recv().unwrap();
        }
        Ok(())
    }));
    let node = Node::open(EngineConfig { disk: Arc::new(disk), ..config(folder.path()) }).await;
    node.write("cpu,host=a v=1 1").await.unwrap();
    armed.store(true, Ordering::SeqCst);
    let intake = node.intake.clone();
    let writing =
        tokio::spawn(async move { intake.write_lines(request("cpu,host=a v=2 2", Mode::Partial)).await });
    tokio::task::spawn_blocking(move || in_sync.recv().unwrap()).await.unwrap();
    assert!(!writing.is_finished(), "acknowledged before the sync");
    assert_eq!(node.rows("cpu").rows(), 1, "visible before the sync");
    release.send(()).unwrap();
    assert_eq!(writing.await.unwrap().unwrap().rows, 1);
    assert_eq!(node.rows("cpu").rows(), 2, "the next query sees what was acknowledged");
}

#[tokio::test]
async fn a_failed_sync_is_not_acknowledged_and_stops_all_writes() {
    let folder = tempfile::tempdir().unwrap();
    let failing = Arc::new(AtomicBool::new(false));
    let fails = Arc::clone(&failing);
    let disk = ObservedDisk::new(Arc::new(move |operation, path| {
        if operation == Operation::Sync && is_segment(path) && fails.load(Ordering::SeqCst) {
            return Err(storage::Error::Internal("no disk".into()));
        }
        Ok(())
    }));
    let node = Node::open(EngineConfig { disk: Arc::new(disk), ..config(folder.path()) }).await;
    node.write("cpu v=1 1").await.unwrap();
    failing.store(true, Ordering::SeqCst);
    assert!(matches!(node.write("cpu v=2 2").await, Err(WriteError::Unavailable { .. })));
    failing.store(false, Ordering::SeqCst);
    assert!(matches!(node.write("cpu v=3 3").await, Err(WriteError::Unavailable { .. })), "LOG-4");
    assert_eq!(node.rows("cpu").rows(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_tables_of_one_body_appear_together() {
    let node = Arc::new(Node::start().await);
    let body = |round: usize| (0..20).map(|t| format!("t{t} v={round} {round}\n")).collect::<String>();
    node.write(&body(0)).await.unwrap();
    let writer = Arc::clone(&node);
    let writing = tokio::spawn(async move {
        for round in 1..=100 {
            writer.write(&body(round)).await.unwrap();
        }
    });
    let mut seen = 0;
    while !writing.is_finished() {
        let snapshot = node.engine.snapshot();
        let counts: Vec<_> = (0..20).map(|t| node.rows_in(&snapshot, &format!("t{t}")).rows()).collect();
        assert!(counts.iter().all(|c| *c == counts[0]), "a body is visible in part: {counts:?}");
        seen = seen.max(counts[0]);
        tokio::task::yield_now().await;
    }
    writing.await.unwrap();
    assert_eq!(node.rows("t19").rows(), 101);
    assert!(seen > 0);
}

#[tokio::test]
async fn a_bad_line_costs_only_itself_and_leaves_nothing_behind() {
    let node = Node::start().await;
    let body = "good,a=1 v=1 1\n\
                good,b=2 w=\n\
                new,c=3 x=1i,x=2i 1\n\
                good,a=1 v=true,z=1 2\n\
                # a comment\n\
                good,a=1,busbar_x=1 v=3 3\n\
                good,a=1 a=1 4\n\
                good,a=2 v=4,fresh=\"text\" 4\n";
    let written = node.write(body).await.unwrap();
    assert_eq!((written.rows, written.lines), (2, 7));
    let numbers: Vec<_> = written.rejected.iter().map(|r| r.number).collect();
    assert_eq!(numbers, [2, 3, 4, 6, 7]);
    assert!(matches!(written.rejected[0].problem, LineProblem::Parse(_)));
    assert_eq!(written.rejected[1].problem, LineProblem::Parse(LineError::DuplicateField("x".into())));
    let conflict = LineProblem::TypeConflict {
        table: "good".into(),
        field: "v".into(),
        is: FieldType::Boolean,
        exists: FieldType::Float,
    };
    assert_eq!(written.rejected[2].problem, conflict);
    let schema = node.schema("good");
    assert_eq!(schema.tags.iter().map(|t| &*t.name).collect::<Vec<_>>(), ["a"]);
    assert_eq!(schema.fields.iter().map(|f| &*f.name).collect::<Vec<_>>(), ["v", "fresh"]);
    assert!(node.engine.catalog().table("db", "new").is_none());
}

#[tokio::test]
async fn all_or_nothing_writes_and_defines_nothing_when_a_line_is_bad() {
    let node = Node::start().await;
    let request = request("a v=1 1\nb v= 1", Mode::AllOrNothing);
    let Err(WriteError::Rejected(rejected)) = node.intake.write_lines(request).await else { panic!() };
    assert_eq!(rejected.len(), 1);
    assert!(node.engine.catalog().databases().is_empty());
}

#[tokio::test]
async fn numbers_are_widened_when_that_is_exact_and_refused_when_it_is_not() {
    let node = Node::start().await;
    let write = |line: &'static str| {
        let node = &node;
        async move { node.write(line).await.unwrap().rejected.is_empty() }
    };
    for (line, accepted) in [
        ("t f=0.5 1", true),
        ("t f=3i 2", true),
        ("t f=9007199254740993i 3", false),
        ("t f=7u 4", true),
        ("t i=9007199254740993i 1", true),
        ("t i=4u 2", true),
        ("t i=18446744073709551615u 3", false),
        ("t i=2.5 4", true),
        ("t i=9007199254740993i 5", false),
        ("t u=18446744073709551615u 1", true),
        ("t u=5i 2", true),
        ("t u=-5i 3", true),
        ("t u=true 4", false),
        ("t u=\"text\" 4", false),
    ] {
        assert_eq!(write(line).await, accepted, "{line}");
    }
    let (schema, rows) = (node.schema("t"), node.rows("t"));
    let field = |name: &str| &schema.fields[schema.field(name).unwrap()];
    let column = |id| rows.fields.iter().find(|f| f.column == id).unwrap().values.clone();
    assert!(field("f").wide.is_none());
    let f = column(field("f").narrow.id);
    assert_eq!(f.as_primitive::<Float64Type>().iter().flatten().collect::<Vec<_>>(), [0.5, 3.0, 7.0]);
    let i = column(field("i").narrow.id);
    assert_eq!(
        i.as_primitive::<Int64Type>().iter().flatten().collect::<Vec<_>>(),
        [9_007_199_254_740_993, 4]
    );
    let wide = column(field("i").wide.as_ref().unwrap().id);
    assert_eq!(wide.as_primitive::<Float64Type>().iter().flatten().collect::<Vec<_>>(), [2.5]);
    let u = column(field("u").narrow.id);
    assert_eq!(u.as_primitive::<UInt64Type>().iter().flatten().collect::<Vec<_>>(), [u64::MAX, 5]);
    let wide = column(field("u").wide.as_ref().unwrap().id);
    assert_eq!(wide.as_primitive::<Float64Type>().iter().flatten().collect::<Vec<_>>(), [-5.0]);
    assert!(wide.null_count() > 0);
}

#[tokio::test]
async fn a_field_called_time_is_stripped_and_told() {
    let node = Node::start().await;
    let written = node.write("t v=1,time=5i 1\nt time=5i 2\nt,time=x v=1 3").await.unwrap();
    assert_eq!((written.rows, written.rejected.len()), (1, 3));
    assert_eq!(written.rejected[0].problem, LineProblem::TimeField { table: "t".into(), dropped: false });
    assert_eq!(written.rejected[1].problem, LineProblem::TimeField { table: "t".into(), dropped: true });
    assert_eq!(written.rejected[2].problem, LineProblem::TimeTag { table: "t".into() });
    assert_eq!(node.schema("t").fields.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sources_that_add_columns_at_once_lose_nothing() {
    let node = Arc::new(Node::start().await);
    let mut tasks = Vec::new();
    for source in 0..4 {
        let node = Arc::clone(&node);
        tasks.push(tokio::spawn(async move {
            for round in 0..40 {
                let line = format!("t,tag{source}=x,shared={round} f{round}=1,own{source}=2 {round}");
                let written = node.write(&line).await.unwrap();
                assert!(written.rejected.is_empty(), "{:?}", written.rejected);
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let schema = node.schema("t");
    assert_eq!((schema.tags.len(), schema.fields.len()), (5, 44));
    assert_eq!(node.rows("t").rows(), 160);
}

#[tokio::test]
async fn acknowledged_rows_and_definitions_come_back_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(config(folder.path())).await;
    node.write("t,a=x v=1,s=\"one\" 1\nt,a=x v=2i 2").await.unwrap();
    node.intake.create_database(DatabaseName::new("empty").unwrap()).await.unwrap();
    node.write("t,a=x v=9 1").await.unwrap();
    let before = (node.schema("t"), node.rows("t").times.to_vec(), node.engine.snapshot().sequence());
    drop(node);
    let node = Node::open(config(folder.path())).await;
    assert_eq!((node.schema("t"), node.rows("t").times.to_vec()), (before.0, before.1));
    assert!(node.engine.snapshot().sequence() >= before.2);
    assert!(node.engine.catalog().has_database("empty"));
    let values = node.rows("t").fields[0].values.clone();
    assert_eq!(values.as_primitive::<Float64Type>().values().to_vec(), [9.0, 2.0]);
    let sequence = node.engine.snapshot().sequence();
    node.write("t,a=x v=3 3").await.unwrap();
    assert!(node.engine.snapshot().sequence() > sequence, "SEQ-1");
}

#[tokio::test]
async fn rows_of_a_mapping_go_the_same_way() {
    let node = Node::start().await;
    let row = |time: Option<i64>, field: &str, value: FieldValue| Row {
        database: "db".into(),
        table: "room".into(),
        tags: vec![("b".into(), "2".into()), ("a".into(), "1".into())],
        fields: vec![(field.into(), value)],
        time: time.map(Timestamp::from_nanos),
    };
    let rows = [
        row(Some(1), "t", FieldValue::Float(20.5)),
        row(Some(2), "t", FieldValue::Boolean(true)),
        row(Some(1), "open", FieldValue::Boolean(true)),
    ];
    let rejected = node.intake.write_rows(&DatabaseName::new("db").unwrap(), &rows).await.unwrap();
    assert_eq!(rejected.iter().map(|r| r.position).collect::<Vec<_>>(), [1]);
    node.write("room,a=1,b=2 t=21 1").await.unwrap();
    let rows = node.rows("room");
    assert_eq!((rows.rows(), rows.keys.len()), (1, 1));
}

#[tokio::test]
async fn a_missing_database_is_an_error_when_it_may_not_be_made() {
    let node = Node::start().await;
    let strict = Intake { create_on_write: false, ..node.intake.clone() };
    let refused = strict.write_lines(request("t v=1 1", Mode::Partial)).await;
    assert!(matches!(refused, Err(WriteError::DatabaseNotFound(name)) if name == "db"));
    strict.create_database(DatabaseName::new("db").unwrap()).await.unwrap();
    strict.write_lines(request("t v=1 1", Mode::Partial)).await.unwrap();
}

#[tokio::test]
async fn a_delete_hides_what_was_acknowledged_before_it_and_nothing_else() {
    let node = Node::start().await;
    node.write("t,a=x v=1 1\nt,a=y v=1 1").await.unwrap();
    let delete = |database: &str, table: Option<&str>| {
        let database = DatabaseName::new(database).unwrap();
        let (table, tags) = (table.map(str::to_owned), vec![TagTest::is("a", "x")]);
        node.intake.delete(DeleteRequest { database, table, times: TimeRange::ALL, tags })
    };
    delete("db", Some("u")).await.unwrap();
    assert_eq!(node.visible("t"), 2);
    delete("db", Some("t")).await.unwrap();
    assert_eq!(node.visible("t"), 1);
    node.write("t,a=x v=2 1").await.unwrap();
    assert_eq!(node.visible("t"), 2);
    delete("db", None).await.unwrap();
    assert_eq!(node.visible("t"), 1);
    assert!(matches!(delete("nowhere", None).await, Err(WriteError::DatabaseNotFound(_))));
}

#[tokio::test]
async fn a_row_alone_takes_no_more_memory_than_a_row() {
    let node = Node::start().await;
    for time in 0..100 {
        node.write(&format!("t,a=x v=1,w=2 {time}")).await.unwrap();
    }
    let bytes = node.engine.memory_bytes() / 100;
    assert!(bytes < 1_000, "{bytes} bytes a row");
}

#[tokio::test]
async fn a_closed_writer_says_so() {
    let mut node = Node::start().await;
    node.write("t v=1 1").await.unwrap();
    node.writer.take().unwrap().stop();
    assert!(matches!(node.write("t v=2 2").await, Err(WriteError::Unavailable { .. })));
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "seg")
}

#[tokio::test]
async fn each_line_gets_its_own_series_and_outcome_however_many_are_looked_up_together() {
    let node = Node::start().await;
    // Known, new and bad lines on both sides of where the first lines that are looked up together end.
    let known: String = (0..100).map(|host| format!("cpu,host=k{host} v={host} 1\n")).collect();
    assert_eq!(node.write(&known).await.unwrap().rows, 100);
    let line = |number: usize| match number {
        63 | 64 | 128 => "cpu,host=bad v= 2\n".to_owned(),
        // The same new series thrice, and in another spelling.
        0 | 62 | 65 => format!("cpu,host=new,x=1 v={number} {}\n", number + 10),
        100 => "cpu,x=1,host=new v=100 110\n".to_owned(),
        _ => format!("cpu,host=k{} v={number} {}\n", number % 90, number + 10),
    };
    for lines in [1, 7, 8, 63, 64, 65, 66, 127, 128, 129, 200] {
        let body: String = (0..lines).map(line).collect();
        let written = node.write(&body).await.unwrap();
        let bad = [63, 64, 128].into_iter().filter(|number| *number < lines);
        let expected: Vec<usize> = bad.map(|number| number + 1).collect();
        assert_eq!(written.rejected.iter().map(|line| line.number).collect::<Vec<_>>(), expected);
        assert_eq!((written.lines, written.rows), (lines, lines - expected.len()));
    }
    let rows = node.rows("cpu");
    let values = rows.fields[0].values.as_primitive::<Float64Type>();
    for (series, run) in rows.runs() {
        for row in run.filter(|row| rows.times[*row] > 1) {
            let number = rows.times[row] - 10;
            let host = match number {
                0 | 62 | 65 | 100 => "new".to_owned(),
                _ => format!("k{}", number % 90),
            };
            assert_eq!(series.tag(0), Some(host.as_str()));
            assert_eq!(values.value(row).to_string(), number.to_string());
        }
    }
    assert_eq!(rows.rows(), 100 + 200 - 3);
}
