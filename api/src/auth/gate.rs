//! What lets requests in.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;

use crate::auth::presented;
use crate::error::{Dialect, Failure};
use crate::surface::Surface;

/// Paths that answer whoever asks: probes and the clients' first look carry no token.
const OPEN_PATHS: [&str; 3] = ["/health", "/ping", "/ready"];

/// Lets a request in when its path is open or its token is known, and notes who sent it.
pub async fn gate(surface: &Surface, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let open = OPEN_PATHS.contains(&path) || (path == "/metrics" && surface.metrics_are_open);
    if !open {
        let dialect = Dialect::of_path(path);
        let credentials = presented(request.headers(), request.uri(), dialect == Dialect::V1);
        match surface.tokens.admit(&credentials) {
            Ok(principal) => {
                request.extensions_mut().insert(principal);
            }
            Err(refusal) => {
                surface.metrics.refused_logins.inc();
                return Failure::Unauthenticated(refusal).answer(dialect);
            }
        }
    }
    next.run(request).await
}
