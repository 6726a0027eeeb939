//! Simulates buildings full of devices: a schedule of rows, sent as gateways would.
//!
//! Invariants:
//! - Paced rows are due by the schedule alone; a slow server makes latencies long, not the schedule.
//! - With `--prepare`, nothing is encoded after the clock has started.

mod hosts;
pub mod plan;
pub mod scenario;
pub mod schedule;
pub mod source;
pub mod values;

use crate::clock;
use crate::delivery::{Stop, deliver};
use crate::error::LoadError;
use crate::reconnects::Reconnects;
use crate::replay::time_text::read_utc;
use crate::report::page::Page;
use crate::report::progress::Progress;
use crate::report::timeline::{Second, Timeline};
use crate::report::{Stats, summary::Summary};
use crate::target::{MAX_BATCH, Qos, Target, parse_tag};
use crate::terminal;
use crate::verify::{SqlReader, Verdict, counts};
use clap::{Args, ValueEnum};
use plan::{FOUR_FIELDS, Kind, MIXED, Plan, Shape, TSBS_CPU};
use scenario::{Course, Scenario};
use schedule::Schedule;
use source::FleetSource;
use std::sync::Arc;
use std::time::Duration;

/// Where MQTT is when `--protocol mqtt` comes without `--mqtt`.
const DEFAULT_MQTT: &str = "127.0.0.1:1883";
/// A paced fleet sends at least ten batches a second by default, so that latencies mean something.
const BATCHES_PER_SECOND: u64 = 10;
/// Between two rows of an unpaced fleet: a million rows are one second of data time.
const UNPACED_STEP_NS: i64 = 1_000;

/// What carries the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// Line protocol in HTTP bodies.
    Http,
    /// Line protocol in MQTT publishes.
    Mqtt,
}

/// What a fleet measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FleetShape {
    /// Five kinds of devices, each with its own table and fields.
    Mixed,
    /// One table `probe` with 5 tags and 4 float fields, about 134 bytes a line.
    FourFields,
    /// One table `cpu` with 10 tags and 10 whole numbers, about 339 bytes a line: the Time Series Benchmark Suite's.
    TsbsCpu,
}

/// Options of `loadgen fleet`.
#[derive(Debug, Clone, Args)]
pub struct FleetArgs {
    /// Buildings.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=100_000), help_heading = "Fleet")]
    pub buildings: u64,

    /// Floors of a building.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1_000), help_heading = "Fleet")]
    pub floors: u64,

    /// Rooms of a floor.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=10_000), help_heading = "Fleet")]
    pub rooms: u64,

    /// Devices of a room; five give a room one of each kind.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=10_000), help_heading = "Fleet")]
    pub devices: u64,

    /// All devices, spread over the rooms, instead of the product of the above.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=plan::MAX_DEVICES), help_heading = "Fleet")]
    pub series: Option<u64>,

    /// What is measured: mixed = climate, air_quality, power, motion, lighting; four-fields = the row of
    /// benchmarks, table probe, 5 tags, 4 floats, about 134 bytes; tsbs-cpu = the hosts of the Time Series Benchmark
    /// Suite, table cpu, 10 tags, 10 whole numbers, about 339 bytes.
    #[arg(long, value_enum, default_value_t = FleetShape::Mixed, help_heading = "Fleet")]
    pub shape: FleetShape,

    /// Same seed, same values.
    #[arg(long, default_value_t = 1, help_heading = "Fleet")]
    pub seed: u64,

