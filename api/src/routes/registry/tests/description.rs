//! The OpenAPI description against itself and against the routes.

use std::collections::BTreeSet;

use super::*;

/// Every `$ref` in a document.
fn references(value: &Json, found: &mut BTreeSet<String>) {
    match value {
        Json::Object(properties) => {
            for (name, value) in properties {
                match value {
                    Json::String(reference) if name == "$ref" => {
                        found.insert(reference.clone());
                    }
                    other => references(other, found),
                }
            }
        }
        Json::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

fn document() -> Json {
    let router = OpenApiRouter::new().nest("/api/v1", super::super::router());
    serde_json::to_value(router.into_openapi()).unwrap()
}

#[test]
fn every_reference_of_the_description_leads_somewhere() {
    let document = document();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.contains("#/components/schemas/Problem"));
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

#[test]
fn every_operation_has_a_name_of_its_own_and_tells_its_errors() {
    let document = document();
    let mut names = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "{method} {path} is called {name} too");
            assert!(operation["responses"]["default"].is_object(), "{name} tells no errors");
        }
    }
    assert_eq!(names.len(), 5 * 6 + 1 + 1 + 4 + 1 + 1 + 1);
}

#[test]
fn a_body_allows_no_other_properties_and_a_view_has_its_revision() {
    let document = document();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for (name, schema) in schemas {
        if name.ends_with("Body") {
            assert_eq!(schema["additionalProperties"], json!(false), "{name}");
        }
    }
    for name in ["BuildingView", "FloorView", "AreaView", "RoomView", "DeviceView"] {
        assert!(schemas[name]["properties"]["rev"].is_object(), "{name}");
    }
}

/// Requests that a route must answer itself: 405 would say that the method is described but not there.
#[tokio::test]
async fn every_described_operation_is_there() {
    let server = Server::start().await;
    for (path, operations) in document()["paths"].as_object().unwrap() {
        let path = path
            .strip_prefix("/api/v1")
            .unwrap()
            .replace("{id}", "x")
            .replace("{source}", "s")
            .replace("{external_id}", "e");
        for method in operations.as_object().unwrap().keys() {
            let answer = server.send(&method.to_uppercase(), &path, &[], Body::empty()).await;
            assert_ne!(answer.status, 405, "{method} {path}");
            assert!(answer.header("content-type").contains("json"), "{method} {path}: {answer:?}");
        }
    }
}
