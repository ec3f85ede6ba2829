//! Webhooks without a receiver.

use std::collections::BTreeSet;

use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use serde_json::{Value, json};

use super::{Api, ApiResponse};

/// Does not resolve (RFC 2606).
const URL: &str = "https://fleet.example/hooks?key=1";
const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
const NOBODY: &str = "019ab0c4-11de-7a40-8f6e-2b7d94c105ee";

impl Api {
    async fn patch(&self, path: &str, body: Value) -> ApiResponse {
        let request = Request::patch(path).header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap())
            .await
    }

    /// Creates a webhook; returns its path and the response's body.
    async fn create_webhook(&self, body: Value) -> (String, Value) {
        let made = self.post("/webhooks", body).await;
        assert_eq!(made.status, StatusCode::CREATED);
        (made.header("location").to_owned(), made.json())
    }
}

/// The webhook as it is returned later.
fn without_secret(made: &Value) -> Value {
    let mut shown = made.clone();
    shown.as_object_mut().unwrap().remove("secret").unwrap();
    shown
}

#[tokio::test]
async fn a_new_webhook_shows_its_secret_once_and_has_defaults() {
    let api = Api::new().await;
    let (path, made) = api.create_webhook(json!({ "url": URL })).await;
    let (_, other) = api
        .create_webhook(json!({
            "url": URL, "events": ["battery", "online", "battery"], "deviceIds": ["b", "a", "b"],
            "secret": SECRET, "ordered": false, "coalesce": true,
        }))
        .await;
    assert!(made["secret"].as_str().unwrap().starts_with("whsec_"));
    assert_eq!(other["secret"], SECRET);
    assert_eq!(
        [&other["events"], &other["deviceIds"], &other["ordered"]],
        [
            &json!(["online", "battery"]),
            &json!(["a", "b"]),
            &json!(false)
        ]
    );
    let created_at = made["createdAt"].clone();
    assert_eq!(
        without_secret(&made),
        json!({
            "id": path.strip_prefix("/webhooks/").unwrap(),
            "url": URL,
            "events": ["online", "offline", "position", "battery", "running", "debug-blob", "command"],
            "deviceIds": null, "ordered": true, "coalesce": false,
            "enabled": true, "disabledReason": null, "disabledAt": null, "configured": false,
            "pending": 0, "oldestPendingAt": null,
            "failures": 0, "failingSince": null, "pausedUntil": null, "lastError": null,
            "expired": 0, "behindSince": null,
            "previousSecretUntil": null, "createdAt": created_at, "updatedAt": created_at,
        })
    );
    assert_eq!(api.get(&path).await.json(), without_secret(&made));
    assert_eq!(
        api.get("/webhooks").await.json(),
        json!({ "items": [without_secret(&made), without_secret(&other)], "nextCursor": null })
    );
}

#[tokio::test]
async fn an_invalid_webhook_is_rejected_with_the_invalid_field() {
    let api = Api::new().await;
    let with = |field: &str, value: Value| {
        let mut body = json!({ "url": URL });
        body[field] = value;
        body
    };
    for (body, place) in [
        (json!({}), "/url"),
        (with("url", json!("fleet.example")), "/url"),
        (with("url", json!("http://fleet.example/")), "/url"),
        (with("url", json!("https://127.0.0.1/")), "/url"),
        (with("url", json!("https://0x7f.1/")), "/url"),
        (with("url", json!("https://[::ffff:10.0.0.1]/")), "/url"),
        (with("url", json!("https://localhost/")), "/url"),
        (with("url", json!("https://a:b@fleet.example/")), "/url"),
        (with("events", json!([])), "/events"),
        (with("events", json!(null)), "/events"),
        (with("events", json!(["online", "on"])), "/events/1"),
        (with("deviceIds", json!([])), "/deviceIds"),
        (with("deviceIds", json!(["a", "a b"])), "/deviceIds/1"),
        (with("secret", json!("whsec_short")), "/secret"),
        (with("secret", json!(null)), "/secret"),
        (with("ordered", json!(1)), "/ordered"),
        (with("enabled", json!(true)), "/enabled"),
    ] {
        let answer = api.post("/webhooks", body.clone()).await;
        assert_eq!(answer.problem(), (422, "invalid-body".into()), "{body}");
        assert_eq!(
            answer.places(),
            BTreeSet::from([place.to_owned()]),
            "{body}"
        );
    }
    assert_eq!(api.get("/webhooks").await.json()["items"], json!([]));
}