    /// Tag on every row besides building, floor, room, device; may be repeated. Two fleets that write to
    /// one database at the same time need one each, so that their read-backs do not count each other.
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse_tag, help_heading = "Fleet")]
    pub tags: Vec<(String, String)>,

    /// What the names of tables begin with: two fleets of one shape in one database then have tables of their own.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, help_heading = "Fleet")]
    pub table_prefix: String,

    /// Devices come in another order each round, as when each connects by itself; for shapes of one table.
    #[arg(long, help_heading = "Fleet")]
    pub shuffle: bool,

    /// What changes over time: steady, ramp, burst, reconnect-storm, late-data, churn, or a file of your own (`loadgen
    /// scenario NAME` prints one to begin with). Its loads are multiples of --rate.
    #[arg(
        long,
        value_name = "NAME|FILE",
        conflicts_with_all = ["duration", "rows", "interval"],
        help_heading = "Pace"
    )]
    pub scenario: Option<String>,

    /// Rows per second over all connections; 0 = as fast as possible.
    #[arg(long, default_value_t = 1_000, value_name = "ROWS_PER_S", value_parser = clap::value_parser!(u64).range(..=1_000_000_000), help_heading = "Pace")]
    pub rate: u64,

    /// How long to send, unless --rows is given.
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration, help_heading = "Pace")]
    pub duration: Duration,

    /// Send exactly this many rows.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Pace")]
    pub rows: Option<u64>,

    /// Time of the first row, RFC 3339 [default: now].
    #[arg(long, value_name = "TIME", help_heading = "Pace")]
    pub start: Option<String>,

    /// Data time between two rows of one device [default: as paced; unpaced 1 us for each device].
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, help_heading = "Pace")]
    pub interval: Option<Duration>,

    /// Encode (and compress) all bodies before the clock starts; needs --rows, or --rate and --duration.
    #[arg(long, help_heading = "Pace")]
    pub prepare: bool,

    /// What carries the lines; --mqtt implies mqtt.
    #[arg(long, value_enum, help_heading = "Target")]
    pub protocol: Option<Protocol>,

    /// Where to send.
    #[command(flatten)]
    pub target: Target,
}

/// Makes the fleet, sends, reads back, reports. True when all rows were acknowledged and found.
pub async fn run(mut args: FleetArgs) -> Result<bool, LoadError> {
    settle_protocol(&mut args)?;
    args.target.check()?;
    let scenario = args.scenario.as_deref().map(Scenario::read).transpose()?;
    let course = scenario.as_ref().map(|scenario| scenario.course(args.rate)).transpose()?;
    let schedule = match &course {
        Some(course) => course.schedule.clone(),
        None if args.rate == 0 => Schedule::Unpaced,
        None => Schedule::Steady(args.rate),
    };
    let plan = Arc::new(Plan::new(shape(&args, course.clone())?)?);
    terminal::note(&format!(
        "{} devices, {} lines per batch, first row at {}",
        plan.devices(),
        plan.batch_rows(),
        crate::replay::time_text::write_utc(plan.time_ns(0))
    ));
    let mut source = FleetSource::new(plan.clone(), schedule.clone(), args.target.gzip);
    if args.prepare {
        source.prepare()?;
    }
    source.start(plan.total_rows().is_none().then_some(args.duration));
    let source = Arc::new(source);
    let times = course.iter().flat_map(|course| &course.reconnects).map(|at| source.started() + *at);
    let reconnects = Reconnects::at(times.collect());
    let stats = Arc::new(Stats::new());
    let stop = Stop::on_interrupt();
    let progress = Progress::start(stats.clone(), plan.total_rows());
    let timeline = Timeline::start(stats.clone());
    let took = deliver(&args.target, source.clone(), &stats, &stop, &reconnects).await;
    drop(progress);
    let timeline = timeline.finish();
    let mut summary = Summary::new(&stats, took?, plan.total_rows(), timeline);
    if !args.target.no_verify {
        summary = summary.with_verdict(match stats.unsettled_batches() {
            Ok(unsettled) => {
                let is_answered = args.target.qos == Qos::AtLeastOnce;
                let sent = counts::Sent { plan: &plan, batches: source.taken(), unsettled, is_answered };
                verify(&args.target, &sent).await
            }
            Err(error) => Verdict { problem: Some(error.to_string()), ..Verdict::default() },
        });
    }
    terminal::result(&summary.text());
    if let Some(path) = &args.target.json {
        summary.write_json(path)?;
    }
    if let Some(path) = &args.target.html {
        let phases = course.iter().flat_map(|course| &course.spans);
        let phases: Vec<_> = phases.map(|span| (span.start.as_secs_f64(), span.name.clone())).collect();
        #[expect(clippy::cast_precision_loss, reason = "rows of one run are far below 2^53")]
        let all = plan.total_rows().map_or(f64::INFINITY, |rows| rows as f64);
        let due = |second: &Second| schedule.rows_until(second.at).min(all);
        let due = summary.timeline.iter().map(due).collect::<Vec<_>>();
        let title = args
            .scenario
            .as_ref()
            .map_or_else(|| "loadgen fleet".to_owned(), |name| format!("loadgen: {name}"));
        let about = scenario.map_or_else(String::new, |scenario| scenario.about);
        Page { title: &title, about: &about, summary: &summary, phases: &phases, due: &due }.write(path)?;
    }
    Ok(summary.ok)
}

