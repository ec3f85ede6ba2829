//! The `OpenAPI` document and its page.

use std::collections::BTreeSet;

use axum::{
    body::Body,
    http::{Request, header},
};
use serde_json::Value;

use super::Api;
use crate::http::openapi;

#[tokio::test]
async fn the_documentation_page_is_compressed_on_request() {
    let api = Api::new().await;
    let request = Request::get("/docs").header(header::ACCEPT_ENCODING, "gzip");
    let page = api.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(page.header("content-encoding"), "gzip");
    assert_eq!(api.get("/docs").await.header("content-encoding"), "");
    let document = api.get("/openapi.json").await;
    assert_eq!(document.body, openapi().as_bytes());
}

/// The committed document shows every change of the contract in review.
#[test]
fn the_document_equals_its_snapshot() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    let snapshot = std::fs::read_to_string(path).unwrap();
    let document = openapi();
    let difference = document
        .lines()
        .zip(snapshot.lines())
        .position(|(now, then)| now != then);
    assert!(
        document == snapshot,
        "docs/openapi.json differs from the API, first in line {}; renew it with \
         `cargo run -- openapi > docs/openapi.json` and review the difference",
        difference.unwrap_or(snapshot.lines().count()) + 1
    );
}

#[test]
fn every_operation_is_described_and_every_reference_resolves() {
    let document: Value = serde_json::from_str(&openapi()).unwrap();
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let place = format!("{method} {path}");
            for key in ["operationId", "summary", "description"] {
                assert!(
                    !operation[key].as_str().unwrap().is_empty(),
                    "{place} {key}"
                );
            }
            assert!(
                ids.insert(operation["operationId"].as_str().unwrap()),
                "{place}"
            );
            assert_eq!(operation["tags"].as_array().unwrap().len(), 1, "{place}");
            let responses = operation["responses"].as_object().unwrap();
            for response in responses.values() {
                assert!(
                    !response["description"].as_str().unwrap().is_empty(),
                    "{place}"
                );
            }
            let statuses: BTreeSet<_> = responses.keys().map(String::as_str).collect();
            if ["/vehicles", "/service", "/webhooks"]
                .iter()
                .any(|root| path.starts_with(root))
            {
                assert!(
                    statuses.contains("500") && statuses.contains("503"),
                    "{place}"
                );
            }
            if path.contains('{') || !operation["parameters"].is_null() {
                assert!(statuses.contains("400"), "{place}");
            }
            if path.contains('{') {
                assert!(statuses.contains("404"), "{place}");
            }
            if let Some(body) = operation["requestBody"]["content"].as_object() {
                assert!(
                    body.values().all(|media| !media["example"].is_null()),
                    "{place}"
                );
                for status in ["400", "408", "413", "415", "422"] {
                    assert!(statuses.contains(status), "{place} {status}");
                }
            }
        }
    }
    assert_eq!(ids.len(), 37);
    assert_references_resolve(&document, &document);
}

fn assert_references_resolve(document: &Value, value: &Value) {
    match value {
        Value::Object(object) => {
            if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{reference}");
            }
            for value in object.values() {
                assert_references_resolve(document, value);
            }
        }
        Value::Array(array) => {
            for value in array {
                assert_references_resolve(document, value);
            }
        }
        _ => {}
    }
}
