//! The names of the simulated disk, and those of them that are on the medium.
//!
//! Invariant: the durable names and then all pending changes, in their order, give the names that are seen.

use std::collections::{BTreeMap, BTreeSet};

use super::Random;

/// A name in a folder, which is given by its inode.
pub(super) type Name = (u64, String);

/// A change of names that is done as a whole: what each name leads to from then on.
#[derive(Debug, Clone)]
struct Change {
    names: Vec<(Name, Option<u64>)>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    pub(super) seen: BTreeMap<Name, u64>,
    durable: BTreeMap<Name, u64>,
    pending: Vec<Change>,
}

impl Change {
    fn touches(&self, names: &BTreeSet<Name>) -> bool {
        self.names.iter().any(|(name, _)| names.contains(name))
    }

    fn apply(&self, to: &mut BTreeMap<Name, u64>) {
        for (name, inode) in &self.names {
            match inode {
                Some(inode) => to.insert(name.clone(), *inode),
                None => to.remove(name),
            };
        }
    }
}

impl Names {
    /// Changes what names lead to.
    pub(super) fn change(&mut self, names: Vec<(Name, Option<u64>)>) {
        let change = Change { names };
        change.apply(&mut self.seen);
        self.pending.push(change);
    }

    /// The names of a folder.
    pub(super) fn of_folder(&self, folder: u64) -> impl Iterator<Item = (&str, u64)> {
        let from = self.seen.range((folder, String::new())..);
        from.take_while(move |((of, _), _)| *of == folder).map(|((_, name), inode)| (name.as_str(), *inode))
    }

    /// Makes the changes of a folder durable, with those before them that they build on.
    pub(super) fn sync(&mut self, folder: u64) {
        let mut needed = BTreeSet::new();
        let mut settled = Vec::new();
        let mut left = Vec::new();
        for change in std::mem::take(&mut self.pending).into_iter().rev() {
            if change.touches(&needed) || change.names.iter().any(|((of, _), _)| *of == folder) {
                needed.extend(change.names.iter().map(|(name, _)| name.clone()));
                settled.push(change);
            } else {
                left.push(change);
            }
        }
        settled.iter().rev().for_each(|change| change.apply(&mut self.durable));
        self.pending = left.into_iter().rev().collect();
    }

    /// The names after a power cut: any of the pending changes are lost, with those that build on them.
    pub(super) fn survive(mut self, random: &mut Random) -> Self {
        let mut lost = BTreeSet::new();
        for change in std::mem::take(&mut self.pending) {
            if change.touches(&lost) || random.chance(50) {
                lost.extend(change.names.into_iter().map(|(name, _)| name));
            } else {
                change.apply(&mut self.durable);
            }
        }
        self.seen.clone_from(&self.durable);
        self
    }
}
