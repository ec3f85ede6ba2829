//! Commands without a connected vehicle.

use std::{collections::BTreeSet, time::Duration};

use axum::{
    body::Body,
    http::{Method, Request, header},
};
use http_body_util::{BodyExt, Empty};
use serde_json::{Value, json};

use super::{Api, ApiResponse, OPTIONS, TRUCK};
use crate::http::HttpOptions;

/// Operations whose body has no fields but the options, and may be absent.
const WITHOUT_FIELDS: [&str; 3] = ["turnOn", "turnOff", "disconnect"];

/// Operations whose body has required fields, with an example of these.
fn with_fields() -> [(&'static str, Value); 3] {
    [
        ("turnOnOrOff", json!({ "running": true })),
        ("frequency", json!({ "seconds": 60 })),
        ("command", json!({ "message": "HOW'S IT GOING?" })),
    ]
}

/// Every operation with options, with the required fields of its body.
fn with_options() -> impl Iterator<Item = (&'static str, Value)> {
    WITHOUT_FIELDS
        .map(|path| (path, json!({})))
        .into_iter()
        .chain(with_fields())
}

impl Api {
    /// Sends a command to an unknown vehicle: a valid request is a 404.
    async fn command_nobody(&self, path: &str, body: Value) -> ApiResponse {
        self.post(&format!("/service/nobody/{path}"), body).await
    }

    async fn turn_on(&self, request: axum::http::request::Builder) -> ApiResponse {
        let request = request.method(Method::POST).uri("/service/nobody/turnOn");
        self.send(request.body(Body::empty()).unwrap()).await
    }
}

#[track_caller]
fn assert_valid(answer: &ApiResponse) {
    assert_eq!(answer.problem(), (404, "unknown-vehicle".into()));
}

#[track_caller]
fn assert_invalid(answer: &ApiResponse, pointers: &[&str]) {
    assert_eq!(answer.problem(), (422, "invalid-body".into()));
    let pointers: BTreeSet<_> = pointers.iter().map(ToString::to_string).collect();
    assert_eq!(answer.places(), pointers);
}

#[tokio::test]
async fn an_offline_vehicle_is_a_409_but_fetch_info_shows_its_last_state() {
    let api = Api::new().await;
    api.report(80).await;
    for path in WITHOUT_FIELDS {
        let answer = api
            .call(Method::POST, &format!("/service/{TRUCK}/{path}"))
            .await;
        assert_eq!(answer.problem(), (409, "vehicle-offline".into()), "{path}");
    }
    let mut info = api
        .get(&format!("/service/{TRUCK}/fetch-info"))
        .await
        .json();
    let reported_at = info.as_object_mut().unwrap().remove("reportedAt").unwrap();
    assert!(reported_at.is_string());
    assert_eq!(
        info,
        json!({
            "deviceId": TRUCK, "status": "DISCONNECTED", "latitude": 43.62152, "longitude": -1.5,
            "battery": 80, "running": true, "lastHeartbeat": null,
        })
    );
    let nobody = api.get("/service/nobody/fetch-info").await;
    assert_valid(&nobody);
}

#[tokio::test]
async fn a_body_of_options_may_be_empty_or_absent() {
    let api = Api::new().await;
    for path in WITHOUT_FIELDS {
        let path = format!("/service/nobody/{path}");
        assert_valid(&api.call(Method::POST, &path).await);
        assert_valid(&api.post_text(&path, "").await);
        assert_valid(&api.post_text(&path, "{}").await);
        // Without a length, as in chunks.
        let unknown = Body::new(Empty::new().with_trailers(async { None }));
        let request = Request::post(&path).body(unknown).unwrap();
        assert_valid(&api.send(request).await);

        let untyped = Request::post(&path).body(Body::from("{}")).unwrap();
        let answer = api.send(untyped).await;
        assert_eq!(answer.problem(), (415, "unsupported-media-type".into()));
        let text = Request::post(&path).header(header::CONTENT_TYPE, "text/plain");
        let answer = api.send(text.body(Body::from("{}")).unwrap()).await;
        assert_eq!(answer.problem(), (415, "unsupported-media-type".into()));
        let answer = api.post_text(&path, " ").await;
        assert_eq!(answer.problem(), (400, "malformed-body".into()));
        let large = " ".repeat(OPTIONS.max_body + 1);
        let answer = api.post_text(&path, large).await;
        assert_eq!(answer.problem(), (413, "body-too-large".into()));
    }
    for (path, _) in with_fields() {
        let path = format!("/service/nobody/{path}");
        let answer = api.call(Method::POST, &path).await;
        assert_eq!(answer.problem(), (400, "malformed-body".into()));
    }
}

#[tokio::test]
async fn delivery_options_have_the_same_rules_everywhere() {
    let api = Api::new().await;
    for (path, least) in with_options() {
        let ask = async |options: Value| {
            let mut body = least.clone();
            let options = options.as_object().unwrap().clone();
            body.as_object_mut().unwrap().extend(options);
            api.command_nobody(path, body).await
        };
        for good in [
            json!({}),
            json!({ "timeoutSeconds": 1 }),
            json!({ "timeoutSeconds": 60.0, "queue": false }),
            json!({ "queue": true, "ttlSeconds": 1 }),
            json!({ "queue": true, "ttlSeconds": 86400, "timeoutSeconds": 60 }),
        ] {
            assert_valid(&ask(good).await);
        }
        for (bad, pointers) in [
            (json!({ "timeoutSeconds": 0 }), vec!["/timeoutSeconds"]),
            (json!({ "timeoutSeconds": 61 }), vec!["/timeoutSeconds"]),
            (json!({ "timeoutSeconds": 1.5 }), vec!["/timeoutSeconds"]),
            (json!({ "timeoutSeconds": null }), vec!["/timeoutSeconds"]),
            (json!({ "timeoutSeconds": "1" }), vec!["/timeoutSeconds"]),
            (json!({ "queue": null }), vec!["/queue"]),
            (json!({ "queue": true }), vec!["/ttlSeconds"]),
            (json!({ "ttlSeconds": 60 }), vec!["/ttlSeconds"]),
            (
                json!({ "ttlSeconds": 60, "queue": false }),
                vec!["/ttlSeconds"],
            ),
            (
                json!({ "ttlSeconds": 0, "queue": true }),
                vec!["/ttlSeconds"],
            ),
            (
                json!({ "ttlSeconds": 86401, "queue": true, "timeoutSeconds": -1 }),
                vec!["/ttlSeconds", "/timeoutSeconds"],
            ),
            (json!({ "ttl": 60 }), vec!["/ttl"]),
        ] {
            assert_invalid(&ask(bad).await, &pointers);
        }
    }
    for path in WITHOUT_FIELDS {
        assert_invalid(&api.command_nobody(path, json!([])).await, &[""]);
        assert_invalid(&api.command_nobody(path, json!(null)).await, &[""]);
    }
}

#[tokio::test]
async fn a_frequency_is_0_or_10_to_3600_whole_seconds() {
    let api = Api::new().await;
    for good in [json!(0), json!(10), json!(3600), json!(60.0)] {
        let body = json!({ "seconds": good });
        assert_valid(&api.command_nobody("frequency", body).await);
    }
    for bad in [
        json!(-1),
        json!(1),
        json!(9),
        json!(3601),
        json!(65_546),
        json!(1e300),
        json!(10.5),
        json!("60"),
        json!(null),
    ] {
        let body = json!({ "seconds": bad });
        assert_invalid(&api.command_nobody("frequency", body).await, &["/seconds"]);
    }
    assert_invalid(
        &api.command_nobody("frequency", json!({})).await,
        &["/seconds"],
    );
}

#[tokio::test]
async fn a_message_must_be_exactly_a_sentence_of_the_gateway() {
    let api = Api::new().await;
    for good in [
        "HOW'S IT GOING?",
        "KEEP ME POSTED EVERY 60 SECONDS.",
        "HEY YOU, RUN!",
        "HEY YOU, REST!",
        "GOTTA GO.",
    ] {
        let body = json!({ "message": good });
        assert_valid(&api.command_nobody("command", body).await);
    }
    for bad in [
        json!(""),
        json!("hey you, run!"),
        json!("HEY YOU, RUN! "),
        json!("HEY YOU, RUN!\n"),
        json!("KEEP ME POSTED EVERY 9 SECONDS."),
        json!("PONG."),
        json!(7),
        json!(null),
    ] {
        let body = json!({ "message": bad });
        assert_invalid(
            &api.command_nobody("command", body.clone()).await,
            &["/message"],
        );
        assert_invalid(&api.post("/service/broadcast", body).await, &["/message"]);
    }
    let missing = api.command_nobody("command", json!({})).await;
    assert_invalid(&missing, &["/message"]);
    let body = json!({ "message": "KEEP ME POSTED EVERY 9 SECONDS." });
    let answer = api.command_nobody("command", body).await;
    let problem: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(
        problem["errors"][0]["detail"],
        "the report interval must be 10 to 3600 seconds, or 0 to stop the reports"
    );
}

#[tokio::test]
async fn a_broadcast_accepts_a_timeout_and_no_other_option() {
    let api = Api::new().await;
    let message = json!({ "message": "HEY YOU, REST!", "timeoutSeconds": 1 });
    let answer = api.post("/service/broadcast", message).await;
    assert_eq!(
        answer.json(),
        json!({
            "addressed": 0, "done": 0, "refused": 0, "silent": 0, "disconnected": 0, "unsent": 0,
            "unreachableInstances": 0,
        })
    );
    for (field, value) in [
        ("timeoutSeconds", json!(61)),
        ("timeoutSeconds", json!(null)),
        ("queue", json!(false)),
        ("ttlSeconds", json!(1)),
    ] {
        let mut body = json!({ "message": "HEY YOU, REST!" });
        body[field] = value;
        let answer = api.post("/service/broadcast", body).await;
        assert_invalid(&answer, &[&format!("/{field}")]);
    }
}

#[tokio::test]
async fn an_idempotency_key_is_one_header_of_visible_ascii() {
    const KEY: &str = "Idempotency-Key";
    let api = Api::new().await;
    let longest = "~".repeat(128);
    for good in ["!", "9180af05-0219-4c88-8a95-3da86b130d43", &longest] {
        assert_valid(&api.turn_on(Request::builder().header(KEY, good)).await);
    }
    let too_long = "a".repeat(129);
    for bad in [&b""[..], b"a b", b"\xe4", b"a\t", too_long.as_bytes()] {
        let answer = api.turn_on(Request::builder().header(KEY, bad)).await;
        assert_eq!(answer.problem(), (400, "invalid-parameter".into()));
        assert_eq!(answer.places(), BTreeSet::from([KEY.to_owned()]));
    }
    let twice = Request::builder().header(KEY, "a").header(KEY, "a");
    let answer = api.turn_on(twice).await;
    assert_eq!(answer.problem(), (400, "invalid-parameter".into()));
}

#[tokio::test]
async fn invalid_parameters_of_commands_are_named() {
    let api = Api::new().await;
    for (path, name) in [
        (
            "/service/nobody/fetch-info?timeoutSeconds=0",
            "timeoutSeconds",
        ),
        (
            "/service/nobody/fetch-info?timeoutSeconds=61",
            "timeoutSeconds",
        ),
        (
            "/service/nobody/fetch-info?timeoutSeconds=+1",
            "timeoutSeconds",
        ),
        ("/service/nobody/fetch-info?timeout=1", "timeout"),
        ("/service/a%20b/fetch-info", "deviceId"),
        // The cursor of another history.
        (
            "/vehicles/nobody/commands?cursor=AAAAAAAAAAAAAAAAAAAAAA",
            "cursor",
        ),
        ("/vehicles/nobody/commands?from=yesterday", "from"),
        ("/vehicles/nobody/commands/1", "commandId"),
        (
            "/vehicles/nobody/commands/01a2065403ea7c3e9b1a5d0e8f2a4c61",
            "commandId",
        ),
        (
            "/vehicles/nobody/commands/%7B01a2065403ea7c3e9b1a5d0e8f2a4c61%7D",
            "commandId",
        ),
    ] {
        let answer = api.get(path).await;
        assert_eq!(
            answer.problem(),
            (400, "invalid-parameter".into()),
            "{path}"
        );
        assert_eq!(answer.places(), BTreeSet::from([name.to_owned()]), "{path}");
    }
}

#[tokio::test]
async fn a_vehicle_without_commands_has_an_empty_log() {
    let api = Api::new().await;
    api.report(80).await;
    let path = format!("/vehicles/{TRUCK}/commands");
    let page = api
        .get(&format!("{path}?cursor=Y21kAAAAAAAAAAAAAAAAAAAAAA&limit=1"))
        .await;
    assert_eq!(page.json(), json!({ "items": [], "nextCursor": null }));
    assert_valid(&api.get("/vehicles/nobody/commands").await);
    let unknown = format!("{path}/01A20654-03EA-7C3E-9B1A-5D0E8F2A4C61");
    let answer = api.get(&unknown).await;
    assert_eq!(answer.problem(), (404, "unknown-command".into()));
}

#[tokio::test]
async fn only_requests_that_wait_for_a_vehicle_get_extra_time() {
    let options = HttpOptions {
        request_timeout: Duration::ZERO,
        ..OPTIONS
    };
    let api = Api::with(options).await;
    let answer = api.get("/vehicles/nobody/commands").await;
    assert_eq!(answer.problem(), (503, "request-timeout".into()));
    assert_valid(&api.call(Method::POST, "/service/nobody/turnOn").await);
    assert_valid(&api.get("/service/nobody/fetch-info").await);

    let api = Api::with(HttpOptions {
        request_timeout: Duration::from_millis(100),
        ..OPTIONS
    })
    .await;
    let never = Body::new(Empty::new().with_trailers(std::future::pending()));
    let answer = api.post_text("/service/nobody/turnOn", never).await;
    assert_eq!(answer.problem(), (408, "body-timeout".into()));
}
