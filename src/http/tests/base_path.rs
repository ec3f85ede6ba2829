//! The API behind a reverse proxy that offers it under a path of its own.

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use serde_json::json;

use super::{Api, HostNames, OPTIONS, TRUCK, open_to, router};

async fn behind_a_proxy() -> Api {
    let mut api = Api::new().await;
    api.router = router(
        api.parts.api(Vec::new()),
        OPTIONS,
        open_to(HostNames::any()),
        "/gateway",
    );
    api
}

#[tokio::test]
async fn locations_are_paths_of_the_proxy() {
    let api = behind_a_proxy().await;
    let vehicle = api.post("/vehicles", json!({ "deviceId": TRUCK })).await;
    assert_eq!(vehicle.status, StatusCode::CREATED);
    let path = format!("/gateway/vehicles/{TRUCK}");
    assert_eq!(vehicle.header("location"), path);
    let options = json!({ "queue": true, "ttlSeconds": 60 });
    let queued = api.post(&format!("/service/{TRUCK}/turnOn"), options).await;
    assert_eq!(queued.status, StatusCode::ACCEPTED);
    let id = queued.json()["commandId"].clone();
    let path = format!("{path}/commands/{}", id.as_str().unwrap());
    assert_eq!(queued.header("location"), path);
    let hook = json!({ "url": "https://fleet.example/" });
    let hook = api.post("/webhooks", hook).await;
    let id = hook.json()["id"].clone();
    let path = format!("/gateway/webhooks/{}", id.as_str().unwrap());
    assert_eq!(hook.header("location"), path);
}

#[tokio::test]
async fn the_documentation_and_its_links_work_under_the_path_of_the_proxy() {
    let api = behind_a_proxy().await;
    let document = api.get("/openapi.json").await.json();
    assert_eq!(document["servers"][0]["url"], "/gateway");
    let page = api.get("/docs").await;
    let page = String::from_utf8_lossy(&page.body);
    // Relative to the page: `/gateway/openapi.json`.
    assert!(page.contains("'openapi.json'") && !page.contains("'/openapi.json'"));
    let request = Request::get("/").header(header::ACCEPT, "text/html");
    let root = api.send(request.body(Body::empty()).unwrap()).await;
    let root = String::from_utf8(root.body.to_vec()).unwrap();
    for path in ["docs", "vehicles", "ready"] {
        assert!(
            root.contains(&format!("href=\"/gateway/{path}\"")),
            "{root}"
        );
    }
    assert!(!root.contains("href=\"/docs\""), "{root}");
}