#[tokio::test]
async fn an_update_changes_only_the_fields_that_it_contains() {
    let api = Api::new().await;
    let (path, made) = api
        .create_webhook(json!({ "url": URL, "deviceIds": ["a"] }))
        .await;
    let made = without_secret(&made);
    assert_eq!(api.patch(&path, json!({})).await.json(), made);

    let disabled = api
        .patch(&path, json!({ "enabled": false, "events": ["offline"] }))
        .await
        .json();
    assert!(disabled["disabledAt"].is_string());
    let mut expected = made.clone();
    for (key, value) in [
        ("enabled", json!(false)),
        ("disabledReason", json!("operator")),
        ("disabledAt", disabled["disabledAt"].clone()),
        ("events", json!(["offline"])),
        ("updatedAt", disabled["updatedAt"].clone()),
    ] {
        expected[key] = value;
    }
    assert_eq!(disabled, expected);
    let test = api.call(Method::POST, &format!("{path}/test")).await;
    assert_eq!(test.problem(), (409, "webhook-disabled".into()));

    let body = json!({ "enabled": true, "deviceIds": null, "coalesce": true, "ordered": false });
    let enabled = api.patch(&path, body).await.json();
    assert_eq!(
        [
            &enabled["enabled"],
            &enabled["disabledReason"],
            &enabled["deviceIds"]
        ],
        [&json!(true), &Value::Null, &Value::Null]
    );
    for (body, place) in [
        (json!({ "url": "https://10.0.0.1/" }), "/url"),
        (json!({ "url": null }), "/url"),
        (json!({ "events": [] }), "/events"),
        (json!({ "secret": SECRET }), "/secret"),
    ] {
        let answer = api.patch(&path, body.clone()).await;
        assert_eq!(answer.problem(), (422, "invalid-body".into()), "{body}");
        assert_eq!(
            answer.places(),
            BTreeSet::from([place.to_owned()]),
            "{body}"
        );
    }
    assert_eq!(api.get(&path).await.json(), enabled);
}

#[tokio::test]
async fn a_rotated_secret_is_shown_once_and_overlaps_for_a_day() {
    let api = Api::new().await;
    let (path, made) = api.create_webhook(json!({ "url": URL })).await;
    let rotate = format!("{path}/rotate-secret");
    let rotated = api.call(Method::POST, &rotate).await.json();
    assert_ne!(rotated["secret"], made["secret"]);
    let shown = api.get(&path).await.json();
    let until = &rotated["previousSecretUntil"];
    assert_eq!(shown["previousSecretUntil"], *until);
    let at = |time: &Value| -> jiff::Timestamp { time.as_str().unwrap().parse().unwrap() };
    let lasts = at(until).duration_since(at(&shown["updatedAt"]));
    assert_eq!(lasts.as_secs(), 86_400);
}

#[tokio::test]
async fn a_test_message_is_pending_and_shown_with_its_body() {
    let api = Api::new().await;
    let (path, _) = api.create_webhook(json!({ "url": URL })).await;
    let sent = api.call(Method::POST, &format!("{path}/test")).await;
    assert_eq!(sent.status, StatusCode::ACCEPTED);
    let message = sent.json();
    assert_eq!(
        [
            &message["type"],
            &message["status"],
            &message["deviceId"],
            &message["sequence"]
        ],
        [
            &json!("webhook.test"),
            &json!("pending"),
            &Value::Null,
            &json!(1)
        ]
    );
    assert_eq!(message["nextAttemptAt"], message["createdAt"]);
    let list = api.get(&format!("{path}/messages")).await.json();
    assert_eq!(list, json!({ "items": [message], "nextCursor": null }));
    let place = sent.header("location").to_owned();
    let mut whole = api.get(&place).await.json();
    let body = whole.as_object_mut().unwrap().remove("body").unwrap();
    assert_eq!(whole, message);
    assert_eq!(body["type"], "webhook.test");
    let retried = api.call(Method::POST, &format!("{place}/retry")).await;
    assert_eq!(retried.status, StatusCode::ACCEPTED);
    assert_eq!(retried.json()["id"], message["id"]);
    let shown = api.get(&path).await.json();
    assert_eq!(
        [&shown["pending"], &shown["oldestPendingAt"]],
        [&json!(1), &message["createdAt"]]
    );
}

