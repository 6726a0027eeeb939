//! Snapshots of the rules and their states: one record each in a stream of their own, of which only the newest
//! is kept.
//!
//! A record is a `u32` length, a version byte and JSON ([`Head`]), then for each watch: series `u32`, field
//! `u16` (position in the head's fields), newest `i64`, number of slots `u16`, and for each slot: rule `u16`
//! (position in the head's rules), phase `u8`, since `i64`, last episode `i64`. Little-endian.
//!
//! Invariant: a snapshot is whole or it is not there (one frame of a stream); it names the log position and the
//! alert record behind which replay begins.

use std::sync::Arc;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use storage::model::FrameNumber;
use storage::stream::RecordNumber;

use crate::engine::{Carried, Core, RuleSet};
use crate::error::{Error, Result};
use crate::record::{RuleChange, Transition, from_bytes, to_bytes};
use crate::rule::RuleId;
use crate::state::{Phase, Slot};

/// What a snapshot holds.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Frames up to here are applied.
    pub(crate) position: FrameNumber,
    /// Alert records up to here are applied.
    pub(crate) alert_record: RecordNumber,
    /// The rules in force.
    pub(crate) rules: RuleSet,
    /// Alerts that fire.
    pub(crate) live: Vec<Transition>,
    /// States.
    pub(crate) states: Vec<Carried>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    position: u64,
    alert_record: u64,
    rules: Vec<RuleChange>,
    live: Vec<Transition>,
    fields: Vec<String>,
    ids: Vec<RuleId>,
    watches: u64,
}

/// The record of a snapshot of `core`.
pub(crate) fn encode(core: &Core, position: FrameNumber, alert_record: RecordNumber) -> Result<Vec<u8>> {
    let states = core.states();
    let mut fields = Positions::<Arc<str>>::default();
    let mut ids = Positions::default();
    let mut body = Vec::with_capacity(states.len() * 16);
    for carried in &states {
        body.extend_from_slice(&carried.series.to_le_bytes());
        body.extend_from_slice(&fields.of(&carried.field)?.to_le_bytes());
        body.extend_from_slice(&carried.newest.to_le_bytes());
        body.extend_from_slice(&small(carried.slots.len())?.to_le_bytes());
        for (id, slot) in &carried.slots {
            body.extend_from_slice(&ids.of(id)?.to_le_bytes());
            body.push(slot.phase as u8);
            body.extend_from_slice(&slot.since.to_le_bytes());
            body.extend_from_slice(&slot.last_episode.to_le_bytes());
        }
    }
    let rules = core.rules().all().map(|stored| RuleChange::Put {
        spec: Box::new(stored.rule.spec.clone()),
        version: stored.version,
        origin: stored.origin,
    });
    let head = to_bytes(&Head {
        position: position.get(),
        alert_record: alert_record.get(),
        rules: rules.collect(),
        live: core.live().values().map(|t| Transition::clone(t)).collect(),
        fields: fields.values.iter().map(ToString::to_string).collect(),
        ids: ids.values,
        watches: states.len() as u64,
    })?;
    let length = u32::try_from(head.len()).map_err(|_| too_large())?;
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// Reads a snapshot's record.
pub(crate) fn decode(bytes: &[u8]) -> Result<Snapshot> {
    let mut rest = bytes;
    let length = u32::from_le_bytes(take(&mut rest)?) as usize;
    let (head, mut rest) = rest.split_at_checked(length).ok_or_else(damaged)?;
    let head: Head = from_bytes(head, "snapshot")?;
    let fields: Vec<Arc<str>> = head.fields.iter().map(|f| Arc::from(f.as_str())).collect();
    let mut states = Vec::new();
    for _ in 0..head.watches {
        let series = u32::from_le_bytes(take(&mut rest)?);
        let field = u16::from_le_bytes(take(&mut rest)?);
        let newest = i64::from_le_bytes(take(&mut rest)?);
        let count = u16::from_le_bytes(take(&mut rest)?);
        let slots = (0..count).map(|_| slot(&mut rest, &head.ids)).collect::<Result<_>>()?;
        let field = fields.get(usize::from(field)).cloned().ok_or_else(damaged)?;
        states.push(Carried { series, field, newest, arrived_ms: 0, slots });
    }
    Ok(Snapshot {
        position: FrameNumber::new(head.position),
        alert_record: RecordNumber::new(head.alert_record),
        rules: RuleSet::default().changed(&head.rules)?,
        live: head.live,
        states,
    })
}

fn slot(rest: &mut &[u8], ids: &[RuleId]) -> Result<(RuleId, Slot)> {
    let id = u16::from_le_bytes(take(rest)?);
    let phase = match take::<1>(rest)? {
        [0] => Phase::Inactive,
        [1] => Phase::Pending,
        [2] => Phase::Firing,
        _ => return Err(damaged()),
    };
    let since = i64::from_le_bytes(take(rest)?);
    let last_episode = i64::from_le_bytes(take(rest)?);
    let id = ids.get(usize::from(id)).copied().ok_or_else(damaged)?;
    Ok((id, Slot { phase, since, last_episode }))
}

/// Values by the order of their first use.
struct Positions<T> {
    values: Vec<T>,
    positions: HashMap<T, u16>,
}

impl<T> Default for Positions<T> {
    fn default() -> Self {
        Self { values: Vec::new(), positions: HashMap::new() }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Positions<T> {
    fn of(&mut self, value: &T) -> Result<u16> {
        if let Some(position) = self.positions.get(value) {
            return Ok(*position);
        }
        let position = small(self.values.len())?;
        self.values.push(value.clone());
        self.positions.insert(value.clone(), position);
        Ok(position)
    }
}

fn small(n: usize) -> Result<u16> {
    u16::try_from(n).map_err(|_| too_large())
}

fn too_large() -> Error {
    Error::LimitExceeded("the rules' state does not fit into a snapshot".into())
}

fn damaged() -> Error {
    Error::Damaged(
        "a snapshot of the rules' state is damaged; remove the folder `rule-state` to begin anew".into(),
    )
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N]> {
    let (chunk, tail) = rest.split_first_chunk::<N>().ok_or_else(damaged)?;
    *rest = tail;
    Ok(*chunk)
}
