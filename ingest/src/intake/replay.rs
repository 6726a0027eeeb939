//! Lines of the quarantine, tried again: the ordinary way of a line, with the time at which it once came.
//!
//! 1. Lines are read and decoded as ever, against the schemas and bounds of now.
//! 2. Of what fits, fields that their point has already are left out: whatever was written to it since is newer. What is
//!    left is written if it is missing still when the writer comes to it ([`storage::missing`]), and awaited; else it is
//!    looked up again.
//! 3. What fitted leaves the quarantine; what was refused again stays, with its new reason.
//!
//! Invariants: a line leaves after it is durable and visible. When 3 is not reached, the next replay finds what was
//! written. No value that was acknowledged is replaced. Of lines of one point that are tried together the last wins.

use std::collections::BTreeMap;
use std::sync::Arc;

use storage::log::{EncodedBatch, encode_batch};
use storage::model::DatabaseName;
use storage::quarantine::{Filter, KeptLine, LineId, Quarantine};

use super::batch::BatchBuilder;
use super::problem::LineProblem;
use super::set_aside::{LINE, ROW, detail, row_of_form};
use super::{Intake, Protocol, RETRY_AFTER, WriteError, unblocked};
use crate::line_protocol::Precision;

/// Bytes of lines that are tried together: a large body.
const PAGE_BYTES: u64 = 8 << 20;

/// How often points are looked up: again only when others write to the same ones, or a flush comes between.
const MAX_LOOKS: usize = 16;

/// What became of lines that were tried again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Lines that are stored, and left the quarantine.
    pub stored: usize,
    /// Lines that were refused again.
    pub refused: usize,
    /// The last line that was tried.
    pub last: Option<LineId>,
}

/// Lines of one database, by whether rows of it that have expired are refused.
type Groups = BTreeMap<(Box<str>, bool), Vec<(LineId, KeptLine)>>;

impl Intake {
    /// Tries lines again that are meant, in the order of their ids, after `after`, at most `limit`. None is left when
    /// the answer has no `last`.
    ///
    /// # Errors
    /// Why lines could be neither stored nor refused; some may be stored and gone.
    pub async fn replay(
        &self,
        filter: Filter,
        after: Option<LineId>,
        limit: usize,
    ) -> Result<Replayed, WriteError> {
        let Some(quarantine) = &self.quarantine else { return Ok(Replayed::default()) };
        let _turn = quarantine.replay_turn().await?;
        let lines = quarantine.page(filter, after, (limit, PAGE_BYTES)).await?;
        self.replay_lines(quarantine, lines).await
    }

    /// Tries one line again; `None` when it is not there.
    ///
    /// # Errors
    /// Why it could be neither stored nor refused.
    pub async fn replay_line(&self, id: LineId) -> Result<Option<Replayed>, WriteError> {
        let Some(quarantine) = &self.quarantine else { return Ok(None) };
        let _turn = quarantine.replay_turn().await?;
        match quarantine.line(id).await? {
            Some(line) => Ok(Some(self.replay_lines(quarantine, vec![(id, line)]).await?)),
            None => Ok(None),
        }
    }

    async fn replay_lines(
        &self,
        quarantine: &Arc<Quarantine>,
        lines: Vec<(LineId, KeptLine)>,
    ) -> Result<Replayed, WriteError> {
        let mut replayed = Replayed { last: lines.last().map(|(id, _)| *id), ..Replayed::default() };
        let mut groups = Groups::new();
        for (id, line) in lines {
            let refuses = Protocol::of_name(&line.protocol).is_some_and(Protocol::refuses_expired);
            groups.entry((line.database.clone(), refuses)).or_default().push((id, line));
        }
        for ((database, refuses_expired), lines) in groups {
            let problems = self.store_again(&database, refuses_expired, &lines).await?;
            let (mut gone, mut changed) = (Vec::new(), Vec::new());
            for ((id, line), problem) in lines.into_iter().zip(problems) {
                let Some(problem) = problem else {
                    gone.push(id);
                    continue;
                };
                replayed.refused += 1;
                let (reason, detail) = (problem.code(), detail(&problem));
                if *line.reason != *reason || line.detail != detail {
                    changed.push((id, KeptLine { reason: reason.into(), detail, ..line }));
                }
            }
            replayed.stored += gone.len();
            quarantine.change(gone, changed).await?;
        }
        Ok(replayed)
    }

    /// Stores what fits, and says of each line what keeps it out.
    async fn store_again(
        &self,
        database: &str,
        refuses_expired: bool,
        lines: &[(LineId, KeptLine)],
    ) -> Result<Vec<Option<LineProblem>>, WriteError> {
        let all = |why: String| Ok(vec![Some(LineProblem::Name(why)); lines.len()]);
        let database = match DatabaseName::new(database) {
            Ok(database) => database,
            Err(error) => return all(error.to_string()),
        };
        let bytes = lines.iter().map(|(_, line)| line.content.len()).sum();
        match self.admit(&database, bytes) {
            Err(WriteError::DatabaseNotFound(name)) => return all(format!("database not found: {name:?}")),
            admitted => admitted?,
        }
        let lines: Arc<[_]> = lines.into();
        for _ in 0..MAX_LOOKS {
            let decode = || async {
                let (own, database, lines) = (self.clone(), database.clone(), Arc::clone(&lines));
                let work = move || {
                    let refused_at = refuses_expired.then(|| own.engine.now());
                    own.decode(&database, refused_at, |builder| {
                        Ok(lines.iter().map(|(_, line)| add(builder, line).err()).collect::<Vec<_>>())
                    })
                };
                unblocked(work).await?
            };
            let ((batch, pin), problems) = self.born(decode).await?;
            let (batch, as_of) = self.engine.missing(batch).await?.into_parts();
            if batch.is_empty() && !self.engine.has_pending_definitions() {
                return Ok(problems);
            }
            let encoded = EncodedBatch { pin: Some(pin), ..encode_batch(batch)? };
            if self.hand_over(encoded, Some(as_of)).await? {
                return Ok(problems);
            }
        }
        Err(WriteError::Busy { retry_after: RETRY_AFTER })
    }
}

fn add<'l>(builder: &mut BatchBuilder<'l>, line: &'l KeptLine) -> Result<(), LineProblem> {
    let unknown = || LineProblem::Name("the line was kept by another release, which can replay it".into());
    match &*line.form {
        LINE => {
            let precision = Precision::of_name(&line.precision).ok_or_else(unknown)?;
            // A row that is in without a field is what its endpoint makes of such a line.
            builder.add_line(&line.content, precision, line.received_at).map(drop)
        }
        ROW => {
            let row = row_of_form(&line.database, &line.content).ok_or_else(unknown)?;
            builder.add_row(&row, line.received_at)
        }
        _ => Err(unknown()),
    }
}
