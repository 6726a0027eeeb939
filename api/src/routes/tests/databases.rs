//! Databases and tables as resources: durable on the answer, refused where something stands already.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use storage::registry::Registry;

use super::{Answer, Stand, stand};
use crate::routes::{native, router};

/// A stand with the routes below `/api/v1`.
async fn with_resources() -> Stand {
    let mut stand = stand().await;
    let registry = Registry::open(&stand.folder.path().join("registry.sqlite")).await.unwrap();
    stand.router = router(&stand.surface, native(&stand.surface, &Arc::new(registry)));
    stand
}

impl Stand {
    async fn put(&self, uri: &str, body: &Value) -> Answer {
        self.send(Request::put(uri).body(Body::from(body.to_string())).unwrap()).await
    }
}

#[tokio::test]
async fn a_retention_is_declared_inherited_and_taken_back() {
    let stand = with_resources().await;
    let made = stand.put("/api/v1/databases/d%2Frp", &json!({ "retention": "30days" })).await;
    let wanted =
        json!({ "name": "d/rp", "retention": "30days", "effective_retention": "30days", "tables": 0 });
    assert_eq!((made.status, made.json()), (201, wanted));
    let table = "/api/v1/databases/d%2Frp/tables/%C2%B0C";
    assert_eq!(stand.get(table).await.status, 404);
    let made = stand.put(table, &json!({})).await;
    let view = |retention: Value, effective: &str| json!({ "name": "°C", "retention": retention, "effective_retention": effective, "partition": "day", "scales": {} });
    assert_eq!((made.status, made.json()), (201, view(Value::Null, "30days")));
    let kept = stand.put(table, &json!({ "retention": "forever" })).await;
    assert_eq!((kept.status, kept.json()), (200, view(json!("forever"), "forever")));
    assert_eq!(stand.get(table).await.json(), view(json!("forever"), "forever"));
    let reset = stand.put("/api/v1/databases/d%2Frp", &json!({ "retention": null })).await;
    assert_eq!((reset.status, &reset.json()["effective_retention"]), (200, &json!("forever")));
}

#[tokio::test]
async fn what_cannot_be_declared_is_a_problem_and_changes_nothing() {
    let stand = with_resources().await;
    stand.post("/api/v3/write_lp?db=d", "m,host=a v=1.5 1").await;
    let table = "/api/v1/databases/d/tables/m";
    let before = stand.get(table).await.json();
    for (body, status, code) in [
        (json!({ "retention": "1m" }), 400, "invalid"),
        (json!({ "retention": "soon" }), 400, "bad_retention"),
        (json!({ "retained": "1h" }), 400, "bad_json"),
        (json!({ "partition": "year" }), 400, "bad_json"),
        (json!({ "retention": "2h", "partition": "month" }), 409, "conflict"),
        (json!({ "retention": "2h", "scales": { "w": 16 } }), 400, "invalid"),
        (json!({ "retention": "2h", "scales": { "v": 1 } }), 409, "conflict"),
        (json!({ "retention": "2h", "scales": { "host": 1 } }), 409, "conflict"),
        (json!({ "retention": "2h", "scales": { "busbar_x": 1 } }), 400, "invalid"),
    ] {
        let answer = stand.put(table, &body).await;
        assert_eq!((answer.status, &answer.json()["code"]), (status, &json!(code)), "{body}");
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert_eq!(stand.get(table).await.json(), before, "{body}");
    }
    assert_eq!(stand.put("/api/v1/databases/a%20b", &json!({})).await.status, 400);
    assert_eq!(stand.get("/api/v1/databases/none").await.status, 404);
    assert_eq!(stand.get("/api/v1/databases/none/tables").await.status, 404);
}

#[tokio::test]
async fn lists_come_in_pages_by_name() {
    let stand = with_resources().await;
    for table in ["c", "a", "b b"] {
        stand.put(&format!("/api/v1/databases/d/tables/{}", table.replace(' ', "%20")), &json!({})).await;
    }
    let names = |answer: &Answer| {
        let items = answer.json()["items"].as_array().cloned().unwrap();
        items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let first = stand.get("/api/v1/databases/d/tables?limit=2").await;
    assert_eq!((names(&first), &first.json()["next"]), (vec!["a".to_owned(), "b b".into()], &json!("b b")));
    let link = first.headers["link"].to_str().unwrap();
    assert_eq!(link, "</api/v1/databases/d/tables?limit=2&cursor=b+b>; rel=\"next\"");
    let second = stand.get("/api/v1/databases/d/tables?limit=2&cursor=b+b").await;
    assert_eq!((names(&second), &second.json()["next"]), (vec!["c".to_owned()], &Value::Null));
    assert!(!second.headers.contains_key("link"));
    assert_eq!(names(&stand.get("/api/v1/databases").await), ["d"]);
    assert_eq!(stand.get("/api/v1/databases?limit=0").await.status, 400);
}

#[tokio::test]
async fn a_declared_field_takes_floats_and_whole_numbers_and_nothing_else() {
    let stand = with_resources().await;
    let table = "/api/v1/databases/d/tables/m";
    let declaration = json!({ "partition": "month", "scales": { "t": 1 } });
    let made = stand.put(table, &declaration).await;
    assert_eq!(
        (made.status, &made.json()["scales"], &made.json()["partition"]),
        (201, &json!({ "t": 1 }), &json!("month"))
    );
    assert_eq!(stand.put(table, &declaration).await.status, 200, "the same again is no conflict");
    assert_eq!(stand.put(table, &json!({ "scales": { "t": 2 } })).await.status, 409);
    assert_eq!(stand.post("/api/v3/write_lp?db=d", "m t=21.5 1\nm t=21i 2\nm t=0.123 3").await.status, 204);
    assert_eq!(stand.post("/api/v3/write_lp?db=d", "m t=\"warm\" 4").await.status, 400);
    assert_eq!(stand.rows("d", "m"), 3);
}

#[tokio::test]
async fn rows_beyond_the_retention_are_answered_as_each_server_does() {
    let stand = with_resources().await;
    stand.put("/api/v1/databases/d", &json!({ "retention": "1h" })).await;
    let now = storage::clock::now().nanos();
    let lines = format!("m v=1 1\nm v=2 2\nm v=3 {now}");
    let v1 = stand.post("/write?db=d", lines.clone()).await;
    let text = "partial write: points beyond retention policy dropped=2 for database: d";
    assert_eq!((v1.status, v1.json()), (400, json!({ "error": text })));
    assert_eq!(stand.rows("d", "m"), 1);
    let v2 = stand.post("/api/v2/write?bucket=d&org=o", lines.clone()).await;
    assert_eq!(v2.status, 422);
    // Hidden, not refused.
    assert_eq!(stand.post("/api/v3/write_lp?db=d", lines).await.status, 204);
    let count = stand.get("/api/v3/query_sql?db=d&q=SELECT%20count(*)%20AS%20n%20FROM%20m&format=json").await;
    assert_eq!(count.json(), json!([{ "n": 1 }]));
}
