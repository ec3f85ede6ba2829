//! The API on a real store: requests to the router, and connections over sockets.

mod api_keys;
mod audit;
mod base_path;
mod commands;
mod connections;
mod document;
mod early_responses;
mod errors;
mod guard;
mod health_checks;
mod keys;
mod metrics;
mod server_info;
mod vehicle_history;
mod vehicles;
mod webhooks;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Method, Request, Response, StatusCode, header},
};
use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{AccessRules, Authorization, HostNames, HttpOptions, router};
use crate::{
    access::Keyring,
    app::{PartOptions, Parts},
    cluster::PresenceOptions,
    commands::CommandOptions,
    domain::DeviceId,
    fanout::Fanout,
    sessions::ConnectionHandle,
    store::{DatabaseAddress, Store, StoreOptions},
    webhooks::{DeliveryCounters, UrlPolicy},
};

const OPTIONS: HttpOptions = HttpOptions {
    header_timeout: Duration::from_millis(300),
    max_connections: 2,
    max_body: 1000,
    request_timeout: Duration::from_secs(5),
    command_timeout: Duration::from_secs(5),
};

const TRUCK: &str = "9180af05-0219-4c88-8a95-3da86b130d43";

/// The API on an empty store.
struct Api {
    router: Router,
    parts: Parts,
    _folder: tempfile::TempDir,
}

/// A response with its whole body.
struct ApiResponse {
    status: StatusCode,
    response: Response<()>,
    body: Bytes,
}

impl ApiResponse {
    fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Status and kind of the problem, after checks of its other fields.
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

    /// The pointers and parameters of the problem's `errors`.
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
    async fn new() -> Self {
        Self::with(OPTIONS).await
    }

    async fn with(options: HttpOptions) -> Self {
        Self::with_options_and_keys(options, Keyring::default()).await
    }

    async fn with_keys(configured: Keyring) -> Self {
        Self::with_options_and_keys(OPTIONS, configured).await
    }

    async fn with_options_and_keys(options: HttpOptions, configured_keys: Keyring) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(StoreOptions {
            database: DatabaseAddress {
                url: format!("sqlite://{}/test.db", folder.path().display()),
                shown: String::new(),
            },
            readers: 2,
            incarnation: crate::domain::IncarnationId::random(),
            instance_name: "test".to_owned(),
            queue_bytes: 1 << 20,
            commit_timeout: Duration::from_secs(5),
            lease: Duration::from_secs(15),
        });
        let parts = Parts::new(
            Arc::new(store.await.unwrap()),
            Fanout::none(),
            PartOptions {
                instance_name: "<b>test".to_owned(),
                commands: CommandOptions {
                    queue: 4,
                    timeout: Duration::from_secs(5),
                },
                presence: PresenceOptions {
                    lease: Duration::from_secs(15),
                    offline_grace: Duration::from_secs(10),
                },
                url_policy: UrlPolicy {
                    allow_http: false,
                    allow_private: false,
                    allow_any_port: false,
                },
                delivery_counters: DeliveryCounters::default(),
                configured_keys,
            },
        );
        Self {
            router: router(
                parts.api(Vec::new()),
                options,
                open_to(HostNames::only(&[])),
                "",
            ),
            parts,
            _folder: folder,
        }
    }

    async fn send(&self, request: Request<Body>) -> ApiResponse {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        ApiResponse {
            status: parts.status,
            response: Response::from_parts(parts, ()),
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    async fn call(&self, method: Method, path: &str) -> ApiResponse {
        let request = Request::builder().method(method).uri(path);
        self.send(request.body(Body::empty()).unwrap()).await
    }

    async fn get(&self, path: &str) -> ApiResponse {
        self.call(Method::GET, path).await
    }

    async fn post_text(&self, path: &str, body: impl Into<Body>) -> ApiResponse {
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(body.into()).unwrap()).await
    }

    async fn post(&self, path: &str, body: Value) -> ApiResponse {
        self.post_text(path, body.to_string()).await
    }

    /// All items of a list, page by page; `between` runs after each page.
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
        let login = self
            .parts
            .sessions
            .begin_login(device_id.clone(), remote)
            .await;
        let handle = Arc::new(ConnectionHandle::default());
        let session = self.parts.sessions.finish_login(device_id, login, handle);
        let blob = Bytes::from_static(content);
        self.parts
            .sessions
            .debug_blob(&session.unwrap().session, blob)
            .await
            .unwrap();
    }
}

/// Answers everybody who calls it by one of these names.
fn open_to(hosts: HostNames) -> AccessRules {
    AccessRules {
        authorization: Authorization::Off,
        hosts,
    }
}

fn update(battery: u8) -> Value {
    json!({ "deviceId": TRUCK, "latitude": 43.62152, "longitude": -1.5, "battery": battery, "running": true })
}
