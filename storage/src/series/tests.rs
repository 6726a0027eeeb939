//! Tests of the series index.

use std::sync::Arc;

use super::{Series, SeriesIndex, SeriesLookup, SeriesRef, canonical_key};
use crate::catalog::{Definition, DefinitionQueue};
use crate::model::{FrameNumber, SeriesId, TableId};

const ROOM: usize = 1 << 30;

/// An index that forgets whatever it may.
fn forgetful() -> SeriesIndex {
    SeriesIndex::new(Arc::default(), 64 << 20).with_room(0)
}

fn named(lookup: &mut SeriesLookup<'_>, name: &str) -> SeriesRef {
    let series = lookup.resolve(TableId::new(0), &key(name)).unwrap();
    lookup.remember(&[(format!("t,n={name}").as_bytes(), series)]);
    series
}

fn key(name: &str) -> Vec<u8> {
    canonical_key(std::iter::once((0, name))).unwrap()
}

fn name_of(series: &Series) -> String {
    series.tag(0).unwrap().to_owned()
}

fn frame(number: u64) -> FrameNumber {
    FrameNumber::new(number)
}

#[test]
fn a_canonical_key_gives_its_tags_back() {
    let tags = [(0, "a"), (3, ""), (7, "µ=,\n")];
    let index = SeriesIndex::new(Arc::default(), ROOM);
    let key = canonical_key(tags.into_iter()).unwrap();
    let found = index.lookup("b").resolve(TableId::new(1), &key).unwrap();
    let series = index.get(found.id).unwrap();
    assert_eq!(series.tags().collect::<Vec<_>>(), tags);
    assert_eq!(series.tag(7), Some("µ=,\n"));
    assert_eq!(series.tag(1), None);
}

#[test]
fn spellings_mean_the_same_together_and_alone() {
    let index = SeriesIndex::new(Arc::default(), ROOM);
    for number in 0..100 {
        named(&mut index.lookup("b"), &number.to_string());
    }
    for count in [0, 1, 7, 8, 64] {
        let spellings: Vec<String> = (0..count).map(|number| format!("t,n={}", number * 3)).collect();
        let asked = || spellings.iter().map(|spelling| spelling.as_bytes());
        for database in ["b", "other"] {
            let mut lookup = index.lookup(database);
            let alone: Vec<_> = asked().map(|raw| lookup.by_spelling(raw)).chain([None]).collect();
            let mut together = Vec::new();
            lookup.by_spellings(asked().chain([&[][..]]), &mut together);
            assert_eq!(together, alone);
            let known = together.iter().flatten().count();
            assert_eq!(known, if database == "b" { count.min(34) } else { 0 });
        }
    }
}

#[test]
fn sources_that_meet_a_new_series_at_once_get_one_id_and_one_definition() {
    let queue = Arc::new(DefinitionQueue::default());
    let index = Arc::new(SeriesIndex::new(queue.clone(), ROOM));
    let ids: Vec<Vec<u32>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let index = Arc::clone(&index);
                scope.spawn(move || {
                    let mut lookup = index.lookup("b");
                    (0..1_000).map(|i: u32| named(&mut lookup, &i.to_string()).id.get()).collect()
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|other| *other == ids[0]));
    assert_eq!(index.len(), 1_000);
    let defined = queue.drain();
    assert_eq!(defined.len(), 1_000);
    let copy = SeriesIndex::new(Arc::default(), ROOM);
    for definition in defined.iter().rev() {
        let Definition::Series { id, table, key } = definition else { panic!("{definition:?}") };
        assert!(copy.restore(*id, *table, key.as_bytes()));
        assert!(!copy.restore(*id, *table, key.as_bytes()));
    }
    assert_eq!(copy.get(SeriesId::new(7)), index.get(SeriesId::new(7)));
}

