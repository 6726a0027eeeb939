//! The rows of a running query, on the reader's side.
//!
//! Invariants: after an error or the end nothing follows; dropping the stream interrupts and aborts the query;
//! a query that panicked ends in an error, never in a short answer that looks complete.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Sleep;

use super::interrupt::Interrupt;
use crate::error::{Error, Result};

/// A query's task and what it sends. Dropping it ends the task.
#[derive(Debug)]
pub(super) struct Running {
    batches: mpsc::Receiver<Result<RecordBatch>>,
    task: JoinHandle<()>,
    interrupt: Interrupt,
}

impl Running {
    pub(super) fn new(
        batches: mpsc::Receiver<Result<RecordBatch>>,
        task: JoinHandle<()>,
        interrupt: Interrupt,
    ) -> Self {
        Self { batches, task, interrupt }
    }

    /// Why the task ended without an answer.
    pub(super) async fn failure(mut self) -> Error {
        match (&mut self.task).await {
            Ok(()) => Error::internal("the query's task ended without an answer"),
            Err(error) => Error::internal(error),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        if let Some(batch) = ready!(self.batches.poll_recv(cx)) {
            return Poll::Ready(Some(batch));
        }
        match ready!(Pin::new(&mut self.task).poll(cx)) {
            Ok(()) => Poll::Ready(None),
            Err(error) => Poll::Ready(Some(Err(Error::internal(error)))),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.interrupt.set();
        self.task.abort();
    }
}

/// The rows of a query, in batches of its columns.
#[derive(Debug)]
pub struct ResultStream {
    schema: SchemaRef,
    /// What [`Self::begun`] waited for.
    first: Option<RecordBatch>,
    /// `None` after the end.
    running: Option<Running>,
    deadline: Pin<Box<Sleep>>,
    /// The error to give at the deadline.
    late: Option<Error>,
}

impl ResultStream {
    pub(super) fn new(schema: SchemaRef, running: Running, deadline: Pin<Box<Sleep>>, late: Error) -> Self {
        Self { schema, first: None, running: Some(running), deadline, late: Some(late) }
    }

    /// Waits for the first batch, so that a query which fails before any row is an error, not an answer that breaks
    /// off.
    ///
    /// # Errors
    /// Why there is no first batch.
    pub async fn begun(mut self) -> Result<Self> {
        self.first = self.next().await.transpose()?;
        Ok(self)
    }

    /// The columns of every batch.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

impl Stream for ResultStream {
    type Item = Result<RecordBatch>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let Some(running) = &mut this.running else { return Poll::Ready(None) };
        let item = if this.deadline.as_mut().poll(cx).is_ready() {
            this.late.take().map(Err)
        } else {
            ready!(running.poll(cx))
        };
        if !matches!(item, Some(Ok(_))) {
            this.running = None;
        }
        Poll::Ready(item)
    }
}
