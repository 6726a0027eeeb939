//! The composition root: what is started, in which order, and stopped in the reverse.
//!
//! Invariant: nothing accepts a row before the part that makes it durable is open, and no part is closed while
//! another can still hand it a row.

mod external;
mod mqtt;
mod quarantined;
mod restored;
mod rules;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use alerting::{Alerting, AlertingConfig};
use ingest::intake::Intake;
use ingest::mqtt::{Listener, ListenerConfig};
use ingest::ring::{QUEUED_BYTES, Ring};
use ingest::writer::{Writer, WriterMetrics};
use query::{ExternalTables, QueryService, Source};
use storage::disk::{Disk as _, LocalDisk};
use storage::engine::{Engine, EngineConfig};
use storage::last_value::LastValuesConfig;
use storage::log::RecoveryMode;
use storage::object::StoreSettings;
use storage::quarantine::Quarantine;
use storage::registry::Registry;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::backups::Backups;
use crate::config::{Config, ConfigError, MemoryPlan, Recovery};
use crate::erasures::Erasures;
use crate::metrics::{AlertingMetrics, EngineMetrics, MqttMetrics, QuarantineMetrics, StoreMetrics};
use crate::routes;
use crate::server::Server;
use crate::surface::Surface;

/// Why the engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The configuration does not allow it.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A listener could not be opened.
    #[error("cannot listen on {key} = {addr}: {source}")]
    Listen {
        /// The key of the address.
        key: &'static str,
        /// The address.
        addr: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// The storage could not be opened or closed.
    #[error("cannot {action} the data in {path}: {source}")]
    Storage {
        /// What was being done.
        action: &'static str,
        /// The data directory.
        path: PathBuf,
        /// The cause.
        source: storage::Error,
    },
    /// The writer's thread could not be started.
    #[error("cannot start the writer: {0}")]
    Writer(io::Error),
    /// The registry could not be opened.
    #[error("cannot open the registry in {path}: {source}")]
    Registry {
        /// The registry's file.
        path: PathBuf,
        /// The cause.
        source: storage::registry::RegistryError,
    },
    /// SQL could not be started.
    #[error("cannot start the query service: {0}")]
    Query(#[from] query::Error),
    /// Alerting could not be started.
    #[error("cannot start alerting: {0}")]
    Alerting(#[from] alerting::Error),
    /// Signals could not be listened for.
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
}

/// Everything that runs.
pub struct App {
    surface: Surface,
    http: Server,
    mqtt: Mqtt,
    drain_timeout: Duration,
    registry: Arc<Registry>,
    upkeep: JoinHandle<()>,
    alerting: Arc<Alerting>,
    engine: Engine,
    writer: Writer,
}

/// The running MQTT listener.
struct Mqtt {
    addr: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Starts everything, waits for SIGTERM or SIGINT, and stops everything.
///
/// # Errors
/// When something does not start.
pub async fn serve(config: Config) -> Result<(), AppError> {
    // First, so that a signal during the start is not lost.
    let mut stop = StopSignals::listen().map_err(AppError::Signals)?;
    // The start may wait for the object store for as long as that is away.
    let app = tokio::select! {
        started = Box::pin(App::start(&config)) => started?,
        () = stop.wait() => return Ok(()),
    };
    stop.wait().await;
    app.stop().await
}

impl App {
    /// Starts, from the bottom up. On return HTTP answers.
    ///
    /// # Errors
    /// When something does not start; what had been started is stopped by being dropped.
    pub async fn start(config: &Config) -> Result<Self, AppError> {
        config.check_exposure()?;
        config.check_resources()?;
        if config.tokens.is_empty() && config.insecure {
            tracing::warn!(
                "no token is configured: whoever reaches a listener may read and write everything"
            );
        }
        // 1. The port is bound first, so that one in use is found before the log is replayed.
        let http = listen("http.addr", config.http.addr).await?;
        // 2. HTTP answers: /health and /ready while the engine starts, the registry, 503 to writes and queries.
        let registry = open_registry(config).await?;
        let memory = config.memory_plan()?;
        let surface = Surface::new(config, &memory);
        surface.readiness.hold("engine", "the engine is not open");
        let router = routes::router(&surface, routes::native(&surface, &registry));
        let http = Server::start(http, router, config.http.connections)
            .map_err(|source| AppError::Listen { key: "http.addr", addr: config.http.addr, source })?;
        tracing::info!(addr = %http.addr(), "HTTP listens");
        // 3. The storage replays its log.
        let settings = engine_config(config, &memory)?;
        let store = Arc::clone(&settings.store.activity);
        surface.readiness.check("store", move || store.fault());
        // A restored directory must first become one of its own.
        restored::settle(config, &settings).await?;
        let (engine, committer) = Engine::open(settings).await.map_err(storage_error("open", config))?;
        // From now on rows are taken without the store, for as long as the disk has room.
        surface.readiness.check("store", || None);
        let bodies = surface.bodies.clone();
        engine.add_memory_part("bodies", memory.bodies, Arc::new(move || bodies.used()));
        let (of_log, of_disk) = (engine.clone(), engine.clone());
        surface.readiness.check("log", move || of_log.log_fault());
        surface.readiness.check("disk", move || of_disk.disk_shortage());
        // 4. The rules catch up with the log, before new rows come.
        let alerting = open_alerting(config, &engine).await?;
        alerting.start()?;
        surface.doors.open_alerting(Arc::clone(&alerting));
        surface.metrics.add(AlertingMetrics(Arc::clone(&alerting)));
        // 5. Queries, then the one writer, then writes by HTTP and MQTT.
        let quarantine = open_quarantine(config).await?;
        let external = external::tables(&registry, &alerting, &quarantine);
        surface.doors.open_queries(Arc::new(query_service(config, &memory, &engine, external)?));
        let (ring, counters) = (Arc::new(Ring::default()), Arc::new(WriterMetrics::default()));
        let writer =
            Writer::start(committer, Arc::clone(&ring), Arc::clone(&counters)).map_err(AppError::Writer)?;
        let queue = Arc::clone(&ring);
        engine.add_memory_part("queue", QUEUED_BYTES, Arc::new(move || queue.queued_bytes()));
        let intake = Intake::new(engine.clone(), Arc::clone(&ring), config.write.create_on_write)
            .with_quarantine(Arc::clone(&quarantine));
        surface.metrics.add(QuarantineMetrics(Arc::clone(&quarantine)));
        surface.metrics.add(StoreMetrics(engine.clone()));
        surface.metrics.add(EngineMetrics { engine: engine.clone(), ring, writer: counters });
        surface.doors.open_writes(intake.clone());
        let mqtt = start_mqtt(config, &surface, intake).await?;
        tracing::info!(addr = %mqtt.addr, "MQTT listens");
        let backups = Arc::new(Backups::new(engine.clone(), &alerting, Arc::clone(&quarantine), config));
        surface.doors.open_backups(Arc::clone(&backups));
        surface.doors.open_erasures(Arc::new(Erasures::new(
            engine.clone(),
            backups,
            Arc::clone(&quarantine),
            config,
        )));
        // 6. Everything runs.
        surface.readiness.release("engine");
        tracing::info!("ready");
        let drain_timeout = config.http.drain_timeout.0;
        let upkeep = tokio::spawn(keep_up(Arc::clone(&registry), quarantine));
        Ok(Self { surface, http, mqtt, drain_timeout, registry, upkeep, alerting, engine, writer })
    }

    /// Where HTTP listens.
    #[must_use]
    pub fn http_addr(&self) -> SocketAddr {
        self.http.addr()
    }

    /// Where MQTT listens.
    #[must_use]
    pub fn mqtt_addr(&self) -> SocketAddr {
        self.mqtt.addr
    }

    /// What the handlers use.
    #[must_use]
    pub fn surface(&self) -> &Surface {
        &self.surface
    }

    /// Stops, from the top down. On return nothing runs and every acknowledged row is in files.
    ///
    /// # Errors
    /// When the last flush fails; acknowledged rows are in the log then, and come back at the next start.
    pub async fn stop(self) -> Result<(), AppError> {
        tracing::info!("draining");
        self.surface.readiness.hold("draining", "the process is stopping");
        // A task that has ended needs no signal.
        let _gone = self.mqtt.stop.send(());
        if self.mqtt.task.await.is_err() {
            tracing::error!("the MQTT listener ended by a panic");
        }
        if !self.http.stop(self.drain_timeout).await {
            tracing::warn!("requests were cut because they outlasted http.drain_timeout");
        }
        // The next one finishes what it has begun.
        if let Ok(erasures) = self.surface.doors.erasures() {
            erasures.stop().await;
        }
        // What is not finished is no backup, and holds the log.
        if let Ok(backups) = self.surface.doors.backups() {
            backups.stop().await;
        }
        let writer = self.writer;
        if tokio::task::spawn_blocking(move || writer.stop()).await.is_err() {
            tracing::error!("the writer could not be stopped in order");
        }
        // The tap ends, the rules take what is left of it, and only then the log may be trimmed for good.
        self.engine.tap().close();
        let rules = self.alerting.stop().await;
        let path = self.engine.config().data_dir.clone();
        let closed = self.engine.close().await;
        self.upkeep.abort();
        self.registry.close().await;
        closed.map_err(|source| AppError::Storage { action: "close", path, source })?;
        rules?;
        tracing::info!("stopped");
        Ok(())
    }
}

/// Drops what registry (now and daily) and quarantine (hourly) need not keep any longer.
async fn keep_up(registry: Arc<Registry>, quarantine: Arc<Quarantine>) {
    let mut hourly = tokio::time::interval(Duration::from_secs(3_600));
    for hour in 0_u64.. {
        hourly.tick().await;
        if hour % 24 == 0
            && let Err(error) = registry.maintain().await
        {
            tracing::warn!(%error, "the registry's upkeep failed; it is tried again tomorrow");
        }
        let kept = Arc::clone(&quarantine);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || kept.tidy()).await {
            tracing::warn!(%error, "the quarantine's upkeep failed; it is tried again in an hour");
        }
    }
}

async fn open_quarantine(config: &Config) -> Result<Arc<Quarantine>, AppError> {
    let (data_dir, settings) = (config.data_dir.clone(), config.quarantine());
    let opened = tokio::task::spawn_blocking(move || Quarantine::open(&data_dir, settings)).await;
    let ended = |error| storage::Error::Internal(format!("the quarantine could not be opened: {error}"));
    opened.map_err(ended).flatten().map_err(storage_error("open", config))
}

async fn open_registry(config: &Config) -> Result<Arc<Registry>, AppError> {
    let path = config.data_dir.join("registry").join("registry.sqlite");
    let folder = config.data_dir.join("registry");
    let made = LocalDisk.create_folder(&folder);
    made.map_err(|source| AppError::Storage { action: "make", path: folder, source })?;
    let opened = Registry::open(&path).await;
    Ok(Arc::new(opened.map_err(|source| AppError::Registry { path, source })?))
}

async fn open_alerting(config: &Config, engine: &Engine) -> Result<Arc<Alerting>, AppError> {
    let settings = AlertingConfig {
        rules: config.alert_rules()?,
        webhooks: config.receivers()?,
        ..AlertingConfig::new(config.data_dir.join("alerting"))
    };
    let source = Arc::new(rules::EngineSource(engine.clone()));
    let opened = tokio::task::spawn_blocking(move || Alerting::open(settings, source)).await;
    let ended = |error| alerting::Error::Internal(format!("the rules could not be opened: {error}"));
    Ok(Arc::new(opened.map_err(ended)??))
}

fn query_service(
    config: &Config,
    memory: &MemoryPlan,
    engine: &Engine,
    external: ExternalTables,
) -> Result<QueryService, AppError> {
    let source = Source { engine: engine.clone(), external };
    let settings = query::Settings {
        deadline: config.query.deadline.0,
        memory_bytes: memory.queries,
        // Half, so that one query cannot starve the others.
        query_memory_bytes: memory.queries / 2,
        running: config.query.concurrency,
        ..query::Settings::new(config.data_dir.join("spill"))
    };
    Ok(QueryService::new(source, settings)?)
}

async fn start_mqtt(config: &Config, surface: &Surface, intake: Intake) -> Result<Mqtt, AppError> {
    let settings = ListenerConfig { addr: config.mqtt.addr, ..ListenerConfig::default() };
    let passwords = Arc::new(mqtt::TokenPasswords(surface.tokens.clone()));
    let publish = mqtt::IntakePublish::new(intake, config.topics()?, Arc::clone(&surface.metrics));
    let failed = |source| AppError::Listen { key: "mqtt.addr", addr: config.mqtt.addr, source };
    let listener = Listener::bind(settings, passwords, publish).await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    surface.metrics.add(MqttMetrics(listener.metrics()));
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(listener.run(async move {
        // A dropped sender stops it as well.
        let _either = stopped.await;
    }));
    Ok(Mqtt { addr, stop, task })
}

pub(crate) fn engine_config(config: &Config, memory: &MemoryPlan) -> Result<EngineConfig, ConfigError> {
    let store = StoreSettings {
        tables: config.table_store()?,
        cache_bytes: config.store.cache.bytes.0 as u64,
        ..StoreSettings::default()
    };
    Ok(EngineConfig {
        disk_limit: config.disk.max_bytes.0 as u64,
        store,
        segment_bytes: config.log.segment_bytes.0 as u64,
        flush_bytes: memory.flush_begins,
        most_flush_bytes: memory.flush_begins_at_most,
        flush_age: config.flush.age.0,
        memory_limit: memory.memtables,
        series_memory: memory.series,
        consumers: vec![rules::CONSUMER],
        cluster: config.cluster(),
        compaction: config.compaction(memory),
        last_values: LastValuesConfig { max_bytes: memory.last_values, ..LastValuesConfig::default() },
        vacuum: config.vacuum(),
        retention: config.retention()?,
        recovery: match config.log.recovery {
            Recovery::Strict => RecoveryMode::Strict,
            Recovery::Salvage => RecoveryMode::Salvage,
        },
        ..EngineConfig::new(&config.data_dir)
    })
}

fn storage_error(action: &'static str, config: &Config) -> impl FnOnce(storage::Error) -> AppError {
    let path = config.data_dir.clone();
    move |source| AppError::Storage { action, path, source }
}

async fn listen(key: &'static str, addr: SocketAddr) -> Result<TcpListener, AppError> {
    TcpListener::bind(addr).await.map_err(|source| AppError::Listen { key, addr, source })
}

/// SIGTERM and SIGINT.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests;