#[tokio::test]
async fn messages_are_listed_in_pages_newest_first() {
    let api = Api::new().await;
    let (path, _) = api.create_webhook(json!({ "url": URL })).await;
    for _ in 0..5 {
        api.call(Method::POST, &format!("{path}/test")).await;
    }
    let messages = format!("{path}/messages?status=pending&limit=2");
    let listed = api.walk(&messages, async || {}).await;
    let sequences: Vec<_> = listed.iter().map(|it| it["sequence"].as_i64()).collect();
    assert_eq!(sequences, [5, 4, 3, 2, 1].map(Some));
    for query in [
        "status=sent",
        "cursor=Y21kAAAAAAAAAAAAAAAAAAAAAA",
        "since=now",
    ] {
        let answer = api.get(&format!("{path}/messages?{query}")).await;
        assert_eq!(
            answer.problem(),
            (400, "invalid-parameter".into()),
            "{query}"
        );
    }
    let retry = format!("{path}/retry-failed?since=2026-11-23T00:00:00Z");
    let nothing = api.call(Method::POST, &retry);
    assert_eq!(nothing.await.json(), json!({ "retried": 0 }));
}

#[tokio::test]
async fn a_missing_or_deleted_webhook_is_unknown() {
    let api = Api::new().await;
    let (path, _) = api.create_webhook(json!({ "url": URL })).await;
    let deleted = api.call(Method::DELETE, &path).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    assert_eq!(api.get("/webhooks").await.json()["items"], json!([]));
    for path in [path, format!("/webhooks/{NOBODY}")] {
        for (method, below) in [
            (Method::GET, ""),
            (Method::DELETE, ""),
            (Method::POST, "/rotate-secret"),
            (Method::POST, "/test"),
            (Method::GET, "/messages"),
            (Method::POST, "/retry-failed"),
        ] {
            let answer = api.call(method, &format!("{path}{below}")).await;
            assert_eq!(answer.problem(), (404, "unknown-webhook".into()), "{below}");
        }
        let answer = api.patch(&path, json!({ "enabled": true })).await;
        assert_eq!(answer.problem(), (404, "unknown-webhook".into()));
    }
    let (path, _) = api.create_webhook(json!({ "url": URL })).await;
    let message = format!("{path}/messages/{NOBODY}");
    let answer = api.get(&message).await;
    assert_eq!(answer.problem(), (404, "unknown-message".into()));
    let answer = api.call(Method::POST, &format!("{message}/retry")).await;
    assert_eq!(answer.problem(), (404, "unknown-message".into()));
    for path in ["/webhooks/7", "/webhooks/7/messages"] {
        let answer = api.get(path).await;
        assert_eq!(answer.problem(), (400, "invalid-parameter".into()));
        assert_eq!(answer.places(), BTreeSet::from(["webhookId".to_owned()]));
    }
}

#[tokio::test]
async fn there_are_at_most_100_webhooks() {
    let api = Api::new().await;
    for _ in 0..100 {
        // No name to ask for, and nothing is sent here.
        api.create_webhook(json!({ "url": "https://1.1.1.1/" }))
            .await;
    }
    let answer = api.post("/webhooks", json!({ "url": URL })).await;
    assert_eq!(answer.problem(), (409, "too-many-webhooks".into()));
}
