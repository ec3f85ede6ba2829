//! `/vehicles` and `/service/status-update`.

use std::collections::BTreeSet;

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Api, TRUCK, update};

#[tokio::test]
async fn a_vehicle_is_registered_once_and_has_every_key() {
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
async fn a_status_update_creates_the_vehicle_and_its_history() {
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
async fn vehicle_pages_are_stable_while_vehicles_are_created() {
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
