//! Flushes that somebody asks for.

use axum::extract::State;
use axum::http::StatusCode;

use crate::problem::Problem;
use crate::surface::Surface;

/// Moves every acknowledged row into its table now, where other engines read it. On 204 it is there; a flush that takes
/// longer than the request goes on.
#[utoipa::path(post, path = "/flush", operation_id = "flush", tag = "databases",
    responses((status = 204, description = "All rows that were acknowledged before are in tables"),
        (status = 503, description = "The store of the tables does not answer: the rows stay on this machine's disk, and it is tried again by itself")))]
pub(super) async fn create(State(surface): State<Surface>) -> Result<StatusCode, Problem> {
    surface.doors.intake()?.engine().flush().await?;
    Ok(StatusCode::NO_CONTENT)
}
