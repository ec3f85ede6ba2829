//! Invalid requests and failures, as problems.

use std::{collections::BTreeSet, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Method, Request, StatusCode, header},
    middleware,
};
use http_body_util::{BodyExt, Empty};
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_http::catch_panic::CatchPanicLayer;

use super::{Api, OPTIONS, TRUCK, update};
use crate::http::{
    HttpOptions,
    router::{limit_time, respond_to_panic},
};

#[tokio::test]
async fn invalid_parameters_are_named() {
    let api = Api::new().await;
    api.report(1).await;
    let reports = format!("/vehicles/{TRUCK}/reports");
    for (path, names) in [
        ("/vehicles?limit=0", vec!["limit"]),
        ("/vehicles?limit=1001", vec!["limit"]),
        ("/vehicles?limit=+1", vec!["limit"]),
        ("/vehicles?limit=&online=yes", vec!["limit", "online"]),
        ("/vehicles?limit=1&limit=1", vec!["limit"]),
        ("/vehicles?cursor=not-a-cursor", vec!["cursor"]),
        ("/vehicles?online=%ff", vec!["online"]),
        ("/vehicles?onlin=true", vec!["onlin"]),
        ("/vehicles?%zz", vec!["%zz"]),
        ("/vehicles/a%20b", vec!["deviceId"]),
        ("/vehicles/a%2Fb/status", vec!["deviceId"]),
        ("/vehicles/%ff", vec!["deviceId"]),
        ("/vehicles/%zz/reports?limit=x", vec!["deviceId"]),
        ("/vehicles/truck/debug-blobs/0", vec!["blobId"]),
        ("/vehicles/truck/debug-blobs/+1", vec!["blobId"]),
        (
            "/vehicles/truck/debug-blobs/9223372036854775808",
            vec!["blobId"],
        ),
        (
            &format!("{reports}?from=yesterday&to=2026-01-01T00:00:00+01:00"),
            vec!["from", "to"],
        ),
        (&format!("{reports}?cursor=AAAA"), vec!["cursor"]),
    ] {
        let answer = api.get(path).await;
        assert_eq!(
            answer.problem(),
            (400, "invalid-parameter".into()),
            "{path}"
        );
        let names: BTreeSet<_> = names.into_iter().map(str::to_owned).collect();
        assert_eq!(answer.places(), names, "{path}");
    }
}

#[tokio::test]
async fn thousands_of_errors_get_a_short_response() {
    let api = Api::new().await;
    let answer = api.get(&format!("/vehicles?{}", "a&".repeat(9000))).await;
    assert_eq!(answer.problem(), (400, "invalid-parameter".into()));
    assert!(answer.body.len() < 4000);
}

#[tokio::test]
async fn a_body_that_is_not_json_is_malformed() {
    let api = Api::new().await;
    for bad in [
        "",
        "{",
        "{}}",
        "{\"deviceId\":\"a\"} x",
        "\u{feff}{}",
        "nope",
        "{\"deviceId\":\"\\ud800\"}",
    ] {
        let answer = api.post_text("/vehicles", bad).await;
        assert_eq!(answer.problem(), (400, "malformed-body".into()), "{bad}");
    }
    let latin = api
        .post_text("/vehicles", &b"{\"deviceId\":\"\xe4\"}"[..])
        .await;
    assert_eq!(latin.problem(), (400, "malformed-body".into()));
    let deep = api.post_text("/vehicles", "[".repeat(900)).await;
    assert_eq!(deep.problem(), (400, "malformed-body".into()));
    let missing = api.call(Method::POST, "/vehicles").await;
    assert_eq!(missing.problem(), (400, "malformed-body".into()));
}

#[tokio::test]
async fn a_whole_number_may_have_a_zero_fraction() {
    let api = Api::new().await;
    let mut body = update(1);
    body["battery"] = json!(80.0);
    let answer = api.post("/service/status-update", body).await;
    assert_eq!(answer.json()["battery"], 80);
}

