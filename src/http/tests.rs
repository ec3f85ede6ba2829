//! The API over the real store, request by request; `server_tests` has the sockets.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Method, Request, Response, StatusCode, header},
};
use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{AppState, HttpOptions, openapi, router};
use crate::{
    domain::{DeviceId, Timestamp},
    registry::Mailbox,
    service::{Instance, Service},
    store::{Store, StoreOptions},
};

pub(super) const OPTIONS: HttpOptions = HttpOptions {
    header_timeout: Duration::from_millis(300),
    max_connections: 2,
    max_body: 1000,
    request_timeout: Duration::from_secs(5),
};

const TRUCK: &str = "9180af05-0219-4c88-8a95-3da86b130d43";

/// The API over an empty store.
pub(super) struct Api {
    pub(super) router: Router,
    service: Arc<Service>,
    draining: CancellationToken,
    _folder: tempfile::TempDir,
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) response: Response<()>,
    pub(super) body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The problem's name, after a look at the rest of it.
    fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem["status"], self.status.as_u16());
        assert!(!problem["title"].as_str().unwrap().is_empty());
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        let name = problem["type"].as_str().unwrap();
        let name = name.strip_prefix("urn:vehicle-gateway:problem:").unwrap();
        (self.status.as_u16(), name.to_owned())
    }

    /// What the problem's `errors` point at.
    fn places(&self) -> BTreeSet<String> {
        let problem: Value = serde_json::from_slice(&self.body).unwrap();
        let errors = problem["errors"].as_array().unwrap();
        let place = |error: &Value| {
            let place = error.get("pointer").or(error.get("parameter")).unwrap();
            place.as_str().unwrap().to_owned()
        };
        errors.iter().map(place).collect()
    }

    fn header(&self, name: &str) -> &str {
        self.response
            .headers()
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

impl Api {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let id = uuid::Uuid::now_v7();
        let store = Store::open(StoreOptions {
            url: format!("sqlite://{}/test.db", folder.path().display()),
            readers: 2,
            instance_id: id.to_string(),
            queue_bytes: 1 << 20,
            commit_timeout: Duration::from_secs(5),
        });
        let instance = Instance {
            id,
            name: "<b>test".to_owned(),
            started_at: Timestamp::now(),
        };
        let service = Arc::new(Service::new(
            store.await.unwrap(),
            instance,
            Duration::from_secs(5),
        ));
        let draining = CancellationToken::new();
        let state = AppState {
            service: Arc::clone(&service),
            draining: draining.clone(),
        };
        Self {
            router: router(state, OPTIONS),
            service,
            draining,
            _folder: folder,
        }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Answer {
            status: parts.status,
            response: Response::from_parts(parts, ()),
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    async fn call(&self, method: Method, path: &str) -> Answer {
        let request = Request::builder().method(method).uri(path);
        self.send(request.body(Body::empty()).unwrap()).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path).await
    }

    async fn post_text(&self, path: &str, body: impl Into<Body>) -> Answer {
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(body.into()).unwrap()).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.post_text(path, body.to_string()).await
    }

    /// All items of a list, page by page, with `between` done after each page.
    async fn walk(&self, path: &str, between: impl AsyncFn()) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.get(&format!("{path}{cursor}")).await.json();
            items.extend(page["items"].as_array().unwrap().clone());
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
            between().await;
        }
    }

    async fn report(&self, battery: u8) {
        let answer = self.post("/service/status-update", update(battery)).await;
        assert_eq!(answer.status, StatusCode::OK);
    }

    async fn store_blob(&self, content: &'static [u8]) {
        let device_id = DeviceId::parse(TRUCK).unwrap();
        let remote = "192.0.2.1:5000".parse().unwrap();
        let login = self.service.begin_login(device_id.clone(), remote).await;
        let mailbox = Arc::new(Mailbox::default());
        let session = self.service.finish_login(device_id, login, mailbox);
        let blob = Bytes::from_static(content);
        self.service
            .debug_blob(&session.unwrap(), blob)
            .await
            .unwrap();
    }
}

fn update(battery: u8) -> Value {
    json!({ "deviceId": TRUCK, "latitude": 43.62152, "longitude": -1.5, "battery": battery, "running": true })
}

#[tokio::test]
async fn a_vehicle_is_registered_once_and_every_key_is_there_from_the_start() {
    let api = Api::new().await;
    let upper = json!({ "deviceId": TRUCK.to_uppercase() });
    let created = api.post("/vehicles", upper.clone()).await;
    assert_eq!(created.status, StatusCode::CREATED);
    assert_eq!(created.header("location"), format!("/vehicles/{TRUCK}"));
    let again = api.post("/vehicles", upper).await;
    assert_eq!(again.status, StatusCode::OK);
    assert_eq!(again.json(), created.json());

    let mut vehicle = created.json();
    let keys = vehicle.as_object_mut().unwrap();
    for key in ["createdAt", "updatedAt"] {
        let time = keys.remove(key).unwrap();
        assert!(time.as_str().unwrap().ends_with('Z'), "{time}");
    }
    assert_eq!(keys.remove("deviceId").unwrap(), TRUCK);
    assert_eq!(keys.remove("online").unwrap(), false);
    assert_eq!(
        keys.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        BTreeSet::from([
            "latitude",
            "longitude",
            "battery",
            "running",
            "reportedAt",
            "lastHeartbeat",
            "updateFrequency",
            "acknowledgedUpdateFrequency",
            "connectedAt",
            "disconnectedAt",
            "disconnectReason",
            "remoteAddress",
            "instanceId",
        ])
    );
    assert!(keys.values().all(Value::is_null));

    let path = format!("/vehicles/{}", TRUCK.to_uppercase());
    assert_eq!(api.get(&path).await.json()["deviceId"], TRUCK);
}

