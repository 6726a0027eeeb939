//! A flush over HTTP: where the rows are afterwards.

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::post;
use tower::ServiceExt as _;

use super::super::flushes;
use super::stand;

#[tokio::test]
async fn a_flush_moves_rows_from_memory_into_their_table() {
    let stand = stand().await;
    let lines = "room,host=a v=1 1000000000\nroom,host=b v=1 1000000000";
    assert_eq!(stand.post("/write?db=d", lines).await.status, 204);
    assert_eq!(stand.rows("d", "room"), 2);
    let router =
        Router::new().route("/api/v1/flush", post(flushes::create)).with_state(stand.surface.clone());
    let answer = router.oneshot(Request::post("/api/v1/flush").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.status().as_u16(), 204);
    assert_eq!(stand.rows("d", "room"), 0);
    let snapshot = stand.intake.engine().snapshot();
    let rows: u64 = snapshot.tables().flat_map(|(_, view)| &view.files).map(|file| file.rows).sum();
    assert_eq!(rows, 2);
}
