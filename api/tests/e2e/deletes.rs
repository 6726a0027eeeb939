//! Deletes and the real program: what was deleted stays so across a kill, flush and restart.

use serde_json::{Value, json};

use crate::server::Launch;

const LEFT: &str = "SELECT host, v FROM room ORDER BY host, time";

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_delete_survives_a_kill_and_what_is_written_again_stays() {
    let folder = tempfile::tempdir().unwrap();
    let launch = Launch::new(&folder.path().join("data"));
    let server = launch.start().await;
    server.write("d", "room,host=a v=1 1\nroom,host=b v=1 1\nroom,host=c v=1 1").await;
    server.stop().await;
    // The rows are in files now.
    let server = launch.start().await;
    let span = json!({ "start": "1970-01-01T00:00:00Z", "stop": "1970-01-02T00:00:00Z" });
    let with = |name: &str, value: Value| {
        let mut body = span.clone();
        body[name] = value;
        body
    };
    let body = with("predicate", json!("_measurement=\"room\" AND host=\"a\"")).to_string();
    assert_eq!(server.post("/api/v2/delete?bucket=d&org=o", body).send().await.unwrap().status(), 204);
    let body = with("tags", json!({ "host": "b" })).to_string();
    assert_eq!(server.post("/api/v1/databases/d/delete", body).send().await.unwrap().status(), 204);
    server.write("d", "room,host=b v=2 1").await;
    let left = vec![json!({ "host": "b", "v": 2.0 }), json!({ "host": "c", "v": 1.0 })];
    assert_eq!(server.sql("d", LEFT).await, left);
    server.kill().await;
    for _ in 0..2 {
        let server = launch.start().await;
        assert_eq!(server.sql("d", LEFT).await, left);
        server.stop().await;
    }
    let description: Value = {
        let server = launch.start().await;
        let description = server.get("/openapi.json").send().await.unwrap().json().await.unwrap();
        server.stop().await;
        description
    };
    assert!(description["paths"]["/api/v1/databases/{database}/delete"]["post"].is_object());
}
