//! Import of buildings from CSV, streamed.
//!
//! 1. [`lines::Splitter`] cuts the bytes into lines, whatever ends them.
//! 2. The first line names the columns; [`mapping::Mapping`] says where each goes.
//! 3. Lines are applied in transactions of [`LINES_PER_TRANSACTION`], so other writers wait at most for one of them.
//!
//! Invariants: every input line after the header has exactly one result, in order, sent after its transaction is
//! durable; a bad line costs only itself; memory is bounded by one transaction and the keys seen.

mod lines;
mod mapping;

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::AssertSqlSafe;

pub use lines::MAX_LINE_BYTES;

use super::Registry;
use super::building::Building;
use super::entity::{Kind, Record, Resource, Stored};
use super::error::{Fault, Faults, Result};
use super::id::BuildingId;
use super::write::{Expected, Write};
use lines::{Line, Splitter};
use mapping::Mapping;

/// Lines of one transaction. Measured: 33 ms for 1,000 rows, so an interactive write hardly notices.
const LINES_PER_TRANSACTION: usize = 1_000;
/// Lines of one import, because the keys seen are kept in memory (about 100 B each).
const MAX_LINES: usize = 100_000;

/// Whether rows that exist may be changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ImportMode {
    /// A key that exists is a fault of its line.
    #[default]
    Create,
    /// A key that exists is updated: what the file has a column for is replaced, the rest stays.
    Upsert,
}

/// How a file is to be read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ImportOptions {
    /// What to do with keys that exist.
    pub mode: ImportMode,
    /// Do everything but keep nothing.
    pub dry_run: bool,
    /// The source of lines that have no column for it.
    pub source: Option<String>,
    /// Pairs of property and column: `("name", "uid")`. A column whose name is a property needs none. The property
    /// `attr.<name>` renames an attribute; a column that is not mapped becomes an attribute of its own name.
    pub columns: Vec<(String, String)>,
}

/// What became of a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LineResult {
    /// The number of the line in the file, from 1; the header is a line.
    pub line: u64,
    /// What became of it.
    pub outcome: LineOutcome,
}

/// What became of a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LineOutcome {
    /// A new row; in a dry run it has no id.
    Created(Option<BuildingId>),
    /// A row was changed.
    Updated(BuildingId),
    /// The row was like this already.
    Unchanged(BuildingId),
    /// Nothing was done, because of these faults.
    Failed(Vec<Fault>),
}

/// A running import. Give it bytes as they come, then finish it.
#[derive(Debug)]
pub struct BuildingImport {
    registry: Arc<Registry>,
    options: ImportOptions,
    splitter: Splitter,
    mapping: Option<Mapping>,
    pending: Vec<Line>,
    /// External key and the line that had it first.
    seen: HashMap<(String, String), u64>,
    lines: usize,
}

impl BuildingImport {
    /// Begins an import.
    #[must_use]
    pub fn new(registry: Arc<Registry>, options: ImportOptions) -> Self {
        Self {
            registry,
            options,
            splitter: Splitter::default(),
            mapping: None,
            pending: Vec::new(),
            seen: HashMap::new(),
            lines: 0,
        }
    }

    /// Takes the next bytes; returns the results of the lines that are done.
    ///
    /// # Errors
    /// When the header cannot be mapped or the database fails. The lines without a result were not kept.
    pub async fn push(&mut self, bytes: &[u8]) -> Result<Vec<LineResult>> {
        self.splitter.push(bytes);
        self.take_lines().await
    }

    /// Ends the file; returns the results of all lines that had none yet.
    ///
    /// # Errors
    /// As [`BuildingImport::push`]; also when there was no header.
    pub async fn finish(mut self) -> Result<Vec<LineResult>> {
        self.splitter.finish();
        let mut results = self.take_lines().await?;
        if self.mapping.is_none() {
            return Err(Faults::one("", "no_header", "the file must begin with a line of column names"));
        }
        results.extend(self.apply().await?);
        Ok(results)
    }

    async fn take_lines(&mut self) -> Result<Vec<LineResult>> {
        let mut results = Vec::new();
        while let Some(line) = self.splitter.next_line() {
            if self.mapping.is_none() {
                self.mapping = Some(Mapping::new(&self.options, line)?);
                continue;
            }
            self.lines += 1;
            if self.lines > MAX_LINES {
                let detail = format!("a file may have {MAX_LINES} lines: split it");
                return Err(Faults::one("", "too_many_lines", detail));
            }
            self.pending.push(line);
            if self.pending.len() >= LINES_PER_TRANSACTION {
                results.extend(self.apply().await?);
            }
        }
        Ok(results)
    }

