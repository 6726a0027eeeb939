//! The registry over HTTP: the real router before a real database, without a socket.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod description;
mod devices;
mod import;
mod rows;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, Response};
use serde_json::{Value as Json, json};
use storage::registry::Registry;
use tempfile::TempDir;
use tower::ServiceExt;
use utoipa_axum::router::OpenApiRouter;

/// Bytes of an answer that a test reads.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// The routes with a database of their own.
struct Server {
    router: Router,
    registry: Arc<Registry>,
    _folder: TempDir,
}

/// An answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Json {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn id(&self) -> String {
        self.json()["id"].as_str().unwrap_or_else(|| panic!("no id: {self:?}")).to_owned()
    }

    /// Pointer and code of every fault.
    fn faults(&self) -> Vec<(String, String)> {
        assert_eq!((self.status, self.header("content-type")), (400, "application/problem+json"), "{self:?}");
        let text = |value: &Json| value.as_str().unwrap().to_owned();
        let errors = self.json()["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| (text(&error["pointer"]), text(&error["code"]))).collect()
    }
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = Arc::new(Registry::open(&folder.path().join("registry.db")).await.unwrap());
        let (router, _) = OpenApiRouter::new()
            .nest("/api/v1", super::router().with_state(Arc::clone(&registry)))
            .split_for_parts();
        Self { router, registry, _folder: folder }
    }

    /// Sends a request; `headers` are pairs of name and value.
    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("/api/v1{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).unwrap();
        let response: Response<Body> = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, MAX_ANSWER_BYTES).await.unwrap();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], Body::empty()).await
    }

    async fn with_json(&self, method: &str, path: &str, body: &Json) -> Answer {
        self.send(method, path, &[("content-type", "application/json")], body.to_string()).await
    }

    /// Makes a row and gives its id.
    async fn make(&self, path: &str, body: Json) -> String {
        let answer = self.with_json("POST", path, &body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.id()
    }

    /// A building, a floor of it, an area of it and a room in both.
    async fn house(&self) -> [String; 4] {
        let building = self.make("/buildings", json!({"name": "House"})).await;
        let floor =
            self.make("/floors", json!({"building_id": building, "name": "Ground", "level": 0})).await;
        let area = self.make("/areas", json!({"building_id": building, "name": "East"})).await;
        let room = self.make("/rooms", json!({"floor_id": floor, "area_id": area, "name": "Lobby"})).await;
        [building, floor, area, room]
    }
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    pairs.map(|(pointer, code)| (pointer.to_owned(), code.to_owned())).to_vec()
}