#[tokio::test]
async fn a_deleted_vehicle_is_gone_with_its_history() {
    let api = Api::new().await;
    api.report(80).await;
    let path = format!("/vehicles/{TRUCK}");
    let deleted = api.call(Method::DELETE, &path).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    assert!(deleted.body.is_empty());
    for gone in ["", "/status", "/reports", "/debug-blobs"] {
        let answer = api.get(&format!("{path}{gone}")).await;
        assert_eq!(answer.problem(), (404, "unknown-vehicle".into()), "{gone}");
    }
    let again = api.call(Method::DELETE, &path).await;
    assert_eq!(again.problem(), (404, "unknown-vehicle".into()));
    let blob = api.get(&format!("{path}/debug-blobs/1")).await;
    assert_eq!(blob.problem(), (404, "unknown-debug-blob".into()));
}

#[tokio::test]
async fn a_report_over_http_makes_the_vehicle_and_shows_in_status_and_history() {
    let api = Api::new().await;
    let answer = api.post("/service/status-update", update(80)).await;
    let vehicle = answer.json();
    assert_eq!(vehicle["latitude"], 43.62152);
    assert_eq!(vehicle["online"], false);
    let status = api.get(&format!("/vehicles/{TRUCK}/status")).await.json();
    assert_eq!(
        status,
        json!({
            "deviceId": TRUCK, "online": false, "latitude": 43.62152, "longitude": -1.5, "battery": 80,
            "running": true, "reportedAt": vehicle["reportedAt"], "lastHeartbeat": null,
        })
    );
    let reports = api.get(&format!("/vehicles/{TRUCK}/reports")).await.json();
    assert_eq!(reports["nextCursor"], Value::Null);
    assert_eq!(reports["items"][0]["receivedAt"], vehicle["reportedAt"]);
    assert_eq!(reports["items"][0]["battery"], 80);
}

#[tokio::test]
async fn pages_of_a_history_neither_repeat_nor_skip_while_reports_come() {
    let api = Api::new().await;
    for battery in 1..=7 {
        api.report(battery).await;
    }
    let path = format!("/vehicles/{TRUCK}/reports?limit=2");
    let items = api.walk(&path, async || api.report(99).await).await;
    let batteries: Vec<_> = items
        .iter()
        .map(|item| item["battery"].as_u64().unwrap())
        .collect();
    assert_eq!(batteries, [7, 6, 5, 4, 3, 2, 1]);
}

#[tokio::test]
async fn from_is_inclusive_and_to_is_exclusive() {
    let api = Api::new().await;
    api.report(1).await;
    let path = format!("/vehicles/{TRUCK}/reports");
    let at = api.get(&path).await.json()["items"][0]["receivedAt"].clone();
    let at = at.as_str().unwrap();
    for (query, found) in [
        (format!("from={at}"), 1),
        (format!("to={at}"), 0),
        (format!("from={}", at.replace('Z', "001Z")), 0),
        (format!("to={}", at.replace('Z', "001Z")), 1),
        (format!("from={at}&to={at}"), 0),
    ] {
        let page = api.get(&format!("{path}?{query}")).await.json();
        assert_eq!(page["items"].as_array().unwrap().len(), found, "{query}");
    }
}

