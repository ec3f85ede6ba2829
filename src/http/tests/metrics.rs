//! `/metrics`.

use std::collections::BTreeSet;

use axum::{
    body::Body,
    http::{Method, Request, header},
};
use serde_json::json;

use super::{Api, ApiResponse};

/// An API with a webhook that has two pending messages, and the webhook's id.
async fn with_a_webhook() -> (Api, String) {
    let api = Api::new().await;
    let body = json!({ "url": "https://fleet.example/" });
    let made = api.post("/webhooks", body).await.json();
    let id = made["id"].as_str().unwrap().to_owned();
    for _ in 0..2 {
        let test = format!("/webhooks/{id}/test");
        api.call(Method::POST, &test).await;
    }
    (api, id)
}

fn text(metrics: &ApiResponse) -> &str {
    std::str::from_utf8(&metrics.body).unwrap()
}

#[track_caller]
fn assert_lines(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|it| it == *line), "{line}\n{text}");
    }
}

fn values(id: &str) -> [String; 6] {
    [
        format!("vehicle_gateway_webhook_pending_messages{{webhook=\"{id}\"}} 2"),
        format!("vehicle_gateway_webhook_expired_messages{{webhook=\"{id}\"}} 0"),
        format!("vehicle_gateway_webhook_disabled{{webhook=\"{id}\"}} 0"),
        "vehicle_gateway_webhook_attempts_delivered_total 0".to_owned(),
        "vehicle_gateway_database_answers 1".to_owned(),
        "vehicle_gateway_device_connections 0".to_owned(),
    ]
}

#[tokio::test]
async fn metrics_are_in_the_text_format_by_default() {
    let (api, id) = with_a_webhook().await;
    let metrics = api.get("/metrics").await;
    assert_eq!(
        metrics.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    assert_eq!(metrics.header("vary"), "accept");
    let text = text(&metrics);
    check_text_format(text);
    assert_lines(text, &values(&id).each_ref().map(String::as_str));
    assert_lines(
        text,
        &[
            "# TYPE vehicle_gateway_build_info gauge",
            "# TYPE vehicle_gateway_webhook_lag_seconds gauge",
            "# TYPE vehicle_gateway_log_lines_lost_total counter",
        ],
    );
}

#[tokio::test]
async fn metrics_are_in_the_open_metrics_format_for_who_asks_for_it() {
    let (api, id) = with_a_webhook().await;
    let request = Request::get("/metrics").header(header::ACCEPT, "application/openmetrics-text");
    let metrics = api.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(
        metrics.header("content-type"),
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let text = text(&metrics);
    assert_lines(text, &values(&id).each_ref().map(String::as_str));
    assert_lines(
        text,
        &[
            "# TYPE vehicle_gateway_build info",
            "# UNIT vehicle_gateway_webhook_lag_seconds seconds",
        ],
    );
    assert!(text.ends_with("\n# EOF\n"), "{text}");
}

/// Checks what `promtool check metrics` checks: the grammar of the text format 0.0.4, and names.
#[track_caller]
fn check_text_format(text: &str) {
    let mut families = BTreeSet::new();
    let mut help = None;
    // Name and type of the family of the samples that may follow.
    let mut family = None;
    assert!(text.ends_with('\n') && !text.ends_with("\n\n"));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, explanation) = rest.split_once(' ').unwrap();
            assert!(is_name(name) && !explanation.trim().is_empty(), "{line}");
            assert!(families.insert(name), "twice: {line}");
            assert_eq!(help.replace(name), None, "no type before {line}");
            family = None;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(help.take(), Some(name), "no help before {line}");
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            family = Some(name);
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = name.split_once('{').unwrap_or((name, "}"));
            assert_eq!(family, Some(name), "not of the family before: {line}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let labels = labels.strip_suffix('}').unwrap();
            for label in labels.split(',').filter(|label| !label.is_empty()) {
                let (name, value) = label.split_once('=').unwrap();
                let value = value.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
                assert!(is_name(name) && !name.contains(':'), "{line}");
                assert!(!value.unwrap().contains(['"', '\\']), "{line}");
            }
        }
    }
    assert_eq!(help, None);
    assert!(families.len() > 5);
}

fn is_name(name: &str) -> bool {
    let may_begin = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    name.starts_with(may_begin) && name.chars().all(|c| may_begin(c) || c.is_ascii_digit())
}
