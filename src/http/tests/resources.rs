//! What vehicles, their history and the server itself look like.

use std::collections::BTreeSet;

use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use serde_json::{Value, json};

use super::{Api, TRUCK, update};

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