    /// Applies the pending lines in one transaction. They are durable on return, unless this is a dry run.
    async fn apply(&mut self) -> Result<Vec<LineResult>> {
        let Some(mapping) = &self.mapping else { return Ok(Vec::new()) };
        let lines = std::mem::take(&mut self.pending);
        if lines.is_empty() {
            return Ok(Vec::new());
        }
        let mut write = self.registry.write().await?;
        let keys: Vec<String> = lines.iter().filter_map(|line| mapping.external_id(line)).collect();
        let known = existing(&mut write, keys).await?;
        let mut inserts = Vec::new();
        let mut results = Vec::with_capacity(lines.len());
        for line in &lines {
            let number = line.number;
            let outcome = match plan(mapping, &self.options, line, &known, &mut self.seen) {
                Err(faults) => LineOutcome::Failed(faults),
                Ok(Plan::Insert(building)) => {
                    let id: BuildingId = write.new_id();
                    inserts.push((id, building.values()));
                    LineOutcome::Created((!self.options.dry_run).then_some(id))
                }
                Ok(Plan::Update(old, building)) => {
                    let new = write.update(old.id, &Expected::Any, building).await?;
                    if new.rev == old.rev {
                        LineOutcome::Unchanged(old.id)
                    } else {
                        LineOutcome::Updated(old.id)
                    }
                }
            };
            results.push(LineResult { line: number, outcome });
        }
        write.insert_checked::<Building>(inserts).await?;
        if self.options.dry_run {
            drop(write);
        } else {
            write.commit().await?;
        }
        Ok(results)
    }
}

/// What a good line asks for.
enum Plan {
    Insert(Building),
    Update(Box<Record<Building>>, Building),
}

type Known = HashMap<(String, String), Record<Building>>;

fn plan(
    mapping: &Mapping,
    options: &ImportOptions,
    line: &Line,
    known: &Known,
    seen: &mut HashMap<(String, String), u64>,
) -> Result<Plan, Vec<Fault>> {
    let fields = mapping.fields(line).map_err(|fault| vec![fault])?;
    let mut faults = Faults::default();
    let draft = mapping.apply(fields, Building::default(), &mut faults);
    let key = key(&draft);
    let old = key.as_ref().and_then(|key| known.get(key));
    let building = match old {
        Some(old) if options.mode == ImportMode::Upsert => {
            mapping.apply(fields, old.fields.clone(), &mut Faults::default())
        }
        _ => draft,
    };
    building.check(&mut faults);
    if old.is_some() && options.mode == ImportMode::Create {
        faults.add(
            "/external_id",
            "already_exists",
            "another building has this key: use mode=upsert to change it",
        );
    }
    if let Some(first) = key.as_ref().and_then(|key| seen.get(key)) {
        faults.add("/external_id", "duplicate", format!("line {first} has the same key"));
    }
    if !faults.is_empty() {
        return Err(faults.into_vec());
    }
    if let Some(key) = key {
        seen.insert(key, line.number);
    }
    Ok(match old {
        Some(old) => Plan::Update(Box::new(old.clone()), building),
        None => Plan::Insert(building),
    })
}

/// Source and external id, if the building has an external id.
fn key(building: &Building) -> Option<(String, String)> {
    building.external_id.clone().map(|id| (building.source.clone().unwrap_or_default(), id))
}

/// The living buildings with these external ids, of any source.
async fn existing(write: &mut Write, external_ids: Vec<String>) -> Result<Known> {
    if external_ids.is_empty() {
        return Ok(Known::new());
    }
    let places = vec!["?"; external_ids.len()].join(", ");
    let table = Kind::Building.table();
    let sql = format!("SELECT * FROM {table} WHERE deleted_at IS NULL AND external_id IN ({places})");
    let mut statement = sqlx::query(AssertSqlSafe(sql));
    for id in external_ids {
        statement = statement.bind(id);
    }
    let rows = statement.fetch_all(write.connection()).await?;
    let mut known = Known::with_capacity(rows.len());
    for row in &rows {
        let record = Record::<Building>::from_row(row)?;
        if let Some(key) = key(&record.fields) {
            known.insert(key, record);
        }
    }
    Ok(known)
}
