//! Tests of the quarantine: what is kept comes back, what goes has gone, and bounds hold.

mod damage;
mod faults;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::record::Change;
use super::{Erasure, Filter, KeptLine, LineId, NotKept, Quarantine, QuarantineConfig};
use crate::clock;
use crate::model::{TagTest, TimeRange, Timestamp};
use crate::stream::tests::alone;

fn line(database: &str, table: &str, content: &str) -> KeptLine {
    KeptLine {
        received_at: clock::now(),
        database: database.into(),
        table: Some(table.into()),
        tags: vec![("host".into(), "a".into())],
        time: Some(Timestamp::from_nanos(5)),
        reason: "type_conflict".into(),
        detail: "is text".into(),
        protocol: "v1".into(),
        precision: "ns".into(),
        form: "line".into(),
        content: Bytes::copy_from_slice(content.as_bytes()),
    }
}

fn open(folder: &Path) -> Arc<Quarantine> {
    Quarantine::open(folder, QuarantineConfig::default()).unwrap()
}

async fn ids(quarantine: &Arc<Quarantine>, filter: Filter) -> Vec<u64> {
    let page = quarantine.page(filter, None, (usize::MAX, u64::MAX)).await.unwrap();
    page.iter().map(|(id, _)| id.get()).collect()
}

async fn keep(quarantine: &Arc<Quarantine>, lines: Vec<KeptLine>) -> Vec<u64> {
    quarantine.keep(lines).await.into_iter().map(|kept| kept.unwrap().get()).collect()
}

fn all_of(database: &str) -> Erasure {
    Erasure { database: database.into(), table: None, tags: Vec::new(), times: TimeRange::ALL }
}

async fn erase(quarantine: &Arc<Quarantine>, erasure: Erasure) -> crate::Result<usize> {
    let turn = quarantine.between_replays().await;
    quarantine.erase(&turn, erasure).await
}

fn has_bytes(folder: &Path, wanted: &str) -> bool {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.into_iter().any(|path| match path.is_dir() {
        true => has_bytes(&path, wanted),
        false => std::fs::read(&path).unwrap().windows(wanted.len()).any(|bytes| bytes == wanted.as_bytes()),
    })
}

fn text() -> impl Strategy<Value = Box<str>> {
    ".{0,12}".prop_map(Box::from)
}

prop_compose! {
    fn any_line()(
        received_at in any::<i64>(),
        texts in (text(), text(), text(), text(), text(), text()),
        table in proptest::option::of(text()),
        tags in proptest::collection::vec((text(), text()), 0..4),
        time in proptest::option::of(any::<i64>()),
        content in proptest::collection::vec(any::<u8>(), 0..64),
    ) -> KeptLine {
        let (database, reason, detail, protocol, precision, form) = texts;
        let (received_at, time) = (Timestamp::from_nanos(received_at), time.map(Timestamp::from_nanos));
        let content = content.into();
        KeptLine { received_at, database, table, tags, time, reason, detail, protocol, precision, form, content }
    }
}

prop_compose! {
    fn any_change()(
        next_id in any::<u64>(),
        gone in proptest::collection::vec(any::<u64>().prop_map(LineId::new), 0..4),
        kept in proptest::collection::vec((any::<u64>().prop_map(LineId::new), any_line()), 0..4),
    ) -> Change {
        Change { next_id, gone, kept }
    }
}

proptest! {
    #[test]
    fn a_record_comes_back_as_it_was(change in any_change()) {
        prop_assert_eq!(Change::decode(change.encode().unwrap()).unwrap(), change);
    }

    #[test]
    fn a_record_that_is_cut_or_longer_is_refused(change in any_change(), cut in any::<prop::sample::Index>()) {
        let bytes = change.encode().unwrap();
        prop_assert!(Change::decode(bytes[..cut.index(bytes.len())].to_vec()).is_err());
        prop_assert!(Change::decode([bytes.as_slice(), &[0]].concat()).is_err());
    }

    #[test]
    fn no_bytes_make_the_decoder_panic_or_grow(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let with_version = [&[1][..], &bytes].concat();
        for bytes in [bytes, with_version] {
            if let Ok(change) = Change::decode(bytes.clone()) {
                prop_assert_eq!(change.encode().unwrap(), bytes);
            }
        }
    }
}

