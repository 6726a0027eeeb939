//! Tests of the spellings: what one thread sees, and what many do.

use std::collections::{HashMap, HashSet};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::{Aliases, LastUse, Spelling};
use crate::model::{SeriesId, TableId};
use crate::series::SeriesRef;

fn series(id: u32) -> SeriesRef {
    SeriesRef { id: SeriesId::new(id), table: TableId::new(id / 7) }
}

/// Hashes that often fall together.
fn spelling(database: u16, raw: &[u8]) -> Spelling<'_> {
    let hash =
        raw.iter().fold(u32::from(database), |hash, byte| hash.wrapping_mul(31).wrapping_add((*byte).into()));
    Spelling { hash: hash % 251, database, raw }
}

fn means(aliases: &Aliases, database: u16, raw: &[u8], round: u32) -> Option<u32> {
    aliases.read().find(spelling(database, raw), round).map(|(series, _)| series.id.get())
}

/// The series of lines that are followed from the spelling of the first one.
fn followed(aliases: &Aliases, lines: &[String]) -> Vec<u32> {
    let reader = aliases.read();
    let first = lines[0].split(' ').next().unwrap();
    let (found, mut cursor) = reader.find(spelling(0, first.as_bytes()), 0).unwrap();
    let mut ids = vec![found.id.get()];
    for line in &lines[1..] {
        let Some((series, length, next)) = reader.follow(cursor, 0, line.as_bytes(), 0) else { break };
        assert_eq!(&line[length..=length], " ");
        ids.push(series.id.get());
        cursor = next;
    }
    ids
}

/// What is told.
fn told(drop: impl FnOnce(&mut dyn FnMut(Vec<LastUse>))) -> Vec<LastUse> {
    let mut told = Vec::new();
    drop(&mut |uses| told = uses);
    told
}

#[derive(Debug, Clone)]
enum Step {
    Insert(u16, Vec<u8>, u32),
    Find(u16, Vec<u8>),
    ForgetBefore(u32, bool),
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    // Lengths on both sides of whole words, and some that fill a chunk soon.
    let raw = prop_oneof![
        8 => prop::collection::vec(prop::sample::select(b"ab=,".to_vec()), 1..20),
        1 => (prop::sample::select(vec![1, 7, 8, 9, 40_000, 65_535]), any::<u8>()).prop_map(|(n, byte)| vec![byte; n]),
    ];
    let database = 0_u16..2;
    prop_oneof![
        12 => (database.clone(), raw.clone(), 0_u32..1_000).prop_map(|(d, raw, id)| Step::Insert(d, raw, id)),
        8 => (database, raw).prop_map(|(d, raw)| Step::Find(d, raw)),
        1 => (0_u32..200, any::<bool>()).prop_map(|(ago, room)| Step::ForgetBefore(ago, room)),
        1 => Just(Step::Clear),
    ]
}

proptest! {
    #[test]
    fn spellings_mean_what_they_were_said_to_mean_until_they_are_dropped(
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let aliases = Aliases::default();
        // What each means, and the round in which it was used last: each step is a round.
        let mut model: HashMap<(u16, Vec<u8>), (u32, u32)> = HashMap::new();
        for (round, step) in (0_u32..).zip(steps) {
            match step {
                Step::Insert(database, raw, id) => {
                    aliases.insert(&[(spelling(database, &raw), series(id))], round, usize::MAX);
                    model.insert((database, raw), (id, round));
                }
                Step::Find(database, raw) => {
                    let found = means(&aliases, database, &raw, round);
                    let known = model.get_mut(&(database, raw));
                    prop_assert_eq!(found, known.as_ref().map(|(id, _)| *id));
                    if let Some((_, used)) = known {
                        *used = round;
                    }
                }
                Step::ForgetBefore(ago, has_room) => {
                    let since = round.saturating_sub(ago);
                    let room = if has_room { usize::MAX } else { 0 };
                    let mut uses = told(|tell| aliases.forget_before(since, room, tell));
                    let mut known: Vec<_> = model.values().copied().collect();
                    uses.sort_unstable();
                    known.sort_unstable();
                    prop_assert_eq!(uses, known);
                    model.retain(|_, (_, used)| *used >= since);
                    if !has_room {
                        model.clear();
                    }
                }
                Step::Clear => {
                    let mut dropped = told(|tell| aliases.clear_above(0, tell));
                    let mut known: Vec<_> = model.drain().map(|(_, known)| known).collect();
                    dropped.sort_unstable();
                    known.sort_unstable();
                    prop_assert_eq!(dropped, known);
                }
            }
        }
        for ((database, raw), (id, _)) in &model {
            prop_assert_eq!(means(&aliases, *database, raw, 0), Some(*id));
        }
    }
}

