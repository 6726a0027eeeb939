//! Accepts connections, and stops in order.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::config::ListenerConfig;
use super::connection::serve;
use super::handler::{Authenticate, Publish};
use super::metrics::Metrics;

/// How long nothing is accepted after the system refused a socket, for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What all connections share.
pub(super) struct Shared {
    pub(super) config: ListenerConfig,
    pub(super) authenticate: Arc<dyn Authenticate>,
    pub(super) publish: Arc<dyn Publish>,
    pub(super) metrics: Arc<Metrics>,
    /// Bytes of packets that may be held by all connections together.
    pub(super) budget: Arc<Semaphore>,
    /// All of them.
    budget_bytes: u32,
}

impl Shared {
    /// What a packet of this size takes from the budget: not more than there is.
    pub(super) fn budget_for(&self, bytes: usize) -> u32 {
        u32::try_from(bytes).unwrap_or(u32::MAX).min(self.budget_bytes)
    }
}

/// A bound listener that accepts nothing yet.
pub struct Listener {
    listener: TcpListener,
    shared: Arc<Shared>,
}

impl Listener {
    /// Binds the address.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(
        config: ListenerConfig,
        authenticate: Arc<dyn Authenticate>,
        publish: Arc<dyn Publish>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(config.addr).await?;
        let budget_bytes = u32::try_from(config.max_total_bytes).unwrap_or(u32::MAX).max(1);
        let budget = Arc::new(Semaphore::new(usize::try_from(budget_bytes).unwrap_or(usize::MAX)));
        let metrics = Arc::new(Metrics::default());
        let shared = Shared { config, authenticate, publish, metrics, budget, budget_bytes };
        Ok(Self { listener, shared: Arc::new(shared) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What it has done so far; it goes on counting.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        self.shared.metrics.clone()
    }

    /// Serves until `shutdown` resolves. Then it accepts no more, reads no more, waits for what is being committed,
    /// acknowledges it, and closes all connections. What is not committed within `drain_timeout` is dropped without
    /// an acknowledgement.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let Self { listener, shared } = self;
        let (stop, stopping) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut number = 0_u64;
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(ended) = connections.join_next() => log_panic(ended),
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        shared.metrics.record().connections(1);
                        if connections.len() >= shared.config.max_connections {
                            shared.metrics.record().over_limit(1);
                            continue;
                        }
                        number += 1;
                        connections.spawn(connection(stream, peer, shared.clone(), stopping.clone(), number));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        stop.send_replace(true);
        let drained = timeout(shared.config.drain_timeout, async {
            while let Some(ended) = connections.join_next().await {
                log_panic(ended);
            }
        });
        if drained.await.is_err() {
            tracing::warn!(connections = connections.len(), "closing connections whose publishes do not end");
            connections.shutdown().await;
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    shared: Arc<Shared>,
    stopping: watch::Receiver<bool>,
    number: u64,
) {
    let _open = shared.metrics.hold_open();
    // Acknowledgements are small and waited for. Without the option they are only later.
    stream.set_nodelay(true).ok();
    let close = serve(stream, shared, stopping, number).await;
    tracing::debug!(%peer, number, reason = %close, "connection closed");
}

/// A panic ends its connection only; it is a bug all the same.
fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection panicked");
    }
}
