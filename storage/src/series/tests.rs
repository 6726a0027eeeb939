//! Tests of the series index.

use std::sync::Arc;

use super::{SeriesIndex, canonical_key};
use crate::catalog::{Definition, DefinitionQueue};
use crate::model::{SeriesId, TableId};

#[test]
fn a_canonical_key_gives_its_tags_back() {
    let tags = [(0, "a"), (3, ""), (7, "µ=,\n")];
    let index = SeriesIndex::new(Arc::default());
    let series = index.resolve(TableId::new(1), &canonical_key(tags.into_iter()).unwrap()).unwrap();
    assert_eq!(series.tags().collect::<Vec<_>>(), tags);
    assert_eq!(series.tag(7), Some("µ=,\n"));
    assert_eq!(series.tag(1), None);
}

#[test]
fn sources_that_meet_a_new_series_at_once_get_one_id_and_one_definition() {
    let queue = Arc::new(DefinitionQueue::default());
    let index = Arc::new(SeriesIndex::new(queue.clone()));
    let ids: Vec<Vec<u32>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let index = Arc::clone(&index);
                scope.spawn(move || {
                    let one = |i: u32| {
                        let value = i.to_string();
                        let key = canonical_key(std::iter::once((0, value.as_str()))).unwrap();
                        index.resolve(TableId::new(0), &key).unwrap().id.get()
                    };
                    (0..1_000).map(one).collect()
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|other| *other == ids[0]));
    assert_eq!(index.len(), 1_000);
    let defined = queue.drain();
    assert_eq!(defined.len(), 1_000);
    let copy = SeriesIndex::new(Arc::default());
    for definition in defined.iter().rev() {
        let Definition::Series { id, table, key } = definition else { panic!("{definition:?}") };
        copy.restore(*id, *table, key).unwrap();
        copy.restore(*id, *table, key).unwrap();
    }
    assert_eq!(copy.get(SeriesId::new(7)), index.get(SeriesId::new(7)));
    assert!(copy.restore(SeriesId::new(7), TableId::new(9), b"").is_err());
}

#[test]
fn a_spelling_is_remembered_per_database() {
    let index = SeriesIndex::new(Arc::default());
    let a = index.resolve(TableId::new(0), b"").unwrap();
    let b = index.resolve(TableId::new(1), b"").unwrap();
    index.remember_spelling("a", b"cpu", &a);
    index.remember_spelling("b", b"cpu", &b);
    assert_eq!(index.by_spelling("a", b"cpu").unwrap().id, a.id);
    assert_eq!(index.by_spelling("b", b"cpu").unwrap().id, b.id);
    assert!(index.by_spelling("c", b"cpu").is_none());
}
