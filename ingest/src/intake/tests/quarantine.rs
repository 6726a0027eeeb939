//! Lines that cannot be stored: which are kept, and what becomes of them when they are tried again.

use storage::model::FieldValue;
use storage::quarantine::{Filter, LineId, NotKept, Quarantine, QuarantineConfig};

use super::super::{Deleted, Replayed};
use super::*;

const WIDE: i64 = (1 << 53) + 1;

/// A node whose quarantine is in `folder`.
async fn node(folder: &Path) -> Node {
    let mut node = Node::start().await;
    let quarantine = Quarantine::open(folder, QuarantineConfig::default()).unwrap();
    node.intake = node.intake.clone().with_quarantine(quarantine);
    node
}

fn quarantine(node: &Node) -> &Arc<Quarantine> {
    node.intake.quarantine().unwrap()
}

async fn kept(node: &Node) -> Vec<(u64, String, String)> {
    let page = quarantine(node).page(Filter::default(), None, (usize::MAX, u64::MAX)).await.unwrap();
    let text = |content: &[u8]| String::from_utf8_lossy(content).into_owned();
    page.into_iter().map(|(id, line)| (id.get(), line.reason.into(), text(&line.content))).collect()
}

fn named(written: &Written) -> Vec<(usize, Option<u64>)> {
    let id = |line: &super::super::RejectedLine| line.kept.map(|kept| kept.unwrap().get());
    written.rejected.iter().map(|line| (line.number, id(line))).collect()
}

fn bad_lines() -> (String, Vec<&'static str>) {
    let ahead = storage::clock::now().nanos() + 2 * 86_400_000_000_000;
    let body = format!(
        "t,a=x v=1,n=1.5 1\nt,a=x v=\"text\" 2\nt,a=x n={WIDE}i 3\nt,v=x w=1 4\nt,a=x a=1 5\nt,a=x v=2 {ahead}\n\
         t,time=x v=1 6\nt,a=x time=1 7\nt,a=x busbar_x=1 8\nt,a=x v=\n# comment\nt,a=x time=2,v=9 9"
    );
    let reasons = vec![
        "type_conflict",
        "type_conflict",
        "tag_and_field",
        "tag_and_field",
        "time",
        "reserved_name",
        "reserved_name",
        "name",
    ];
    (body, reasons)
}

#[tokio::test]
async fn what_types_names_and_bounds_keep_out_is_kept_whole_and_the_rest_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path()).await;
    let (body, reasons) = bad_lines();
    let written = node.write(&body).await.unwrap();
    assert_eq!((written.rows, node.rows("t").rows()), (2, 2));
    let expected: Vec<_> = (2..=9).map(|n| (n, Some(n as u64 - 1))).chain([(10, None), (12, None)]).collect();
    assert_eq!(named(&written), expected, "neither what does not parse nor a row that is in");
    let lines: Vec<_> = body.lines().skip(1).take(8).map(str::to_owned).collect();
    let found = kept(&node).await;
    assert_eq!(found.iter().map(|(_, reason, _)| reason.as_str()).collect::<Vec<_>>(), reasons);
    assert_eq!(found.into_iter().map(|(_, _, content)| content).collect::<Vec<_>>(), lines);
    let first = quarantine(&node).line(LineId::new(1)).await.unwrap().unwrap();
    assert_eq!((first.table.as_deref(), first.time), (Some("t"), Some(Timestamp::from_nanos(2))));
    assert_eq!(first.tags, [("a".into(), "x".into())]);
    assert_eq!((&*first.database, &*first.protocol, &*first.precision), ("db", "v1", "ns"));
    assert!(first.detail.contains("already exists as type float"), "{}", first.detail);
}