#[tokio::test]
async fn every_invalid_field_is_listed_with_its_pointer() {
    let api = Api::new().await;
    let with = |key: &str, value: Value| {
        let mut body = update(1);
        body[key] = value;
        body
    };
    for (body, places) in [
        (
            json!({}),
            vec![
                "/deviceId",
                "/latitude",
                "/longitude",
                "/battery",
                "/running",
            ],
        ),
        (json!([]), vec![""]),
        (json!([TRUCK, 43.62152, -1.5, 80, true]), vec![""]),
        (json!(null), vec![""]),
        (with("x/y~", json!(1)), vec!["/x~1y~0"]),
        (with("latitude", json!("north")), vec!["/latitude"]),
        (with("latitude", json!(90.000_001)), vec!["/latitude"]),
        (with("longitude", json!(-181)), vec!["/longitude"]),
        (with("battery", json!(101)), vec!["/battery"]),
        (with("battery", json!(-1)), vec!["/battery"]),
        (with("battery", json!(1.5)), vec!["/battery"]),
        (with("battery", json!(1e300)), vec!["/battery"]),
        (with("running", json!(null)), vec!["/running"]),
        (with("deviceId", json!("..")), vec!["/deviceId"]),
        (with("deviceId", json!(7)), vec!["/deviceId"]),
        (
            json!({ "deviceId": "a b", "latitude": 91, "longitude": 181, "battery": 101, "running": false }),
            vec!["/deviceId", "/latitude", "/longitude", "/battery"],
        ),
    ] {
        let answer = api.post("/service/status-update", body.clone()).await;
        assert_eq!(answer.problem(), (422, "invalid-body".into()), "{body}");
        let places: BTreeSet<_> = places.into_iter().map(str::to_owned).collect();
        assert_eq!(answer.places(), places, "{body}");
    }
    let twice = api
        .post_text("/vehicles", r#"{"deviceId":"a","deviceId":"b"}"#)
        .await;
    assert_eq!(twice.problem(), (422, "invalid-body".into()));
    let more = api
        .post("/vehicles", json!({ "deviceId": "a", "online": true }))
        .await;
    assert_eq!(more.places(), BTreeSet::from(["/online".to_owned()]));
    assert_eq!(api.get("/vehicles").await.json()["items"], json!([]));
}

#[tokio::test]
async fn the_content_type_and_the_size_of_a_body_are_checked() {
    let api = Api::new().await;
    for content_type in ["text/plain", "application/jsonp", "multipart/form-data"] {
        let request = Request::post("/vehicles").header(header::CONTENT_TYPE, content_type);
        let answer = api.send(request.body(Body::from("{}")).unwrap()).await;
        assert_eq!(answer.problem(), (415, "unsupported-media-type".into()));
    }
    let request = Request::post("/vehicles").body(Body::from("{}")).unwrap();
    assert_eq!(
        api.send(request).await.problem(),
        (415, "unsupported-media-type".into())
    );
    let twice = Request::post("/vehicles")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONTENT_TYPE, "text/plain");
    let answer = api.send(twice.body(Body::from("{}")).unwrap()).await;
    assert_eq!(answer.problem(), (415, "unsupported-media-type".into()));
    let request = Request::post("/vehicles")
        .header(header::CONTENT_TYPE, "Application/JSON; charset=utf-8")
        .body(Body::from(r#"{"deviceId":"a"}"#))
        .unwrap();
    assert_eq!(api.send(request).await.status, StatusCode::CREATED);

    let large = " ".repeat(OPTIONS.max_body + 1);
    let announced = api.post_text("/vehicles", large).await;
    assert_eq!(announced.problem(), (413, "body-too-large".into()));
}

#[tokio::test]
async fn a_slow_body_is_a_408_and_a_slow_gateway_is_a_503() {
    let options = HttpOptions {
        request_timeout: Duration::from_millis(100),
        ..OPTIONS
    };
    let api = Api::with(options).await;
    let never = Body::new(Empty::new().with_trailers(std::future::pending()));
    let answer = api.post_text("/vehicles", never).await;
    assert_eq!(answer.problem(), (408, "body-timeout".into()));
    assert_eq!(answer.header("connection"), "close");

    let hangs = axum::routing::get(std::future::pending::<()>);
    let limit = middleware::from_fn_with_state(options.request_timeout, limit_time);
    let app = Router::<()>::new().route("/", hangs).layer(limit);
    let request = Request::get("/").body(Body::empty()).unwrap();
    let response = app.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key(header::RETRY_AFTER));
}

#[tokio::test]
async fn routing_errors_are_problems_with_the_allowed_methods() {
    let api = Api::new().await;
    for path in ["/nope", "/vehicles/", "/vehicles/a/nope", "//", "/service"] {
        assert_eq!(
            api.get(path).await.problem(),
            (404, "not-found".into()),
            "{path}"
        );
    }
    for (method, path, allow) in [
        (Method::PUT, "/vehicles", "GET,HEAD,POST"),
        (Method::POST, "/vehicles/a", "GET,HEAD,DELETE"),
        (Method::OPTIONS, "/health", "GET,HEAD"),
        (Method::GET, "/service/status-update", "POST"),
    ] {
        let answer = api.call(method, path).await;
        assert_eq!(
            answer.problem(),
            (405, "method-not-allowed".into()),
            "{path}"
        );
        assert_eq!(answer.header("allow"), allow, "{path}");
    }
    for path in [
        "/",
        "/health",
        "/ready",
        "/docs",
        "/openapi.json",
        "/vehicles",
    ] {
        let head = api.call(Method::HEAD, path).await;
        assert_eq!(
            (head.status, head.body.len()),
            (StatusCode::OK, 0),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_panic_is_a_problem_without_details() {
    async fn fail() {
        assert_eq!("secret", "", "on purpose");
    }
    let app = Router::<()>::new()
        .route("/", axum::routing::get(fail))
        .layer(CatchPanicLayer::custom(respond_to_panic));
    let request = Request::get("/").body(Body::empty()).unwrap();
    let response = app.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "application/problem+json"
    );
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(!String::from_utf8_lossy(&body).contains("secret"));
}

#[tokio::test]
async fn a_closed_store_is_a_503_and_the_process_stays_alive() {
    let api = Api::new().await;
    assert_eq!(api.get("/ready").await.json()["status"], "ready");
    assert_eq!(api.get("/ready/balancer").await.status, StatusCode::OK);
    api.parts.instance.drain();
    let balancer = api.get("/ready/balancer").await;
    assert_eq!(balancer.problem(), (404, "draining".to_owned()));
    let draining = api.get("/ready").await;
    assert_eq!(draining.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        draining.json(),
        json!({
            "status": "draining",
            "reason": "the server is shutting down",
            "checks": { "store": "up", "redis": null, "redisReason": null },
        })
    );
    api.parts.store.close().await.unwrap();
    assert_eq!(api.get("/ready").await.json()["checks"]["store"], "down");
    assert_eq!(api.get("/health").await.json(), json!({ "status": "up" }));
    let answer = api.post("/vehicles", json!({ "deviceId": "a" })).await;
    assert_eq!(answer.problem(), (503, "store-unavailable".into()));
    assert!(!answer.header("retry-after").is_empty());
}
