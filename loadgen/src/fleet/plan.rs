//! Which devices there are, and which row is whose.
//!
//! Rows are numbered from 0. Row `r` is of device `r % devices`, or of another one of its round when rounds are
//! shuffled, at `start + r * step`. So every row has its own time, a batch (a run of row numbers) owns a range of time,
//! and any connection can encode any batch without asking another one.
//!
//! With a [`Course`] a row's time is when it is due, devices are replaced by new ones, and rows of late batches are as
//! much older as all of the course is long at least, so that late rows meet no others.

use crate::error::LoadError;
use crate::fleet::hosts;
use crate::fleet::scenario::Course;
use crate::fleet::values::{self, mix};
use crate::protocol::line_protocol;
use std::ops::Range;

/// Devices of one fleet: their line heads take about 70 bytes each, 350 MB in all.
pub const MAX_DEVICES: u64 = 5_000_000;

/// What a device measures; each kind is a table of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// temperature, humidity
    Climate,
    /// co2, pm25, tvoc
    AirQuality,
    /// power, voltage, current, energy
    Power,
    /// motion, battery
    Motion,
    /// illuminance, level, on
    Lighting,
    /// temp, rh, co2, power: the row of benchmarks
    Probe,
    /// Ten whole numbers of a computer: the row of the Time Series Benchmark Suite, "cpu-only"
    Cpu,
}

/// The kinds of a mixed fleet, in the order in which a room gets them.
pub const MIXED: [Kind; 5] = [Kind::Climate, Kind::AirQuality, Kind::Power, Kind::Motion, Kind::Lighting];
/// The kind of `--shape four-fields`.
pub const FOUR_FIELDS: [Kind; 1] = [Kind::Probe];
/// The kind of `--shape tsbs-cpu`.
pub const TSBS_CPU: [Kind; 1] = [Kind::Cpu];

impl Kind {
    /// Its table.
    #[must_use]
    pub fn table(self) -> &'static str {
        match self {
            Self::Climate => "climate",
            Self::AirQuality => "air_quality",
            Self::Power => "power",
            Self::Motion => "motion",
            Self::Lighting => "lighting",
            Self::Probe => "probe",
            Self::Cpu => "cpu",
        }
    }
}

/// Size and time of a fleet.
#[derive(Debug, Clone)]
pub struct Shape {
    /// What is measured.
    pub kinds: &'static [Kind],
    /// Buildings, at least 1.
    pub buildings: u64,
    /// Floors of a building, at least 1.
    pub floors: u64,
    /// Rooms of a floor, at least 1.
    pub rooms: u64,
    /// Devices of a room, at least 1.
    pub devices: u64,
    /// All devices; instead of the product of the others.
    pub series: Option<u64>,
    /// Same seed, same values.
    pub seed: u64,
    /// Tags on every row, besides building, floor, room and device.
    pub tags: Vec<(String, String)>,
    /// What the names of tables begin with.
    pub table_prefix: String,
    /// Whether the devices of each round come in another order.
    pub shuffle: bool,
    /// Time of row 0.
    pub start_ns: i64,
    /// Between two rows, at least 1.
    pub step_ns: i64,
    /// Rows of a batch, at least 1.
    pub batch_rows: u64,
    /// Rows of the run, if it has an end.
    pub total_rows: Option<u64>,
    /// What changes while it runs, for shapes of one kind.
    pub course: Option<Course>,
}

/// A fleet whose lines can be written.
#[derive(Debug)]
pub struct Plan {
    shape: Shape,
    devices: u64,
    /// `table,tags` of all devices, one after the other, and where each begins.
    heads: Vec<u8>,
    head_ends: Vec<u32>,
}

impl Shape {
    /// Devices of the fleet.
    #[must_use]
    pub fn device_count(&self) -> u64 {
        let product = self.buildings.saturating_mul(self.floors).saturating_mul(self.rooms);
        self.series.unwrap_or_else(|| product.saturating_mul(self.devices))
    }
}

impl Plan {
    /// Names all devices.
    pub fn new(shape: Shape) -> Result<Self, LoadError> {
        let devices = shape.device_count();
        let all = devices.saturating_add(shape.course.as_ref().map_or(0, Course::newcomers));
        if devices == 0 || all > MAX_DEVICES {
            return Err(LoadError::Options(format!("{all} devices: ask for 1 to {MAX_DEVICES}")));
        }
        let last_ns = shape.total_rows.and_then(|rows| i64::try_from(rows).ok()).unwrap_or(0);
        if last_ns.checked_mul(shape.step_ns).and_then(|length| length.checked_add(shape.start_ns)).is_none()
        {
            return Err(LoadError::Options(
                "the rows reach beyond the year 2262: shorten the interval".to_owned(),
            ));
        }
        let mut plan = Self { shape, devices, heads: Vec::new(), head_ends: Vec::new() };
        for device in 0..all {
            plan.push_head(device)?;
        }
        Ok(plan)
    }

