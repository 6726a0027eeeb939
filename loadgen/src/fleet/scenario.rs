//! What a fleet does over time: the phases of a TOML file.
//!
//! Loads are multiples of `--rate`, so that one file serves a gateway and a data center.

use crate::error::LoadError;
use crate::fleet::schedule::Schedule;
use crate::terminal;
use serde::{Deserialize, Deserializer};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

/// Scenarios that the program knows, by their names.
pub const BUILT_IN: [(&str, &str); 6] = [
    ("steady", include_str!("../../scenarios/steady.toml")),
    ("ramp", include_str!("../../scenarios/ramp.toml")),
    ("burst", include_str!("../../scenarios/burst.toml")),
    ("reconnect-storm", include_str!("../../scenarios/reconnect-storm.toml")),
    ("late-data", include_str!("../../scenarios/late-data.toml")),
    ("churn", include_str!("../../scenarios/churn.toml")),
];

/// Each row has a microsecond of its own, so that the read-back can tell it from all others.
pub const MOST_ROWS_PER_SECOND: f64 = 500_000.0;

/// The least that a phase or a burst lasts, and that is between two reconnects.
const SHORTEST: Duration = Duration::from_millis(100);

/// The most that a phase lasts: a month.
const LONGEST: Duration = Duration::from_secs(31 * 86_400);

/// A scenario, as it is written down.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it shows.
    #[serde(default)]
    pub about: String,
    /// One after the other.
    #[serde(rename = "phase", default)]
    pub phases: Vec<Phase>,
}

/// Some time in which a fleet does the same.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// For the report.
    pub name: String,
    /// How long it lasts.
    #[serde(rename = "for", deserialize_with = "duration")]
    pub length: Duration,
    /// Rows per second at its start, as a multiple of `--rate`.
    pub load: f64,
    /// The same at its end; without it the load stays.
    pub to: Option<f64>,
    /// Times of another load.
    pub burst: Option<Burst>,
    /// All connections are closed and opened again whenever so much time has passed.
    #[serde(default, deserialize_with = "some_duration")]
    pub reconnect: Option<Duration>,
    /// Batches that come late.
    pub late: Option<Late>,
    /// So many devices go in each second, and as many that were never heard of come.
    #[serde(default)]
    pub newcomers: u64,
}

/// A load that comes again and again.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Burst {
    /// Rows per second, as a multiple of `--rate`.
    pub load: f64,
    /// From the start of one to the start of the next; the first comes when so much has passed once.
    #[serde(deserialize_with = "duration")]
    pub every: Duration,
    /// How long each lasts.
    #[serde(rename = "for", deserialize_with = "duration")]
    pub length: Duration,
}

/// Batches whose rows are old.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Late {
    /// How many of all batches, from 0 to 1.
    pub share: f64,
    /// How old their rows are.
    #[serde(deserialize_with = "duration")]
    pub by: Duration,
}

/// Prints a known scenario, or the names of all.
///
/// # Errors
/// [`LoadError::Options`] when no scenario has this name.
pub fn print(name: Option<&str>) -> Result<bool, LoadError> {
    let Some(name) = name else {
        for (name, _) in BUILT_IN {
            terminal::result(&format!("{name:<16} {}\n", Scenario::read(name)?.about));
        }
        return Ok(true);
    };
    let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) else {
        return Err(LoadError::Options(format!(
            "no scenario is known as {name}; `loadgen scenario` lists them"
        )));
    };
    terminal::result(text);
    Ok(true)
}

/// What a scenario means for a fleet of a certain rate.
#[derive(Debug, Clone)]
pub struct Course {
    /// When rows are due.
    pub schedule: Schedule,
    /// One after the other.
    pub spans: Vec<Span>,
    /// When all connections are opened anew, counted from the start.
    pub reconnects: Vec<Duration>,
    /// How old late rows are; 0 if there are none.
    pub late_by: Duration,
}

