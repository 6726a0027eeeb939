//! The composition root: what is started, in which order, and stopped in the reverse.
//!
//! Invariant: nothing accepts a row before the part that makes it durable is open, and no part is closed while
//! another can still hand it a row.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use ingest::intake::Intake;
use ingest::ring::Ring;
use ingest::writer::{Writer, WriterMetrics};
use storage::engine::{Engine, EngineConfig};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{Config, ConfigError};
use crate::metrics::EngineMetrics;
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
    /// Signals could not be listened for.
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
}

/// Everything that runs.
pub struct App {
    surface: Surface,
    http: Server,
    drain_timeout: Duration,
    engine: Engine,
    writer: Writer,
}

/// Starts everything, waits for SIGTERM or SIGINT, and stops everything.
///
/// # Errors
/// When something does not start.
pub async fn serve(config: Config) -> Result<(), AppError> {
    // First, so that a signal during the start is not lost.
    let mut stop = StopSignals::listen().map_err(AppError::Signals)?;
    let app = App::start(&config).await?;
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
        if config.tokens.is_empty() && config.insecure {
            tracing::warn!("no token is configured: whoever reaches a listener may read and write everything");
        }
        // 1. Listeners are bound, so that a port in use is found before the log is replayed.
        let http = listen("http.addr", config.http.addr).await?;
        // 2. HTTP answers: /health and /ready while the engine starts, 503 to writes and queries.
        let surface = Surface::new(config);
        surface.readiness.hold("engine", "the engine is not open");
        let router = routes::router(&surface, Router::new());
        let http = Server::start(http, router, config.http.connections).map_err(|source| AppError::Listen {
            key: "http.addr",
            addr: config.http.addr,
            source,
        })?;
        tracing::info!(addr = %http.addr(), "HTTP listens");
        // 3. The storage replays its log; then the one writer, then writes are let through.
        let (engine, committer) = Engine::open(engine_config(config)).await.map_err(storage_error("open", config))?;
        let ring = Arc::new(Ring::default());
        let counters = Arc::new(WriterMetrics::default());
        let writer =
            Writer::start(committer, Arc::clone(&ring), Arc::clone(&counters)).map_err(AppError::Writer)?;
        let intake = Intake::new(engine.clone(), Arc::clone(&ring), config.write.create_on_write);
        surface.metrics.add(EngineMetrics { engine: engine.clone(), ring, writer: counters });
        surface.engine.open_writes(intake);
        // 4. Everything runs.
        surface.readiness.release("engine");
        tracing::info!("ready");
        Ok(Self { surface, http, drain_timeout: config.http.drain_timeout.0, engine, writer })
    }

    /// Where HTTP listens.
    #[must_use]
    pub fn http_addr(&self) -> SocketAddr {
        self.http.addr()
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
        if !self.http.stop(self.drain_timeout).await {
            tracing::warn!("requests were cut because they outlasted http.drain_timeout");
        }
        let writer = self.writer;
        if tokio::task::spawn_blocking(move || writer.stop()).await.is_err() {
            tracing::error!("the writer could not be stopped in order");
        }
        let path = self.engine.config().data_dir.clone();
        self.engine.close().await.map_err(|source| AppError::Storage { action: "close", path, source })?;
        tracing::info!("stopped");
        Ok(())
    }
}

fn engine_config(config: &Config) -> EngineConfig {
    EngineConfig {
        flush_bytes: config.flush.bytes.0,
        flush_age: config.flush.age.0,
        memory_limit: config.write.memtable_bytes.0,
        ..EngineConfig::new(&config.data_dir)
    }
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