#[test]
fn a_spelling_is_remembered_per_database() {
    let index = SeriesIndex::new(Arc::default(), ROOM);
    let (mut a, mut b) = (index.lookup("a"), index.lookup("b"));
    let first = a.resolve(TableId::new(0), b"").unwrap();
    let second = b.resolve(TableId::new(1), b"").unwrap();
    a.remember(&[(b"cpu", first)]);
    b.remember(&[(b"cpu", second)]);
    assert_eq!(index.lookup("a").by_spelling(b"cpu"), Some(first));
    assert_eq!(index.lookup("b").by_spelling(b"cpu"), Some(second));
    assert!(index.lookup("c").by_spelling(b"cpu").is_none());
}

#[test]
fn a_series_is_forgotten_when_neither_a_pin_nor_the_log_refers_to_it() {
    let index = forgetful();
    let mut lookup = index.lookup("b");
    let old = named(&mut lookup, "old");
    index.next_round(frame(10));
    let mut later = index.lookup("b");
    let new = named(&mut later, "new");
    index.next_round(frame(20));
    assert_eq!(index.forget(frame(100)), 0, "both are pinned");
    drop(lookup);
    index.next_round(frame(30));
    assert_eq!(index.forget(frame(30)), 0, "frame 30 may refer to the old one");
    assert_eq!(index.forget(frame(31)), 1);
    assert!(index.get(old.id).is_none());
    assert_eq!(index.get(new.id).map(|s| name_of(&s)).as_deref(), Some("new"));
    assert!(later.by_spelling(b"t,n=old").is_none());
    assert_eq!(later.by_spelling(b"t,n=new"), Some(new));
    let again = named(&mut later, "old");
    assert!(again.id > new.id, "an id is not given twice");
}

#[test]
fn a_series_that_is_used_by_its_spelling_alone_stays() {
    let index = forgetful();
    let (used, unused) = (named(&mut index.lookup("b"), "used"), named(&mut index.lookup("b"), "unused"));
    for round in 1..5 {
        index.next_round(frame(round * 10));
        assert_eq!(index.lookup("b").by_spelling(b"t,n=used"), Some(used));
        index.forget(frame(round * 10 + 1));
    }
    assert!(index.get(used.id).is_some());
    assert!(index.get(unused.id).is_none());
}

#[test]
fn a_client_that_spells_a_series_in_ever_new_ways_makes_no_other_one_forgotten() {
    let index = SeriesIndex::new(Arc::default(), 4 << 20).with_room(0);
    let used = named(&mut index.lookup("b"), "used");
    index.next_round(frame(1));
    let mut lookup = index.lookup("b");
    // From here on the row of a batch that is on its way needs it.
    assert_eq!(lookup.by_spelling(b"t,n=used"), Some(used));
    let many = named(&mut lookup, "many");
    let mut count = 0;
    while lookup.by_spelling(b"t,n=used").is_some() {
        lookup.remember(&[(format!("t,n=many,spelling={count}").as_bytes(), many)]);
        count += 1;
    }
    for round in 2..6 {
        index.next_round(frame(round));
        index.forget(frame(100));
    }
    assert!(index.get(used.id).is_some(), "it is pinned");
}

#[test]
fn a_database_that_nothing_was_stored_in_takes_no_memory() {
    let index = SeriesIndex::new(Arc::default(), ROOM);
    for number in 0..1_000 {
        assert!(index.lookup(&format!("typo{number}")).by_spelling(b"cpu").is_none());
    }
    assert!(index.databases.load().is_empty());
}

#[test]
fn a_kept_series_stays_until_it_is_released() {
    let index = forgetful();
    let kept = named(&mut index.lookup("b"), "kept");
    index.keep(kept.id);
    let turn = |round: u64| {
        index.next_round(frame(round * 10));
        index.forget(frame(round * 10 + 1));
    };
    (1..5).for_each(turn);
    assert!(index.get(kept.id).is_some());
    index.release(kept.id);
    (5..9).for_each(turn);
    assert!(index.get(kept.id).is_none());
}