#[tokio::test]
async fn where_nothing_is_written_nothing_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path()).await;
    node.write("t v=1 1").await.unwrap();
    let conflict = "t v=\"a\" 1\nt v=2 2";
    node.intake.write_lines(request(conflict, Mode::AllOrNothing)).await.unwrap_err();
    node.intake.write_lines(request("t v=\"a\" 1\nt v=", Mode::AllParsed)).await.unwrap_err();
    assert_eq!(kept(&node).await, []);
    let written = node.intake.write_lines(request(conflict, Mode::AllParsed)).await.unwrap();
    assert_eq!(named(&written), [(1, Some(1))]);
}

#[tokio::test]
async fn who_does_not_hear_of_a_bad_line_has_it_kept_whatever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path()).await;
    let body = LinesRequest { protocol: Protocol::Mqtt, ..request("t v=1 1\nt v=", Mode::Partial) };
    let written = node.intake.write_lines(body).await.unwrap();
    assert_eq!((written.rows, named(&written)), (1, vec![(2, Some(1))]));
    assert_eq!(kept(&node).await, [(1, "parse".to_owned(), "t v=".to_owned())]);
    let row = |field: FieldValue| Row {
        database: "db".into(),
        table: "t".into(),
        tags: vec![("a".into(), "x y".into())],
        fields: vec![("v".into(), field)],
        time: None,
    };
    let rows = [row(FieldValue::Float(2.0)), row(FieldValue::Text("warm".into()))];
    let rejected = node.intake.write_rows(&DatabaseName::new("db").unwrap(), &rows).await.unwrap();
    assert_eq!(rejected[0].kept, Some(Ok(LineId::new(2))));
    assert_eq!(kept(&node).await[1].1, "type_conflict");
}

#[tokio::test]
async fn a_line_is_stored_when_its_cause_is_gone_at_the_time_at_which_it_came_and_leaves_the_quarantine() {
    let folder = tempfile::tempdir().unwrap();
    let before = node(folder.path()).await;
    before.write("t v=1 1").await.unwrap();
    let seconds = |body: &str| LinesRequest { precision: Precision::Second, ..request(body, Mode::Partial) };
    before.intake.write_lines(seconds("t v=\"a\" 7\nt v=\"b\"\nt,x=1 v=true 8")).await.unwrap();
    let row = Row {
        database: "db".into(),
        table: "t".into(),
        tags: vec![("x".into(), "2".into())],
        fields: vec![("v".into(), FieldValue::Text("c".into()))],
        time: None,
    };
    before.intake.write_rows(&DatabaseName::new("db").unwrap(), &[row]).await.unwrap();
    let again = before.intake.replay(Filter::default(), None, 10).await.unwrap();
    assert_eq!(again, Replayed { stored: 0, refused: 4, last: Some(LineId::new(4)) });
    let came = quarantine(&before).line(LineId::new(4)).await.unwrap().unwrap().received_at;
    // The two did not come within one second on a busy machine.
    let earlier = quarantine(&before).line(LineId::new(2)).await.unwrap().unwrap().received_at;
    drop(before);

    // An engine begun anew, where the field may be text.
    let node = node(folder.path()).await;
    let first = node.intake.replay(Filter::default(), None, 2).await.unwrap();
    assert_eq!(first, Replayed { stored: 2, refused: 0, last: Some(LineId::new(2)) });
    let rest = node.intake.replay(Filter::default(), first.last, 2).await.unwrap();
    assert_eq!(rest, Replayed { stored: 1, refused: 1, last: Some(LineId::new(4)) });
    let rows = node.rows("t");
    let second = earlier.nanos() / 1_000_000_000 * 1_000_000_000;
    let mut times = rows.times.to_vec();
    times.sort_unstable();
    assert_eq!(times, [7_000_000_000, second, came.nanos()]);
    assert_eq!(kept(&node).await[0].0, 3, "a truth value is no text either");
    let detail = quarantine(&node).line(LineId::new(3)).await.unwrap().unwrap().detail;
    assert!(detail.contains("already exists as type string"), "the reason is that of now: {detail}");
    let nothing = node.intake.replay(Filter::default(), rest.last, 2).await.unwrap();
    assert_eq!(nothing, Replayed::default());
    assert_eq!(node.intake.replay_line(LineId::new(1)).await.unwrap(), None);
}