#[test]
fn lines_are_followed_in_the_order_in_which_their_series_came() {
    let aliases = Aliases::default();
    // Over the ends of chunks.
    let name = |id: u32| format!("m,tag={}{id}", "x".repeat(id as usize % 90));
    for id in 0..20_000 {
        aliases.insert(&[(spelling(0, name(id).as_bytes()), series(id))], 0, usize::MAX);
    }
    let mut lines: Vec<String> = (0..20_000).map(|id| format!("{} f=1 5", name(id))).collect();
    assert_eq!(followed(&aliases, &lines), (0..20_000).collect::<Vec<_>>());
    // Another series, the same with more behind it, and less of it.
    for other in ["m f=1 5".to_owned(), format!("{},more=1 f=1 5", name(700)), name(700)] {
        lines[700] = other;
        assert_eq!(followed(&aliases, &lines).len(), 700);
    }
    lines[700] = format!("{} f=1 5", name(700));
    for round in 1..4 {
        for (id, line) in (0_u32..).zip(&lines) {
            let raw = line.split(' ').next().unwrap();
            assert_eq!(means(&aliases, 0, raw.as_bytes(), round), Some(id));
        }
        let mut uses = told(|tell| aliases.forget_before(0, usize::MAX, tell));
        uses.sort_unstable();
        assert!(uses.into_iter().eq((0..20_000).map(|id| (id, round))), "each is told to be used");
        assert_eq!(followed(&aliases, &lines), (0..20_000).collect::<Vec<_>>(), "who is kept stays in order");
    }
}

#[test]
fn a_cursor_leads_nowhere_once_spellings_were_dropped() {
    let aliases = Aliases::default();
    for id in 0..3 {
        aliases.insert(&[(spelling(0, format!("m,tag={id}").as_bytes()), series(id))], id, usize::MAX);
    }
    let (_, cursor) = aliases.read().find(spelling(0, b"m,tag=0"), 0).unwrap();
    assert!(aliases.read().follow(cursor, 0, b"m,tag=1 f=1", 0).is_some());
    assert!(aliases.read().follow(cursor, 1, b"m,tag=1 f=1", 0).is_none(), "another database");
    aliases.forget_before(1, usize::MAX, |_| {});
    assert!(aliases.read().follow(cursor, 0, b"m,tag=1 f=1", 0).is_none());
}

#[test]
fn spellings_take_no_more_than_they_may_and_what_comes_then_takes_the_place_of_the_others() {
    const MAX_BYTES: usize = 1 << 20;
    let aliases = Aliases::default();
    let names: Vec<String> = (0..20_000).map(|id| format!("m,tag={id:0>90}")).collect();
    let spellings: Vec<_> =
        names.iter().zip(0..).map(|(name, id)| (spelling(0, name.as_bytes()), series(id))).collect();
    let left = aliases.insert(&spellings, 3, MAX_BYTES);
    assert!((1..19_000).contains(&left.len()), "{} were left", left.len());
    assert!(aliases.memory_bytes() <= MAX_BYTES + MAX_BYTES / 8);
    let cleared = |max_bytes| told(|tell| aliases.clear_above(max_bytes, tell));
    assert_eq!(cleared(2 * MAX_BYTES), []);
    assert_eq!(cleared(MAX_BYTES).len(), 20_000 - left.len());
    assert_eq!(cleared(MAX_BYTES), [], "whoever comes later drops nothing that is new");
    // Whatever it may take, there is room for one.
    for one in left.chunks(1) {
        assert!(aliases.insert(one, 3, 0).is_empty());
        assert_eq!(cleared(0), [(one[0].1.id.get(), 3)]);
    }
}

/// Readers find and use spellings while they are dropped. What a reader has used in the current round is told as used when
/// it is dropped or kept, however late it was found in the table that goes.
#[test]
fn what_is_used_while_spellings_are_dropped_is_told() {
    const SERIES: u32 = 500;
    const READERS: usize = 2;
    let name = |id: u32| format!("m,tag={id}").into_bytes();
    let aliases = Aliases::default();
    let mut met = 0;
    for round in 1..200_u32 {
        let (before, now) = (round * 2, round * 2 + 1);
        for id in 0..SERIES {
            aliases.insert(&[(spelling(0, &name(id)), series(id))], before, usize::MAX);
        }
        let (is_over, begun) = (AtomicBool::new(false), Barrier::new(READERS + 1));
        let (used, told) = std::thread::scope(|scope| {
            let reader = || {
                let mut used = Vec::new();
                begun.wait();
                while !is_over.load(Ordering::Relaxed) {
                    for id in (0..SERIES).step_by(7) {
                        if let Some(found) = means(&aliases, 0, &name(id), now) {
                            assert_eq!(found, id);
                            used.push(id);
                        }
                    }
                }
                used
            };
            let readers: Vec<_> = (0..READERS).map(|_| scope.spawn(reader)).collect();
            begun.wait();
            // Later each time, so that it meets the readers in many places.
            (0..round * 10).for_each(|_| std::hint::spin_loop());
            let told = match round.is_multiple_of(2) {
                true => told(|tell| aliases.clear_above(0, tell)),
                false => told(|tell| aliases.forget_before(now, usize::MAX, tell)),
            };
            is_over.store(true, Ordering::Relaxed);
            let used: HashSet<u32> = readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect();
            (used, told)
        });
        let told: HashSet<u32> =
            told.into_iter().filter(|(_, used)| *used == now).map(|(id, _)| id).collect();
        for id in used {
            // Found behind the drop, it is there still.
            let is_there = aliases.read().find(spelling(0, &name(id)), 0).is_some();
            assert!(told.contains(&id) || is_there, "series {id} was used and nobody was told");
        }
        met += told.len();
    }
    assert!(met > 0, "no reader ever used what was dropped");
}
