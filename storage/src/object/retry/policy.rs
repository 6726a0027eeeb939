//! When a request is repeated, and when it is given up.
//!
//! Invariants: an operation ends within [`RetryPolicy::operation_timeout`] and one more request. All operations
//! share one budget of retries, so a store that is down is not asked many times over by everybody: an answered
//! request gives back what one retry takes.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use object_store::{Error, Result};

use crate::clock;
use crate::object::StoreActivity;

/// How often and how long a request is repeated.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// How long one request may take.
    pub attempt_timeout: Duration,
    /// How long after its begin an operation may send one more request.
    pub operation_timeout: Duration,
    /// The pause before the first retry; it doubles from one to the next.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// Retries that may be spent before a request is answered.
    pub retries: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            // A part of 8 MiB takes 17 s over 4 Mbit/s.
            attempt_timeout: Duration::from_secs(20),
            // With the last request 30 s, the deadline of a query: it shall still say why it failed. A flush comes
            // back by itself.
            operation_timeout: Duration::from_secs(10),
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(5),
            // Ten operations in a bad minute, each with ten retries.
            retries: 100,
        }
    }
}

/// The name in errors that say that a remote store did not answer.
pub const REMOTE_STORE: &str = "remote store";

/// What all operations of a store share.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) policy: RetryPolicy,
    pub(super) activity: Arc<StoreActivity>,
    left: AtomicU32,
}

/// One operation: the requests that it has sent and what it may still send.
pub(super) struct Patience {
    budget: Arc<Budget>,
    action: &'static str,
    location: String,
    began: Instant,
    attempts: u32,
}

/// An operation was given up.
#[derive(Debug, thiserror::Error)]
#[error("{action} {location:?} was given up after {attempts} requests in {seconds:.1} s: {cause}")]
struct GivenUp {
    action: &'static str,
    location: String,
    attempts: u32,
    seconds: f64,
    #[source]
    cause: Error,
}

/// A request took too long.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {0:?}")]
struct TooLate(Duration);

/// Whether the same request may have another answer later.
pub(super) fn is_passing(error: &Error) -> bool {
    matches!(error, Error::Generic { .. } | Error::JoinError { .. })
}

impl Budget {
    pub(super) fn new(policy: RetryPolicy, activity: Arc<StoreActivity>) -> Self {
        Self { policy, activity, left: AtomicU32::new(policy.retries) }
    }

    /// Begins an operation.
    pub(super) fn patience(self: &Arc<Self>, action: &'static str, location: impl fmt::Display) -> Patience {
        let (budget, location) = (Arc::clone(self), location.to_string());
        Patience { budget, action, location, began: clock::instant(), attempts: 0 }
    }

    fn take(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    fn give_back(&self) {
        let more = |left: u32| (left < self.policy.retries).then_some(left + 1);
        // Full already is as good as given back.
        let _either = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }
}

impl Patience {
    /// Whether a request was repeated, so that its effect may be that of an earlier one.
    pub(super) fn has_repeated(&self) -> bool {
        self.attempts > 1
    }

    /// What was asked for has come in part: what follows is a new operation.
    pub(super) fn progressed(&mut self) {
        self.began = clock::instant();
        self.attempts = 0;
    }

    /// Sends one request and waits for its answer, for as long as one request may take.
    pub(super) async fn attempt<T>(&mut self, request: impl Future<Output = Result<T>>) -> Result<T> {
        StoreActivity::add(&self.budget.activity.requests, 1);
        self.wait_for(request).await
    }

    /// As [`Self::attempt`], for more of an answer to a request that was sent.
    pub(super) async fn wait_for<T>(&mut self, answer: impl Future<Output = Result<T>>) -> Result<T> {
        self.attempts += 1;
        let activity = &self.budget.activity;
        let limit = self.budget.policy.attempt_timeout;
        let answer = match tokio::time::timeout(limit, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Generic { store: REMOTE_STORE, source: TooLate(limit).into() }),
        };
        match &answer {
            Err(error) if is_passing(error) => activity.unanswered(error),
            // "No" is an answer, too.
            Ok(_) | Err(_) => {
                activity.answered();
                self.budget.give_back();
            }
        }
        answer
    }

    /// Pauses before the next request.
    ///
    /// # Errors
    /// When the operation is to be given up: an error that stays, or one that has stayed long enough.
    pub(super) async fn after(&mut self, error: Error) -> Result<()> {
        if is_passing(&error) { self.after_passing(error).await } else { Err(error) }
    }

    /// As [`Self::after`], for an error that the caller knows to pass.
    pub(super) async fn after_passing(&mut self, error: Error) -> Result<()> {
        let spent = clock::instant().duration_since(self.began);
        let pause = self.pause();
        if spent + pause > self.budget.policy.operation_timeout || !self.budget.take() {
            StoreActivity::add(&self.budget.activity.failures, 1);
            let (action, location, attempts) = (self.action, self.location.clone(), self.attempts);
            let cause = GivenUp { action, location, attempts, seconds: spent.as_secs_f64(), cause: error };
            return Err(Error::Generic { store: REMOTE_STORE, source: cause.into() });
        }
        StoreActivity::add(&self.budget.activity.retries, 1);
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Sends requests until one is answered or the operation is given up.
    pub(super) async fn run<T, F>(mut self, mut request: impl FnMut() -> F + Send) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        loop {
            match self.attempt(request()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => self.after(error).await?,
            }
        }
    }

    /// Between nothing and the doubled pause: those that failed together do not come back together.
    fn pause(&self) -> Duration {
        let policy = &self.budget.policy;
        let doublings = self.attempts.saturating_sub(1).min(16);
        let longest = policy.first_pause.saturating_mul(1 << doublings).min(policy.longest_pause);
        longest.mul_f64(rand::random_range(0.0..=1.0))
    }
}
