//! What becomes of a body that a refusal left unread: it is read and thrown away, so that the refusal arrives.
//!
//! A connection that is closed while its client is still sending is reset, and the client may never see the answer:
//! not the 413 that makes it split its batch, nor the 401 that says what to mend.
//!
//! Invariant: nothing is kept, at most [`DISCARDED_BYTES`] are read, and the limit of time of the request holds.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, BodyDataStream, Bytes, HttpBody as _};
use axum::extract::Request;
use axum::http::header;
use axum::response::Response;
use futures::{Stream, StreamExt as _};
use parking_lot::Mutex;

/// Bytes that are read after a refusal: more than twice the largest body that any endpoint takes.
const DISCARDED_BYTES: usize = 64 << 20;

/// A body that its handler may leave unread.
struct Lent(Arc<Mutex<BodyDataStream>>);

impl Stream for Lent {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.lock().poll_next_unpin(context)
    }
}

/// Answers, and after a refusal reads what the client is still sending. A client that expects `100 Continue` sends
/// nothing before it is told to, so it is refused at once.
pub(super) async fn read_on(request: Request, next: impl AsyncFnOnce(Request) -> Response) -> Response {
    if request.body().is_end_stream() || request.headers().contains_key(header::EXPECT) {
        return next(request).await;
    }
    let (parts, body) = request.into_parts();
    let body = Arc::new(Mutex::new(body.into_data_stream()));
    let lent = Body::from_stream(Lent(Arc::clone(&body)));
    let response = next(Request::from_parts(parts, lent)).await;
    if response.status().is_client_error() || response.status().is_server_error() {
        discard(&body).await;
    }
    response
}

async fn discard(body: &Mutex<BodyDataStream>) {
    let mut thrown = 0_usize;
    while let Some(Ok(piece)) = poll_fn(|context| body.lock().poll_next_unpin(context)).await {
        thrown = thrown.saturating_add(piece.len());
        if thrown > DISCARDED_BYTES {
            return;
        }
    }
}