async fn verify(target: &Target, sent: &counts::Sent<'_>) -> Verdict {
    let mut verdict = Verdict::default();
    let reader = match SqlReader::new(target) {
        Ok(reader) => reader,
        Err(error) => return Verdict { problem: Some(error.to_string()), ..verdict },
    };
    for kind in sent.plan.kinds() {
        match counts::compare(&reader, sent, *kind).await {
            Ok(table) => verdict.tables.push(table),
            Err(error) => verdict.problem = Some(error.to_string()),
        }
    }
    verdict
}

fn settle_protocol(args: &mut FleetArgs) -> Result<(), LoadError> {
    match (args.protocol, &args.target.mqtt) {
        (Some(Protocol::Http), Some(_)) => {
            return Err(LoadError::Options("--protocol http and --mqtt contradict each other".to_owned()));
        }
        (Some(Protocol::Mqtt), None) => args.target.mqtt = Some(DEFAULT_MQTT.to_owned()),
        _ => {}
    }
    Ok(())
}

fn shape(args: &FleetArgs, course: Option<Course>) -> Result<Shape, LoadError> {
    let kinds: &'static [Kind] = match args.shape {
        FleetShape::Mixed => &MIXED,
        FleetShape::FourFields => &FOUR_FIELDS,
        FleetShape::TsbsCpu => &TSBS_CPU,
    };
    if args.shuffle && kinds.len() > 1 {
        let reason = "--shuffle is for shapes of one table: give --shape four-fields or tsbs-cpu";
        return Err(LoadError::Options(reason.to_owned()));
    }
    if course.as_ref().is_some_and(|course| course.newcomers() > 0) && kinds.len() > 1 {
        let reason = "newcomers are for shapes of one table: give --shape four-fields or tsbs-cpu";
        return Err(LoadError::Options(reason.to_owned()));
    }
    let total_rows = match &course {
        Some(course) => Some(course.rows()),
        None => args.rows.or_else(|| (args.rate > 0).then(|| rows_within(args.rate, args.duration))),
    };
    let batch_rows = match args.target.batch {
        None if args.rate > 0 => (args.rate / BATCHES_PER_SECOND).clamp(1, args.target.batch_lines() as u64),
        _ => args.target.batch_lines() as u64,
    };
    debug_assert!(batch_rows <= MAX_BATCH);
    let mut shape = Shape {
        kinds,
        buildings: args.buildings,
        floors: args.floors,
        rooms: args.rooms,
        devices: args.devices,
        series: args.series,
        seed: args.seed,
        tags: args.tags.clone(),
        table_prefix: args.table_prefix.clone(),
        shuffle: args.shuffle,
        start_ns: match &args.start {
            Some(text) => read_utc(text).map_err(LoadError::Options)?,
            // Whole microseconds: what the coarsest reader of the files can tell apart.
            None => clock::unix_ns() / 1_000 * 1_000,
        },
        step_ns: 1,
        batch_rows,
        total_rows,
        course,
    };
    shape.step_ns = step_ns(args, shape.device_count())?;
    Ok(shape)
}

fn rows_within(rate: u64, duration: Duration) -> u64 {
    let rows = u128::from(rate) * duration.as_millis() / 1_000;
    u64::try_from(rows).unwrap_or(u64::MAX).max(1)
}

fn step_ns(args: &FleetArgs, devices: u64) -> Result<i64, LoadError> {
    let step = match args.interval {
        Some(interval) => i64::try_from(interval.as_nanos() / u128::from(devices.max(1))).unwrap_or(i64::MAX),
        None if args.rate == 0 => UNPACED_STEP_NS,
        None => i64::try_from(1_000_000_000 / args.rate).unwrap_or(1),
    };
    if step < 1 {
        return Err(LoadError::Options(format!(
            "--interval is below one nanosecond for each of {devices} devices: make it longer"
        )));
    }
    Ok(if step >= 1_000 { step / 1_000 * 1_000 } else { step })
}