#[tokio::test]
async fn what_is_kept_comes_back_after_a_restart_and_ids_go_on() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (line("d", "m", "m v=1"), line("e", "n", "n v=2"));
    let quarantine = open(folder.path());
    assert_eq!(keep(&quarantine, vec![first.clone(), second.clone()]).await, [1, 2]);
    assert_eq!(quarantine.change(vec![LineId::new(1), LineId::new(9)], Vec::new()).await.unwrap(), 1);
    drop(quarantine);
    let quarantine = open(folder.path());
    assert_eq!(quarantine.line(LineId::new(1)).await.unwrap(), None);
    assert_eq!(quarantine.line(LineId::new(2)).await.unwrap(), Some(second));
    assert_eq!(keep(&quarantine, vec![first]).await, [3]);
    quarantine.remove(Filter::default()).await.unwrap();
    assert_eq!(quarantine.size().1, 0);
    quarantine.store.lock().rewrite(clock::now()).unwrap();
    drop(quarantine);
    assert_eq!(keep(&open(folder.path()), vec![line("d", "m", "m v=3")]).await, [4], "no id is used twice");
}

#[tokio::test]
async fn lines_are_found_by_database_reason_and_time_page_by_page() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let quarantine = open(folder.path());
    let late = Timestamp::from_nanos(clock::now().nanos() + 1_000_000_000);
    let other = KeptLine { reason: "limit".into(), received_at: late, ..line("e", "m", "m v=2") };
    for _ in 0..3 {
        keep(&quarantine, vec![line("d", "m", "m v=1"), other.clone()]).await;
    }
    let of = |database: &str| Filter { database: Some(database.into()), ..Filter::default() };
    assert_eq!(ids(&quarantine, of("d")).await, [1, 3, 5]);
    assert_eq!(ids(&quarantine, Filter { reason: Some("limit".into()), ..of("d") }).await, [0; 0]);
    assert_eq!(ids(&quarantine, Filter { since: Some(late), ..Filter::default() }).await, [2, 4, 6]);
    let page = quarantine.page(of("e"), Some(LineId::new(2)), (1, u64::MAX)).await.unwrap();
    assert_eq!(page, [(LineId::new(4), other)]);
    let small = quarantine.page(Filter::default(), None, (10, 1)).await.unwrap();
    assert_eq!(small.len(), 1, "a line longer than a page is a page");
}

#[tokio::test]
async fn a_line_that_is_refused_again_stays_with_its_new_reason_and_one_that_went_stays_away() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let quarantine = open(folder.path());
    keep(&quarantine, vec![line("d", "m", "m v=1"), line("d", "m", "m v=2")]).await;
    let again = |content: &str| KeptLine { reason: "limit".into(), ..line("d", "m", content) };
    let changed = vec![(LineId::new(9), again("m v=9")), (LineId::new(1), again("m v=1"))];
    quarantine.change(vec![LineId::new(2)], changed).await.unwrap();
    drop(quarantine);
    let quarantine = open(folder.path());
    assert_eq!(ids(&quarantine, Filter::default()).await, [1]);
    assert_eq!(&*quarantine.line(LineId::new(1)).await.unwrap().unwrap().reason, "limit");
}

#[tokio::test]
async fn a_full_quarantine_refuses_the_newest_and_takes_again_what_there_is_room_for() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let charge = line("d", "m", "m v=1").charge();
    let config = QuarantineConfig { max_bytes: 3 * charge, ..QuarantineConfig::default() };
    let quarantine = Quarantine::open(folder.path(), config).unwrap();
    let four = vec![line("d", "m", "m v=1"); 4];
    let kept = quarantine.keep(four).await;
    assert_eq!(kept[..3], [1, 2, 3].map(|id| Ok(LineId::new(id))));
    assert_eq!(kept[3], Err(NotKept::Full));
    quarantine.change(vec![LineId::new(2)], Vec::new()).await.unwrap();
    drop(quarantine);
    let quarantine = Quarantine::open(folder.path(), config).unwrap();
    let kept = quarantine.keep(vec![line("d", "m", "m v=1"); 2]).await;
    assert_eq!(kept, [Ok(LineId::new(4)), Err(NotKept::Full)]);
    let nothing = QuarantineConfig { max_bytes: 0, ..config };
    drop(quarantine);
    let quarantine = Quarantine::open(folder.path(), nothing).unwrap();
    assert_eq!(quarantine.keep(vec![line("d", "m", "m v=1")]).await, [Err(NotKept::Full)]);
    assert_eq!(ids(&quarantine, Filter::default()).await, [1, 3, 4], "what was kept stays");
    assert_eq!(quarantine.not_kept()[0], (NotKept::Full, 1));
}

