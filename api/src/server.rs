//! The HTTP listener: bounded connections, bounded heads, and a stop that lets requests end.
//!
//! Invariants: never more than `connections` at one time; after [`Server::stop`] no connection is left.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

/// How long a client may take to send a request's head, and to send the next one on an idle connection. Clients
/// that write every 10 s keep their connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long accepting pauses when the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Requests at one time on one HTTP/2 connection. Bodies are counted apart, so this only bounds tasks.
const STREAMS_PER_CONNECTION: u32 = 256;

/// Bytes of a request's head, and what is read of a body at once.
const HEAD_BYTES: usize = 64 << 10;

/// A running listener.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves `router` on a bound listener.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn start(listener: TcpListener, router: Router, connections: usize) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(accept(listener, router, connections, stopped));
        Ok(Self { addr, stop, task })
    }

    /// Where it listens; the port is the real one if 0 was asked for.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Takes no more connections, lets running requests end for at most `limit`, then cuts what is left. True when
    /// nothing had to be cut.
    pub async fn stop(mut self, limit: Duration) -> bool {
        self.stop.send_replace(true);
        let ended = tokio::time::timeout(limit, &mut self.task).await.is_ok();
        if !ended {
            // Dropping the task drops its set of connections, which ends them.
            self.task.abort();
        }
        ended
    }
}

/// Accepts until stopped, then waits for the connections.
async fn accept(listener: TcpListener, router: Router, limit: usize, mut stopped: watch::Receiver<bool>) {
    let permits = Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS)));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = asked_to_stop(&mut stopped) => break,
            accepted = next(&listener, &permits) => accepted,
        };
        while connections.try_join_next().is_some() {}
        let Some((stream, permit)) = accepted else { break };
        let (router, stopped) = (router.clone(), stopped.clone());
        connections.spawn(async move {
            serve(stream, router, stopped).await;
            drop(permit);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Returns when a stop is asked for; a server that is gone asks for it too.
async fn asked_to_stop(stopped: &mut watch::Receiver<bool>) {
    drop(stopped.wait_for(|stop| *stop).await);
}

/// The next connection, once there is room for it. `None` never comes while the semaphore lives.
async fn next(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Some((stream, permit)),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, router: Router, mut stopped: watch::Receiver<bool>) {
    // Small answers go out at once; without this an acknowledgement can wait 40 ms.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(STREAMS_PER_CONNECTION);
    let service = TowerToHyperService::new(router);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = asked_to_stop(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(error, "a connection ended early");
    }
}