#[tokio::test]
async fn a_replay_that_was_cut_off_after_the_write_is_done_again_and_doubles_nothing() {
    let (folder, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let before = node(folder.path()).await;
    before.write("t v=1 1").await.unwrap();
    before.write("t v=\"a\" 7\nt v=\"b\" 8").await.unwrap();
    drop(before);
    // The quarantine as it was before the replay.
    let from = folder.path().join("quarantine/lines");
    let to = copy.path().join("quarantine/lines");
    std::fs::create_dir_all(&to).unwrap();
    for entry in std::fs::read_dir(&from).unwrap() {
        let name = entry.unwrap().file_name();
        std::fs::copy(from.join(&name), to.join(&name)).unwrap();
    }
    let mut node = node(folder.path()).await;
    node.intake.replay(Filter::default(), None, 10).await.unwrap();
    assert_eq!((kept(&node).await.len(), node.rows("t").rows()), (0, 2));
    let again = Quarantine::open(copy.path(), QuarantineConfig::default()).unwrap();
    node.intake = node.intake.clone().with_quarantine(again);
    assert_eq!(node.intake.replay(Filter::default(), None, 10).await.unwrap().stored, 2);
    assert_eq!((kept(&node).await.len(), node.rows("t").rows()), (0, 2));
}

#[tokio::test]
async fn a_quarantine_without_room_claims_nothing_and_the_good_lines_are_stored() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::start().await;
    let config = QuarantineConfig { max_bytes: 0, ..QuarantineConfig::default() };
    node.intake = node.intake.clone().with_quarantine(Quarantine::open(folder.path(), config).unwrap());
    let written = node.write("t v=1 1\nt v=\"a\" 2\nt v=3 3").await.unwrap();
    assert_eq!((written.rows, written.rejected[0].kept), (2, Some(Err(NotKept::Full))));
    assert_eq!(node.rows("t").rows(), 2);
}

#[tokio::test]
async fn when_the_disk_keeps_nothing_no_id_is_claimed_and_the_good_lines_are_stored() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path()).await;
    // The segment is full after this, and the next one cannot be made.
    let large = format!("t v=1 1\nt v=\"{}\" 2", "x".repeat(1 << 20));
    assert_eq!(named(&node.write(&large).await.unwrap()), [(2, Some(1))]);
    std::fs::remove_dir_all(folder.path().join("quarantine")).unwrap();
    let written = node.write("t v=\"a\" 3\nt v=4 4").await.unwrap();
    assert_eq!((written.rows, written.rejected[0].kept), (1, Some(Err(NotKept::Failed))));
    assert_eq!(node.rows("t").rows(), 2);
}

fn deletion(host: &str) -> DeleteRequest {
    let database = DatabaseName::new("db").unwrap();
    let tags = vec![TagTest::is("a", host)];
    DeleteRequest { database, table: Some("t".into()), times: TimeRange::ALL, tags }
}

#[tokio::test]
async fn a_delete_that_is_refused_leaves_the_kept_lines_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path()).await;
    node.write("t,a=x v=1 1\nt,a=x v=\"text\" 2").await.unwrap();
    // So many deletes wait for files that there is no room for another.
    let many = (0..storage::limits::DELETES_PER_TABLE).map(|_| node.intake.delete(deletion("nobody")));
    assert!(futures::future::join_all(many).await.iter().all(Result::is_ok));
    let refused = node.intake.delete(deletion("x")).await;
    assert!(matches!(refused, Err(WriteError::Busy { .. })), "{refused:?}");
    assert_eq!(kept(&node).await.len(), 1);
    node.engine.flush().await.unwrap();
    assert_eq!(node.intake.delete(deletion("x")).await.unwrap(), Deleted::default());
    assert_eq!(kept(&node).await.len(), 0);
}

