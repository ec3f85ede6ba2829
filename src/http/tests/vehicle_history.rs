//! The reports and the debug blobs of a vehicle.

use super::{Api, TRUCK};

#[tokio::test]
async fn history_pages_are_stable_while_reports_arrive() {
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
async fn a_debug_blob_is_listed_and_downloaded_unchanged() {
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
