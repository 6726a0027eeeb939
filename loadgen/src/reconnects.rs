//! Times at which all connections are closed and opened again.

use crate::clock;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Tells every connection how often it was to be opened anew.
#[derive(Debug, Clone)]
pub struct Reconnects {
    receiver: watch::Receiver<u64>,
    _timer: Arc<Timer>,
}

/// Ends with the last who listens.
#[derive(Debug)]
struct Timer(JoinHandle<()>);

impl Reconnects {
    /// At these times, which ascend.
    #[must_use]
    pub fn at(times: Vec<Instant>) -> Self {
        let (sender, receiver) = watch::channel(0);
        let timer = tokio::spawn(async move {
            for time in times {
                clock::sleep_until(time).await;
                sender.send_modify(|count| *count += 1);
            }
            // While the sender lives, nobody is told of its end.
            std::future::pending::<()>().await;
        });
        Self { receiver, _timer: Arc::new(Timer(timer)) }
    }

    /// Whether the count is not what it was when this or [`next`](Self::next) was asked last.
    pub fn is_due(&mut self) -> bool {
        let is_due = self.receiver.has_changed().unwrap_or(false);
        if is_due {
            self.receiver.mark_unchanged();
        }
        is_due
    }

    /// Returns when the count is not what it was when this was asked last.
    pub async fn next(&mut self) {
        if self.receiver.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.0.abort();
    }
}