#[tokio::test]
async fn lines_that_come_too_fast_are_not_kept_and_requests_share_a_sync() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let config = QuarantineConfig { max_bytes: u64::MAX, ..QuarantineConfig::default() };
    let quarantine = Quarantine::open(folder.path(), config).unwrap();
    let large = "x".repeat(6 << 20);
    let kept = quarantine.keep(vec![line("d", "m", &large), line("d", "m", &large)]).await;
    assert_eq!(kept[1], Err(NotKept::TooFast));
    let before = quarantine.store.lock().freeze().unwrap().segments.len();
    let many = (0..200).map(|_| quarantine.keep(vec![line("d", "m", "m v=1")]));
    let kept = futures::future::join_all(many).await;
    assert!(kept.iter().flatten().all(Result::is_ok));
    let last = quarantine.store.lock().read(&[LineId::new(201)]).unwrap();
    assert_eq!(last.len(), 1);
    assert!(quarantine.records() <= 4, "{} records for 201 requests", quarantine.records());
    assert!(before <= 2);
}

impl Quarantine {
    fn records(&self) -> u64 {
        self.store.lock().last_record()
    }
}

#[tokio::test]
async fn what_is_too_old_goes_with_its_bytes() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let quarantine = open(folder.path());
    let old = KeptLine { received_at: Timestamp::from_nanos(1), ..line("d", "m", "old bytes") };
    keep(&quarantine, vec![old, line("d", "m", "new bytes")]).await;
    quarantine.tidy().unwrap();
    assert_eq!(ids(&quarantine, Filter::default()).await, [2]);
    assert!(!has_bytes(folder.path(), "old bytes") && has_bytes(folder.path(), "new bytes"));
}

#[tokio::test]
async fn what_has_gone_gives_its_bytes_back_in_time() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let quarantine = open(folder.path());
    let large = "x".repeat(512 << 10);
    for _ in 0..12 {
        let id = keep(&quarantine, vec![line("d", "m", &large)]).await[0];
        quarantine.change(vec![LineId::new(id)], Vec::new()).await.unwrap();
    }
    keep(&quarantine, vec![line("d", "m", "kept")]).await;
    assert!(quarantine.size().2 <= 3 << 20, "{} bytes of files", quarantine.size().2);
    drop(quarantine);
    assert_eq!(ids(&open(folder.path()), Filter::default()).await, [13]);
}

#[tokio::test]
async fn an_erasure_takes_what_it_covers_and_what_cannot_be_told_and_leaves_no_bytes() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let quarantine = open(folder.path());
    let untold = KeptLine { table: None, tags: Vec::new(), ..line("d", "m", "gone-untold") };
    let elsewhere = KeptLine { tags: vec![("host".into(), "b".into())], ..line("d", "m", "stays-host") };
    let later = KeptLine { time: Some(Timestamp::from_nanos(50)), ..line("d", "m", "stays-time") };
    let timeless = KeptLine { time: None, ..line("d", "m", "gone-timeless") };
    let lines =
        vec![line("d", "m", "gone-m"), untold, elsewhere, later, timeless, line("e", "m", "stays-database")];
    keep(&quarantine, lines).await;
    keep(&quarantine, vec![line("d", "n", "stays-table")]).await;
    let times = TimeRange::new(Timestamp::from_nanos(0), Timestamp::from_nanos(10));
    let erasure =
        Erasure { table: Some("m".into()), tags: vec![TagTest::is("host", "a")], times, ..all_of("d") };
    assert_eq!(erase(&quarantine, erasure).await.unwrap(), 3);
    assert_eq!(ids(&quarantine, Filter::default()).await, [3, 4, 6, 7]);
    assert!(!has_bytes(folder.path(), "gone-"));
    for stays in ["stays-host", "stays-time", "stays-database", "stays-table"] {
        assert!(has_bytes(folder.path(), stays), "{stays}");
    }
    assert_eq!(erase(&quarantine, all_of("d")).await.unwrap(), 3);
    drop(quarantine);
    assert_eq!(ids(&open(folder.path()), Filter::default()).await, [6]);
}

#[tokio::test]
async fn an_age_without_end_keeps_everything() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let config = QuarantineConfig { max_age: Duration::MAX, ..QuarantineConfig::default() };
    let quarantine = Quarantine::open(folder.path(), config).unwrap();
    keep(&quarantine, vec![KeptLine { received_at: Timestamp::from_nanos(1), ..line("d", "m", "old") }])
        .await;
    quarantine.tidy().unwrap();
    assert_eq!(ids(&quarantine, Filter::default()).await, [1]);
}
