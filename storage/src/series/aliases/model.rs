//! Table and arena under `loom`, which tries every order in which threads may see each other's stores, as the memory model
//! allows it.

use std::sync::Arc;

use loom::thread;

use self::table::{Fill, Table};
use super::Spelling;
use crate::model::{SeriesId, TableId};
use crate::series::SeriesRef;

#[allow(dead_code, clippy::duplicate_mod, reason = "the same code with other atomics, and not all of it")]
#[path = "arena.rs"]
mod arena;
#[allow(dead_code, clippy::duplicate_mod, reason = "as above")]
#[path = "table.rs"]
mod table;

mod sync {
    pub(super) use loom::sync::atomic::AtomicU64;

    /// Little, because each word is followed.
    pub(super) const CHUNK_BITS: u32 = 5;
}

const FIRST: Spelling<'_> = Spelling { hash: 7, database: 1, raw: b"m,tag=first" };
/// Behind the first one in the same probes.
const SECOND: Spelling<'_> = Spelling { hash: 7, database: 1, raw: b"m,tag=second" };

fn series(id: u32) -> SeriesRef {
    SeriesRef { id: SeriesId::new(id), table: TableId::new(id + 1) }
}

/// A table with the first spelling and room for the second, and how far it is filled.
fn table() -> (Arc<Table>, Fill) {
    let mut fill = Fill::default();
    let table = Table::default().insert(&mut fill, FIRST, series(1), 1).unwrap();
    (Arc::new(table), fill)
}

#[test]
fn whoever_finds_a_spelling_while_it_is_added_sees_all_of_it() {
    loom::model(|| {
        let (table, mut fill) = table();
        let reader = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                let found = table.find(SECOND);
                assert!(found.is_none_or(|offset| table.arena.series(offset) == Some(series(2))));
                let offset = table.find(FIRST).unwrap();
                assert_eq!(table.arena.series(offset), Some(series(1)));
            })
        };
        assert!(table.insert(&mut fill, SECOND, series(2), 1).is_none());
        reader.join().unwrap();
        let offset = table.find(SECOND).unwrap();
        assert_eq!((table.arena.series(offset), table.arena.used(offset)), (Some(series(2)), 1));
    });
}

#[test]
fn whoever_follows_to_a_spelling_while_it_is_added_sees_all_of_it() {
    loom::model(|| {
        let (table, mut fill) = table();
        let reader = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                let first = table.find(FIRST).unwrap();
                if let Some(next) = table.arena.next(first) {
                    let length = table.arena.length_before_space(next, 1, b"m,tag=second f=1");
                    assert_eq!(length, Some(SECOND.raw.len()));
                    assert_eq!(table.arena.series(next), Some(series(2)));
                    table.arena.touch(next, 3);
                }
            })
        };
        assert!(table.insert(&mut fill, SECOND, series(2), 1).is_none());
        reader.join().unwrap();
    });
}

#[test]
fn the_last_of_the_rounds_in_which_many_use_a_spelling_stays() {
    loom::model(|| {
        let (table, _) = table();
        let users: Vec<_> = [3, 2]
            .into_iter()
            .map(|round| {
                let table = Arc::clone(&table);
                thread::spawn(move || table.arena.touch(table.find(FIRST).unwrap(), round))
            })
            .collect();
        users.into_iter().for_each(|user| user.join().unwrap());
        let offset = table.find(FIRST).unwrap();
        assert_eq!((table.arena.used(offset), table.arena.series(offset)), (3, Some(series(1))));
    });
}