/// The rows of a phase.
#[derive(Debug, Clone)]
pub struct Span {
    /// The name of the phase.
    pub name: String,
    /// Its start, counted from that of the run.
    pub start: Duration,
    /// Its rows.
    pub rows: Range<u64>,
    late_share: f64,
    newcomers_before: u64,
    newcomers: u64,
}

impl Scenario {
    /// Reads a scenario that is known by this name, or else the file there.
    ///
    /// # Errors
    /// [`LoadError::File`] when there is neither; [`LoadError::Options`] when it makes no sense.
    pub fn read(name: &str) -> Result<Self, LoadError> {
        let known = BUILT_IN.iter().find(|(known, _)| *known == name);
        let text = match known {
            Some((_, text)) => (*text).to_owned(),
            None => std::fs::read_to_string(name).map_err(|error| {
                let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
                LoadError::file(Path::new(name), format!("{error}; known by name are {}", names.join(", ")))
            })?,
        };
        Self::parse(&text).map_err(|reason| LoadError::Options(format!("scenario {name}: {reason}")))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let scenario: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        if scenario.phases.is_empty() {
            return Err("it has no [[phase]]".to_owned());
        }
        for phase in &scenario.phases {
            phase.check().map_err(|reason| format!("phase '{}': {reason}", phase.name))?;
        }
        let length = scenario.length();
        for phase in &scenario.phases {
            phase.check_late(length).map_err(|reason| format!("phase '{}': {reason}", phase.name))?;
        }
        let mut lates = scenario.phases.iter().filter_map(|phase| phase.late).map(|late| late.by);
        let first = lates.next();
        if lates.any(|by| Some(by) != first) {
            return Err(
                "late rows must be equally late in all phases, or they would meet each other".to_owned()
            );
        }
        Ok(scenario)
    }

    /// How long all of it lasts.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.phases.iter().map(|phase| phase.length).sum()
    }

    /// What it means at `rate` rows per second.
    ///
    /// # Errors
    /// [`LoadError::Options`] when there are no rows, or more than microseconds.
    pub fn course(&self, rate: u64) -> Result<Course, LoadError> {
        #[expect(clippy::cast_precision_loss, reason = "a rate is far below 2^53")]
        let rate = rate as f64;
        let stretches: Vec<_> = self.phases.iter().flat_map(|phase| phase.stretches(rate)).collect();
        let most = stretches.iter().map(|(_, from, to)| from.max(*to)).fold(0.0, f64::max);
        if most > MOST_ROWS_PER_SECOND {
            return Err(LoadError::Options(format!(
                "the scenario asks for {most:.0} rows per second, of at most {MOST_ROWS_PER_SECOND:.0}: lower --rate"
            )));
        }
        let schedule = Schedule::changing(stretches.into_iter());
        let (mut spans, mut reconnects) = (Vec::new(), Vec::new());
        let (mut start, mut first_row, mut newcomers_before) = (Duration::ZERO, 0, 0);
        for phase in &self.phases {
            let end = start + phase.length;
            let end_row = whole(schedule.rows_until(end.as_secs_f64()));
            let newcomers = phase.newcomers_in_all();
            spans.push(Span {
                name: phase.name.clone(),
                start,
                rows: first_row..end_row,
                late_share: phase.late.map_or(0.0, |late| late.share),
                newcomers_before,
                newcomers,
            });
            if let Some(every) = phase.reconnect {
                let times = (1_u32..).map_while(|number| every.checked_mul(number));
                reconnects.extend(times.take_while(|at| *at <= phase.length).map(|at| start + at));
            }
            newcomers_before = newcomers_before.saturating_add(newcomers);
            (start, first_row) = (end, end_row);
        }
        if first_row == 0 {
            return Err(LoadError::Options("the scenario has no rows: raise --rate".to_owned()));
        }
        let late_by = self.phases.iter().find_map(|phase| phase.late).map_or(Duration::ZERO, |late| late.by);
        Ok(Course { schedule, spans, reconnects, late_by })
    }
}

