//! The `OpenAPI` document and its page.

use std::{collections::BTreeSet, io::Read};

use axum::{
    body::Body,
    http::{HeaderName, Method, Request, StatusCode, header},
};
use flate2::read::GzDecoder;
use serde_json::{Value, json};

use super::{Api, ApiResponse, TRUCK};
use crate::http::openapi;

/// Sends `GET` with these headers.
async fn get_with(api: &Api, path: &str, headers: &[(HeaderName, &str)]) -> ApiResponse {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    api.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn static_content_is_compressed_once() {
    let api = Api::new().await;
    for path in ["/docs", "/openapi.json"] {
        let gzip = [(header::ACCEPT_ENCODING, "gzip")];
        let first = get_with(&api, path, &gzip).await;
        assert_eq!(first.header("content-encoding"), "gzip");
        assert_eq!(first.header("vary"), "accept-encoding");
        let plain = api.get(path).await;
        assert_eq!(plain.header("content-encoding"), "");
        let mut unpacked = Vec::new();
        let mut unpacking = GzDecoder::new(&first.body[..]);
        unpacking.read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == plain.body, "{path}");
        // The same bytes in the same place: nothing was compressed or copied for the second request.
        let second = get_with(&api, path, &gzip).await;
        assert_eq!(first.body.as_ptr(), second.body.as_ptr(), "{path}");
    }
    assert_eq!(api.get("/openapi.json").await.body, openapi().as_bytes());
}

#[tokio::test]
async fn static_content_that_the_client_has_is_not_sent_again() {
    let api = Api::new().await;
    for path in ["/docs", "/openapi.json"] {
        let mut tags = BTreeSet::new();
        for encoding in ["gzip", "identity"] {
            let encoding = (header::ACCEPT_ENCODING, encoding);
            let content = get_with(&api, path, std::slice::from_ref(&encoding)).await;
            let tag = content.header("etag");
            assert!(tags.insert(tag.to_owned()), "one tag for two encodings");
            assert_eq!(content.header("cache-control"), "no-cache");
            let has = [encoding.clone(), (header::IF_NONE_MATCH, tag)];
            let unchanged = get_with(&api, path, &has).await;
            assert_eq!(unchanged.status, StatusCode::NOT_MODIFIED, "{path}");
            assert_eq!(unchanged.header("etag"), tag);
            assert!(unchanged.body.is_empty());
            let other = [encoding, (header::IF_NONE_MATCH, "\"0\"")];
            assert_eq!(get_with(&api, path, &other).await.status, StatusCode::OK);
        }
    }
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
    assert_eq!(ids.len(), 44);
    assert_references_resolve(&document, &document);
}

#[test]
fn each_resource_has_one_tag() {
    let document: Value = serde_json::from_str(&openapi()).unwrap();
    let mut used = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let tag = match path {
            path if path.contains("/debug-blobs") => "Debug blobs",
            path if path.contains("/reports") || path.ends_with("/status-update") => "Reports",
            path if path.contains("/commands") || path.starts_with("/service/") => "Commands",
            path if path.starts_with("/vehicles") => "Vehicles",
            path if path.starts_with("/webhooks") => "Webhooks",
            path if path.starts_with("/keys") => "Keys",
            path if path.starts_with("/audit") => "Audit",
            _ => "Server",
        };
        used.insert(tag);
        for operation in item.as_object().unwrap().values() {
            assert_eq!(operation["tags"], json!([tag]), "{path}");
        }
    }
    let tags = document["tags"].as_array().unwrap().iter();
    let listed: BTreeSet<_> = tags.map(|tag| tag["name"].as_str().unwrap()).collect();
    assert_eq!(used, listed);
}

/// A generated client has one type for each enum, which may be absent or null, and none for a condition.
#[test]
fn enums_have_names_and_alternatives_are_null() {
    let document: Value = serde_json::from_str(&openapi()).unwrap();
    let mut enums = BTreeSet::new();
    check_schemas(&document, "", &mut enums);
    assert!(enums.contains("/components/schemas/DisconnectReason"));
    for place in enums {
        let name = place.strip_prefix("/components/schemas/");
        assert!(name.is_some_and(|name| !name.contains('/')), "{place}");
    }
}

/// Checks the alternatives in `value`, and adds the places of its enums.
fn check_schemas(value: &Value, place: &str, enums: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let place = format!("{place}/{key}");
                match key.as_str() {
                    // No schemas, or none that describe a value.
                    "example" | "examples" | "not" | "if" => {}
                    "enum" => drop(enums.insert(place.trim_end_matches("/enum").to_owned())),
                    "oneOf" | "anyOf" => {
                        let null = json!({ "type": "null" });
                        let mut alternatives = value.as_array().unwrap().clone();
                        alternatives.retain(|alternative| *alternative != null);
                        assert_eq!(alternatives.len(), 1, "{place}");
                        check_schemas(&alternatives[0], &place, enums);
                    }
                    _ => check_schemas(value, &place, enums),
                }
            }
        }
        Value::Array(array) => {
            for value in array {
                check_schemas(value, place, enums);
            }
        }
        _ => {}
    }
}

/// "Try it out" of `/docs` sends the examples of bodies as they are.
#[tokio::test]
async fn the_examples_of_bodies_are_valid_and_harmless() {
    let api = Api::new().await;
    api.report(47).await;
    let hook = json!({ "url": "https://fleet.example/" });
    let hook = api.post("/webhooks", hook).await.json();
    let hook_path = format!("/webhooks/{}", hook["id"].as_str().unwrap());
    let key = json!({ "name": "key", "scopes": ["read"] });
    let key = api.post("/keys", key).await.json();
    let document: Value = serde_json::from_str(&openapi()).unwrap();
    let mut sent = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let example = &operation["requestBody"]["content"]["application/json"]["example"];
            if example.is_null() {
                continue;
            }
            if let Some(message) = example.get("message") {
                assert_eq!(message, "HOW'S IT GOING?", "{path}");
            }
            let path = path.replace("/webhooks/{webhookId}", &hook_path);
            let path = path.replace("{deviceId}", TRUCK);
            let path = path.replace("{keyId}", key["id"].as_str().unwrap());
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let request = Request::builder().method(method).uri(&path);
            let request = request.header(header::CONTENT_TYPE, "application/json");
            let request = request.body(Body::from(example.to_string())).unwrap();
            let status = api.send(request).await.status;
            // The vehicle is offline.
            let is_refused = status == StatusCode::CONFLICT && path.starts_with("/service/");
            assert!(status.is_success() || is_refused, "{path}: {status}");
            sent += 1;
        }
    }
    assert_eq!(sent, 13);
    let commands = api.get(&format!("/vehicles/{TRUCK}/commands")).await.json();
    assert_eq!(commands["items"], json!([]), "nothing waits for a login");
    assert_eq!(api.get(&hook_path).await.json()["events"], hook["events"]);
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
