//! `/metrics`.

use serde_json::json;

use super::Api;

#[tokio::test]
async fn metrics_count_the_pending_messages_of_each_webhook() {
    let api = Api::new().await;
    let body = json!({ "url": "https://fleet.example/" });
    let made = api.post("/webhooks", body).await.json();
    let id = made["id"].as_str().unwrap();
    for _ in 0..2 {
        let test = format!("/webhooks/{id}/test");
        api.call(axum::http::Method::POST, &test).await;
    }
    let metrics = api.get("/metrics").await;
    assert_eq!(
        metrics.header("content-type"),
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let text = std::str::from_utf8(&metrics.body).unwrap();
    for line in [
        &format!("vehicle_gateway_webhook_pending_messages{{webhook=\"{id}\"}} 2"),
        &format!("vehicle_gateway_webhook_expired_messages{{webhook=\"{id}\"}} 0"),
        &format!("vehicle_gateway_webhook_disabled{{webhook=\"{id}\"}} 0"),
        "# UNIT vehicle_gateway_webhook_lag_seconds seconds",
        "vehicle_gateway_webhook_attempts_delivered_total 0",
        "vehicle_gateway_database_answers 1",
        "vehicle_gateway_device_connections 0",
        "# EOF",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}\n{text}");
    }
}