#[test]
fn ids_begin_again_behind_the_last_and_pass_over_those_in_use() {
    let index = forgetful();
    let first = named(&mut index.lookup("b"), "first");
    index.keep(first.id);
    let second = named(&mut index.lookup("b"), "second");
    assert_eq!((first.id.get(), second.id.get()), (0, 1));
    for round in 1..4 {
        index.next_round(frame(round));
    }
    assert_eq!(index.forget(frame(100)), 1);
    index.keep_below(SeriesId::new(u32::MAX));
    let mut lookup = index.lookup("b");
    let ids: Vec<u32> = ["x", "y", "z"].iter().map(|name| named(&mut lookup, name).id.get()).collect();
    assert_eq!(ids, [u32::MAX, 1, 2], "0 is in use");
    assert_eq!(index.get(SeriesId::new(1)).map(|s| name_of(&s)).as_deref(), Some("y"));
}

#[test]
fn of_two_definitions_of_an_id_or_a_key_the_later_holds() {
    let index = SeriesIndex::new(Arc::default(), ROOM);
    let table = TableId::new(0);
    assert!(index.restore(SeriesId::new(5), table, &key("a")));
    assert!(index.restore(SeriesId::new(9), table, &key("a")), "it was forgotten, and came again");
    assert!(index.get(SeriesId::new(5)).is_none());
    assert!(index.restore(SeriesId::new(9), table, &key("b")), "ids began again");
    assert_eq!(index.get(SeriesId::new(9)).map(|s| name_of(&s)).as_deref(), Some("b"));
    assert_eq!(index.len(), 1);
    assert_eq!(index.lookup("b").resolve(table, &key("a")).unwrap().id.get(), 10);
}

#[test]
fn a_full_index_refuses_new_series_and_knows_the_old_ones() {
    let index = SeriesIndex::new(Arc::default(), 4 << 20);
    let lookup = index.lookup("b");
    let mut count = 0;
    let error = loop {
        match lookup.resolve(TableId::new(0), &key(&count.to_string())) {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), crate::error::ErrorKind::LimitExceeded, "{error}");
    assert!(count > 10_000, "{count} series in 4 MiB");
    assert!(lookup.resolve(TableId::new(0), &key("7")).is_ok());
    assert!(index.memory_bytes() < 5 << 20);
}

#[test]
fn sources_and_forgetting_never_mix_series_up() {
    let index = forgetful();
    std::thread::scope(|scope| {
        for source in 0..3 {
            let index = &index;
            scope.spawn(move || {
                for turn in 0..2_000_u32 {
                    let mut lookup = index.lookup("b");
                    let name = format!("{}", (turn * 7 + source) % 97);
                    let spelling = format!("t,n={name}");
                    let found =
                        lookup.by_spelling(spelling.as_bytes()).unwrap_or_else(|| named(&mut lookup, &name));
                    // The pin is held: the series is there, and it is the right one.
                    assert_eq!(name_of(&index.get(found.id).unwrap()), name);
                }
            });
        }
        scope.spawn(|| {
            for round in 1..500 {
                index.next_round(frame(round));
                index.forget(frame(round + 1));
            }
        });
    });
}

/// Many chunks of spellings, and series that only their spellings use.
#[test]
fn series_that_are_used_by_their_spellings_alone_are_never_forgotten() {
    const SERIES: usize = 10_000;
    let index = forgetful();
    let names: Vec<String> =
        (0..SERIES).map(|id| format!("m,building=somewhere,floor=1,room={id}")).collect();
    let mut lookup = index.lookup("b");
    let resolved: Vec<_> =
        names.iter().map(|name| lookup.resolve(TableId::new(0), &key(name)).unwrap()).collect();
    let spellings: Vec<_> = names.iter().map(|name| name.as_bytes()).zip(resolved.iter().copied()).collect();
    lookup.remember(&spellings);
    drop(lookup);
    for round in 1..8 {
        index.next_round(FrameNumber::new(round));
        index.next_round(FrameNumber::new(round));
        let mut lookup = index.lookup("b");
        let mut found = Vec::new();
        lookup.by_spellings(names.iter().map(|name| name.as_bytes()), &mut found);
        assert!(found.iter().zip(&resolved).all(|(found, series)| *found == Some(*series)), "{round}");
        drop(lookup);
        index.forget(FrameNumber::new(round + 1));
        assert_eq!(index.len(), SERIES, "in round {round}");
        assert!(resolved.iter().all(|series| index.get(series.id).is_some()));
    }
}