    /// Devices at any time.
    #[must_use]
    pub fn devices(&self) -> u64 {
        self.devices
    }

    /// Rows of every batch but the last.
    #[must_use]
    pub fn batch_rows(&self) -> u64 {
        self.shape.batch_rows
    }

    /// Tags on every row.
    #[must_use]
    pub fn tags(&self) -> &[(String, String)] {
        &self.shape.tags
    }

    /// What this fleet measures.
    #[must_use]
    pub fn kinds(&self) -> &'static [Kind] {
        self.shape.kinds
    }

    /// Rows of the run, if it has an end.
    #[must_use]
    pub fn total_rows(&self) -> Option<u64> {
        self.shape.total_rows
    }

    /// Batches of the run, if it has an end.
    #[must_use]
    pub fn total_batches(&self) -> Option<u64> {
        self.shape.total_rows.map(|rows| rows.div_ceil(self.shape.batch_rows))
    }

    /// Time of a row, if it is not late.
    #[must_use]
    pub fn time_ns(&self, row: u64) -> i64 {
        if let Some(due) = self.shape.course.as_ref().and_then(|course| course.schedule.due(row)) {
            // A microsecond of its own: see `MOST_ROWS_PER_SECOND`.
            let micros = i64::try_from(due.as_micros()).unwrap_or(i64::MAX);
            return self.shape.start_ns.saturating_add(micros.saturating_mul(1_000));
        }
        let row = i64::try_from(row).unwrap_or(i64::MAX);
        self.shape.start_ns.saturating_add(row.saturating_mul(self.shape.step_ns))
    }

    /// Times of the first and the last row of a batch.
    #[must_use]
    pub fn times_of_batch(&self, number: u64) -> (i64, i64) {
        let rows = self.rows_in(number..number + 1);
        let late_ns = self.lateness_of(rows.start);
        (self.time_ns(rows.start) - late_ns, self.time_ns(rows.end.saturating_sub(1)) - late_ns)
    }

    /// How much older late rows are, if there may be any.
    #[must_use]
    pub fn late_by_ns(&self) -> Option<i64> {
        let late_by = self.shape.course.as_ref().map(|course| course.late_by).filter(|by| !by.is_zero())?;
        i64::try_from(late_by.as_nanos()).ok()
    }

    /// Rows of these batches.
    #[must_use]
    pub fn rows_in(&self, batches: Range<u64>) -> Range<u64> {
        let end = batches.end.saturating_mul(self.shape.batch_rows);
        let total = self.shape.total_rows.unwrap_or(u64::MAX);
        batches.start.saturating_mul(self.shape.batch_rows).min(total)..end.min(total)
    }

    /// The name of a kind's table.
    #[must_use]
    pub fn table(&self, kind: Kind) -> String {
        format!("{}{}", self.shape.table_prefix, kind.table())
    }

    /// How many of these rows are of this kind.
    #[must_use]
    pub fn rows_of(&self, kind: Kind, rows: Range<u64>) -> u64 {
        let Some(place) = self.shape.kinds.iter().position(|known| *known == kind) else { return 0 };
        let (place, kinds) = (place as u64, self.shape.kinds.len() as u64);
        // Devices below `end` whose number is `place` modulo `kinds`.
        let devices_below = |end: u64| (end + kinds - 1 - place) / kinds;
        let rows_below =
            |row: u64| row / self.devices * devices_below(self.devices) + devices_below(row % self.devices);
        rows_below(rows.end) - rows_below(rows.start)
    }

    /// Appends the lines of these rows of one batch.
    pub fn push_lines(&self, rows: Range<u64>, buffer: &mut Vec<u8>) {
        let seed = self.shape.shuffle.then_some(self.shape.seed);
        let course = self.shape.course.as_ref();
        let mut begun = None;
        let late_ns = self.lateness_of(rows.start);
        for row in rows {
            let (number, place) = (row / self.devices, row % self.devices);
            let round = match begun {
                Some(round) if place != 0 => round,
                _ => *begun.insert(Round::new(seed, number, self.devices)),
            };
            let device = round.device(place) + course.map_or(0, |course| course.newcomers_until(row));
            let time_ns = self.time_ns(row) - late_ns;
            buffer.extend_from_slice(self.head(device));
            buffer.push(b' ');
            let room_seed = mix(self.shape.seed, self.room(device));
            values::push_fields(buffer, self.kind(device), room_seed, mix(!self.shape.seed, device), time_ns);
            line_protocol::push_time(buffer, time_ns);
        }
    }

    /// How much older the rows of the batch are that begins with this one.
    fn lateness_of(&self, first_row: u64) -> i64 {
        let is_late = |course: &Course| course.is_late(first_row / self.shape.batch_rows, first_row);
        if self.shape.course.as_ref().is_some_and(is_late) { self.late_by_ns().unwrap_or(0) } else { 0 }
    }

    fn kind(&self, device: u64) -> Kind {
        let kinds = self.shape.kinds;
        let place = usize::try_from(device % kinds.len().max(1) as u64).unwrap_or(0);
        kinds.get(place).copied().unwrap_or(Kind::Probe)
    }

    /// The number of the device's room within the whole fleet.
    fn room(&self, device: u64) -> u64 {
        let shape = &self.shape;
        device / shape.devices.max(1) % (shape.buildings * shape.floors * shape.rooms).max(1)
    }

    fn head(&self, device: u64) -> &[u8] {
        let at = usize::try_from(device).unwrap_or(usize::MAX);
        let end_of = |index: usize| self.head_ends.get(index).map_or(0, |end| *end as usize);
        let start = at.checked_sub(1).map_or(0, end_of);
        self.heads.get(start..end_of(at)).unwrap_or(&[])
    }

    fn push_head(&mut self, device: u64) -> Result<(), LoadError> {
        let kind = self.kind(device);
        let mut tags = match kind {
            Kind::Cpu => hosts::tags(self.shape.seed, device),
            _ => self.place_tags(device, kind),
        };
        tags.extend(self.shape.tags.iter().cloned());
        if kind != Kind::Cpu {
            // Sorted, as clients are advised to send them. The suite's are not.
            tags.sort();
        }
        let tags: Vec<_> = tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        self.heads.extend_from_slice(line_protocol::series(&self.table(kind), &tags)?.as_bytes());
        let end = u32::try_from(self.heads.len()).map_err(|_| {
            LoadError::Options("the names of all devices exceed 4 GiB: shorten --tag".to_owned())
        })?;
        self.head_ends.push(end);
        Ok(())
    }

    /// Where a device of a building is.
    fn place_tags(&self, device: u64, kind: Kind) -> Vec<(String, String)> {
        let shape = &self.shape;
        let room = self.room(device);
        let floor = room / shape.rooms;
        let building = floor / shape.floors;
        let (floor, room) = (floor % shape.floors + 1, room % shape.rooms + 1);
        let mut tags = vec![
            ("building".to_owned(), format!("b-{:03}", building + 1)),
            ("device".to_owned(), format!("d-{device:06}")),
            ("floor".to_owned(), format!("f-{floor:02}")),
            ("room".to_owned(), format!("r-{floor:02}{room:02}")),
        ];
        if kind == Kind::Probe {
            tags.push(("sensor".to_owned(), format!("s-{:02}", device % 4)));
        }
        tags
    }
}

/// The order of the devices in one round.
#[derive(Debug, Clone, Copy)]
struct Round {
    devices: u64,
    /// Without a common divisor with `devices`, so that no device comes twice.
    step: u64,
    first: u64,
}

impl Round {
    /// Round `number`; without a seed the devices come as they are numbered.
    fn new(seed: Option<u64>, number: u64, devices: u64) -> Self {
        let Some(seed) = seed else { return Self { devices, step: 1, first: 0 } };
        let chance = mix(seed, number);
        let steps = (0..).map(|more: u64| chance.wrapping_add(more) % devices.max(1));
        let step = steps.take(STEPS_TRIED).find(|step| greatest_common_divisor(*step, devices) == 1);
        Self { devices, step: step.unwrap_or(1), first: mix(chance, number) % devices.max(1) }
    }

    /// The device at a place of the round: both numbers are below [`MAX_DEVICES`], so their product fits.
    fn device(self, place: u64) -> u64 {
        (place * self.step + self.first) % self.devices
    }
}

/// Far more than any number needs whose devices are [`MAX_DEVICES`] at most.
const STEPS_TRIED: usize = 1_000;

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
#[path = "plan/tests.rs"]
mod tests;