#[tokio::test]
async fn pages_of_vehicles_are_stable_while_vehicles_come() {
    let api = Api::new().await;
    for id in ["b", "d", "f", "h", "k"] {
        api.post("/vehicles", json!({ "deviceId": id })).await;
    }
    let insert = async || {
        api.post("/vehicles", json!({ "deviceId": "a" })).await;
    };
    let items = api.walk("/vehicles?limit=2&online=false", insert).await;
    let ids: Vec<_> = items
        .iter()
        .map(|item| item["deviceId"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["b", "d", "f", "h", "k"]);
    let online = api.get("/vehicles?online=true").await.json();
    assert_eq!(online, json!({ "items": [], "nextCursor": null }));
    let full = api.get("/vehicles?limit=6").await.json();
    assert_eq!(full["nextCursor"], Value::Null);
}

#[tokio::test]
async fn a_debug_blob_is_listed_and_downloaded_as_it_came() {
    let api = Api::new().await;
    api.store_blob(b"\x00\xff<html>").await;
    let path = format!("/vehicles/{TRUCK}/debug-blobs");
    let list = api.get(&path).await.json();
    let blob = &list["items"][0];
    assert_eq!(blob["size"], 8);
    assert_eq!(blob["deviceId"], TRUCK);
    let path = format!("{path}/{}", blob["blobId"]);
    let bytes = api.get(&path).await;
    assert_eq!(&*bytes.body, b"\x00\xff<html>");
    assert_eq!(bytes.header("content-type"), "application/octet-stream");
    assert_eq!(bytes.header("x-content-type-options"), "nosniff");
    assert!(
        bytes
            .header("content-disposition")
            .starts_with("attachment; filename=")
    );
    let elsewhere = api.get(&path.replace(TRUCK, "other")).await;
    assert_eq!(elsewhere.problem(), (404, "unknown-debug-blob".into()));
    let vehicle = api.get("/vehicles?online=true").await.json()["items"][0].clone();
    assert_eq!(vehicle["remoteAddress"], "192.0.2.1:5000");
}

#[tokio::test]
async fn an_invalid_parameter_is_named() {
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
async fn a_body_that_is_no_json_is_malformed() {
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
async fn every_field_of_a_body_that_is_wrong_is_pointed_at() {
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
        (json!(null), vec![""]),
        (with("x/y~", json!(1)), vec!["/x~1y~0"]),
        (with("latitude", json!("north")), vec!["/latitude"]),
        (with("latitude", json!(90.000_001)), vec!["/latitude"]),
        (with("longitude", json!(-181)), vec!["/longitude"]),
        (with("battery", json!(101)), vec!["/battery"]),
        (with("battery", json!(-1)), vec!["/battery"]),
        (with("battery", json!(1.5)), vec!["/battery"]),
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
async fn a_body_must_be_json_by_its_type_and_not_too_large() {
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
    let request = Request::post("/vehicles")
        .header(header::CONTENT_TYPE, "Application/JSON; charset=utf-8")
        .body(Body::from(r#"{"deviceId":"a"}"#))
        .unwrap();
    assert_eq!(api.send(request).await.status, StatusCode::CREATED);

    let large = " ".repeat(OPTIONS.max_body + 1);
    let announced = api.post_text("/vehicles", large.clone()).await;
    assert_eq!(announced.problem(), (413, "body-too-large".into()));
    let chunks = without_length(vec![large]);
    let streamed = api.post_text("/vehicles", chunks).await;
    assert_eq!(streamed.problem(), (413, "body-too-large".into()));
}

/// A body without a length.
fn without_length(chunks: Vec<String>) -> Body {
    struct Chunks(std::vec::IntoIter<String>);
    impl hyper::body::Body for Chunks {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
            std::task::Poll::Ready(
                self.0
                    .next()
                    .map(|chunk| Ok(hyper::body::Frame::data(chunk.into()))),
            )
        }
    }
    Body::new(Chunks(chunks.into_iter()))
}

#[tokio::test]
async fn routing_errors_are_problems_and_name_the_methods_that_work() {
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
async fn a_panic_is_a_problem_that_tells_nothing() {
    async fn fail() {
        assert_eq!("secret", "", "on purpose");
    }
    let app = Router::<()>::new()
        .route("/", axum::routing::get(fail))
        .layer(super::CatchPanicLayer::custom(super::panicked));
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
    api.draining.cancel();
    let draining = api.get("/ready").await;
    assert_eq!(draining.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        draining.json(),
        json!({ "status": "draining", "checks": { "store": "up" } })
    );
    api.service.close().await.unwrap();
    assert_eq!(api.get("/ready").await.json()["checks"]["store"], "down");
    assert_eq!(api.get("/health").await.json(), json!({ "status": "up" }));
    let answer = api.post("/vehicles", json!({ "deviceId": "a" })).await;
    assert_eq!(answer.problem(), (503, "store-unavailable".into()));
    assert!(!answer.header("retry-after").is_empty());
}

#[tokio::test]
async fn the_root_is_a_page_for_a_browser_and_json_for_a_program() {
    let api = Api::new().await;
    let info = api.get("/").await;
    assert_eq!(info.json()["instance"]["name"], "<b>test");
    assert_eq!(info.json()["devicesConnected"], 0);
    let request = Request::get("/").header(header::ACCEPT, "text/html,*/*;q=0.8");
    let page = api.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    let html = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(html.contains("&lt;b&gt;test"));
    assert!(!html.contains("://"));
}

#[tokio::test]
async fn the_documentation_page_is_compressed_for_who_takes_it() {
    let api = Api::new().await;
    let request = Request::get("/docs").header(header::ACCEPT_ENCODING, "gzip");
    let page = api.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(page.header("content-encoding"), "gzip");
    assert_eq!(api.get("/docs").await.header("content-encoding"), "");
    let document = api.get("/openapi.json").await;
    assert_eq!(document.body, openapi().as_bytes());
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
            if path.starts_with("/vehicles") || path.starts_with("/service") {
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
    assert_eq!(ids.len(), 14);
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