impl Phase {
    fn check(&self) -> Result<(), String> {
        let loads = [Some(self.load), self.to, self.burst.map(|burst| burst.load)];
        if loads.into_iter().flatten().any(|load| !(0.0..=1e6).contains(&load)) {
            return Err("a load is a number from 0 to 1,000,000".to_owned());
        }
        if !(SHORTEST..=LONGEST).contains(&self.length) {
            return Err(format!("it must last for {SHORTEST:?} to {LONGEST:?}"));
        }
        if let Some(burst) = self.burst {
            if burst.length < SHORTEST || burst.length + SHORTEST > burst.every {
                return Err(format!("a burst must last for {SHORTEST:?}, and as long must be between two"));
            }
            if self.to.is_some() {
                return Err("a load with bursts does not change besides: leave out 'to'".to_owned());
            }
        }
        if self.reconnect.is_some_and(|every| every < SHORTEST) {
            return Err(format!("'reconnect' must be {SHORTEST:?} at least"));
        }
        if self.late.is_some_and(|late| !(late.share > 0.0 && late.share <= 1.0)) {
            return Err("the share of late batches is above 0 and at most 1".to_owned());
        }
        Ok(())
    }

    /// In a scenario of this length.
    fn check_late(&self, length: Duration) -> Result<(), String> {
        if self.late.is_some_and(|late| late.by < length) {
            return Err(format!(
                "late rows must be older than the scenario is long ({length:?}), or they could meet rows on time"
            ));
        }
        Ok(())
    }

    /// Devices that come within it.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of devices is far below 2^53, and none is negative"
    )]
    fn newcomers_in_all(&self) -> u64 {
        (self.newcomers as f64 * self.length.as_secs_f64()).round() as u64
    }

    /// Seconds, and the rates at start and end.
    fn stretches(&self, rate: f64) -> Vec<(f64, f64, f64)> {
        let usual = self.load * rate;
        let length = self.length.as_secs_f64();
        let Some(burst) = self.burst else {
            return vec![(length, usual, self.to.unwrap_or(self.load) * rate)];
        };
        let (every, lasts, high) = (burst.every.as_secs_f64(), burst.length.as_secs_f64(), burst.load * rate);
        let (mut stretches, mut done) = (Vec::new(), 0.0);
        let mut add = |seconds: f64, rate: f64| {
            let seconds = seconds.min(length - done);
            if seconds > 0.0 {
                stretches.push((seconds, rate, rate));
                done += seconds;
            }
            seconds > 0.0
        };
        add(every, usual);
        while add(lasts, high) && add(every - lasts, usual) {}
        stretches
    }
}

impl Course {
    /// Rows of all phases.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.spans.last().map_or(0, |span| span.rows.end)
    }

    /// Devices that come while it runs.
    #[must_use]
    pub fn newcomers(&self) -> u64 {
        self.spans.last().map_or(0, |span| span.newcomers_before.saturating_add(span.newcomers))
    }

    /// How many of them have come when a row happens.
    #[must_use]
    pub fn newcomers_until(&self, row: u64) -> u64 {
        self.span(row).map_or(0, |span| {
            let (passed, all) = (row - span.rows.start, (span.rows.end - span.rows.start).max(1));
            let share = u128::from(span.newcomers) * u128::from(passed) / u128::from(all);
            span.newcomers_before + u64::try_from(share).unwrap_or(u64::MAX)
        })
    }

    /// Whether the batch with this number, which begins with this row, is late.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "batches of one run are far below 2^53")]
    pub fn is_late(&self, batch: u64, first_row: u64) -> bool {
        let share = self.span(first_row).map_or(0.0, |span| span.late_share);
        ((batch + 1) as f64 * share).floor() > (batch as f64 * share).floor()
    }

    fn span(&self, row: u64) -> Option<&Span> {
        let at = self.spans.partition_point(|span| span.rows.end <= row);
        self.spans.get(at)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, far below 2^53")]
fn whole(rows: f64) -> u64 {
    // A sum of rates may be short of a whole number by its rounding.
    (rows + 1e-6).floor() as u64
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|error| serde::de::Error::custom(format!("'{text}': {error}")))
}

fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

#[cfg(test)]
#[path = "scenario/tests.rs"]
mod tests;