#[tokio::test]
async fn a_delete_is_done_and_says_so_when_the_quarantine_fails_and_nothing_is_replayed_then() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path()).await;
    node.write("t,a=x v=1 1\nt,a=x v=\"text\" 2").await.unwrap();
    let (lines, away) = (folder.path().join("quarantine/lines"), folder.path().join("quarantine/away"));
    std::fs::rename(&lines, &away).unwrap();
    let deleted = node.intake.delete(deletion("x")).await.unwrap();
    assert!(deleted.lines_left.is_some());
    assert_eq!((node.visible("t"), quarantine(&node).faults()[1]), (0, ("erasure", 1)));
    node.intake.replay(Filter::default(), None, 10).await.unwrap_err();
    std::fs::rename(&away, &lines).unwrap();
    assert_eq!(node.intake.replay(Filter::default(), None, 10).await.unwrap(), Replayed::default());
    assert_eq!(kept(&node).await, []);
}

#[tokio::test]
async fn a_replayed_line_sets_what_is_missing_and_replaces_nothing_that_was_written_since() {
    let folder = tempfile::tempdir().unwrap();
    let before = node(folder.path()).await;
    before.write("t,a=x v=1 1").await.unwrap();
    let body = "t,a=x v=\"late\",s=\"late\" 7\nt,a=x v=\"late\",s=\"late\" 8\nt,a=x v=\"late\" 9";
    before.write(body).await.unwrap();
    drop(before);

    // An engine begun anew, where the field may be text: in files, in memory, and nowhere.
    let node = node(folder.path()).await;
    node.write("t,a=x v=\"new\" 7").await.unwrap();
    node.engine.flush().await.unwrap();
    node.write("t,a=x v=\"new\" 8\nt,a=y v=\"new\" 9").await.unwrap();
    let replayed = node.intake.replay(Filter::default(), None, 10).await.unwrap();
    assert_eq!(replayed, Replayed { stored: 3, refused: 0, last: Some(LineId::new(3)) });
    assert_eq!(kept(&node).await, []);
    let schema = node.schema("t");
    let texts = |rows: &SortedRows, name: &str| {
        let column = schema.fields[schema.field(name).unwrap()].narrow.id;
        let values = rows.fields.iter().find(|field| field.column == column).unwrap();
        let values = values.values.as_string::<i32>();
        rows.times.iter().copied().zip(values.iter().map(|v| v.map(str::to_owned))).collect::<Vec<_>>()
    };
    let text = |text: &str| Some(text.to_owned());
    let rows = node.rows("t");
    let expected = [(7, None), (8, text("new")), (9, text("late")), (9, text("new"))];
    assert_eq!(texts(&rows, "v"), expected, "the value at 7 is in a file");
    let expected = [(7, text("late")), (8, text("late")), (9, None), (9, None)];
    assert_eq!(texts(&rows, "s"), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_writes_while_lines_are_replayed_wins() {
    let folder = tempfile::tempdir().unwrap();
    let before = node(folder.path()).await;
    before.write("t,a=x v=1 1").await.unwrap();
    let body: Vec<_> = (0..200).map(|time| format!("t,a=x v=\"late\" {time}")).collect();
    before.write(&body.join("\n")).await.unwrap();
    drop(before);
    let node = node(folder.path()).await;
    node.write("t,a=y v=\"\" 1").await.unwrap();
    let writing = async {
        for time in 0..200 {
            node.write(&format!("t,a=x v=\"new\" {time}")).await.unwrap();
        }
    };
    let replaying = async {
        let mut left = 200;
        // Overtaken too often, a replay says that it is busy, and is sent again.
        while left > 0 {
            let replayed = node.intake.replay(Filter::default(), None, 7).await.unwrap_or_default();
            left -= replayed.stored;
        }
    };
    futures::future::join(writing, replaying).await;
    let rows = node.rows("t");
    let values = rows.fields[0].values.as_string::<i32>();
    assert_eq!(values.iter().flatten().filter(|value| *value == "new").count(), 200);
}
