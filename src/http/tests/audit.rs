//! The audit trail.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use serde_json::{Value, json};

use super::{Api, TRUCK, update};

impl Api {
    /// The audit records of this query, which may be stored a moment later: until there are `count`.
    async fn audit(&self, query: &str, count: usize) -> Vec<Value> {
        loop {
            let page = self.get(&format!("/audit?{query}")).await.json();
            let records = page["items"].as_array().unwrap().clone();
            if records.len() >= count {
                return records;
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Operation, vehicle, status and problem of a record.
fn summary(record: &Value) -> [&Value; 4] {
    ["operation", "deviceId", "status", "problem"].map(|field| &record[field])
}

#[tokio::test]
async fn what_changes_something_or_speaks_to_a_vehicle_is_recorded_with_its_outcome() {
    let api = Api::new().await;
    api.post("/service/status-update", update(50)).await;
    api.post("/vehicles", json!({ "deviceId": "spare" })).await;
    api.get("/vehicles").await;
    api.get("/unknown").await;
    api.post("/unknown", json!({})).await;
    api.post(&format!("/service/{TRUCK}/turnOn"), json!({}))
        .await;
    api.get(&format!("/service/{TRUCK}/fetch-info")).await;
    api.post("/service/no%20id/turnOff", json!({})).await;
    api.get("/keys/vgk_4dKb0RzTq2Wm_s3cret").await;
    api.call(Method::DELETE, "/keys/vgk_4dKb0RzTq2Wm_s3cret")
        .await;
    let records = api.audit("", 5).await;
    let told: Vec<_> = records.iter().map(summary).collect();
    let null = Value::Null;
    let texts = |texts: [&str; 6]| texts.map(Value::from);
    let [revoke, bad, info, on, register, truck] = &texts([
        "revoke_key",
        "turn_off_vehicle",
        "fetch_info",
        "turn_on_vehicle",
        "create_vehicle",
        TRUCK,
    ]);
    let [offline, parameter] = ["vehicle-offline", "invalid-parameter"].map(Value::from);
    let spare = Value::from("spare");
    let status = [400, 200, 409, 201].map(Value::from);
    assert_eq!(
        told,
        [
            [revoke, &null, &status[0], &parameter],
            [bad, &null, &status[0], &parameter],
            [info, truck, &status[1], &null],
            [on, truck, &status[2], &offline],
            [register, &spare, &status[3], &null],
        ]
    );
    // A key in the place of its id is not for who reads this.
    assert_eq!(records[0]["path"], "/keys/vgk_4dKb0RzTq2Wm_***");
    assert_eq!(records[4]["path"], "/vehicles/spare");
    assert_eq!(records[3]["path"], format!("/service/{TRUCK}/turnOn"));
    assert_eq!(records[3]["address"], "127.0.0.1");
    let of_spare = api.audit("deviceId=spare", 1).await;
    assert_eq!(of_spare, [records[4].clone()]);
    let first = api.audit("limit=1", 1).await;
    assert_eq!(first, [records[0].clone()]);
    assert_eq!(api.walk("/audit?limit=2", async || {}).await, records);
    let at = records[2]["at"].as_str().unwrap();
    let before = api.audit(&format!("to={at}"), 0).await;
    assert!(before.iter().all(|record| record["at"].as_str() < Some(at)));
}

#[tokio::test]
async fn a_record_names_the_key_and_the_request() {
    let mut api = Api::new().await;
    let key = json!({ "name": "dispatch", "scopes": ["manage", "keys"] });
    let made = api.post("/keys", key).await.json();
    api.require_keys();
    let authorization = format!("Bearer {}", made["key"].as_str().unwrap());
    let register = async |id: &str, request_id: Option<&str>| {
        let mut request = Request::post("/vehicles")
            .header(header::AUTHORIZATION, &authorization)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(request_id) = request_id {
            request = request.header("x-request-id", request_id);
        }
        let body = Body::from(json!({ "deviceId": id }).to_string());
        let answer = api.send(request.body(body).unwrap()).await;
        assert_eq!(answer.status, StatusCode::CREATED);
        answer.header("x-request-id").to_owned()
    };
    assert_eq!(register("a", Some("abc-1")).await, "abc-1");
    let given = register("b", Some("no id")).await;
    assert_ne!(given, "no id");
    let records = async |query: &str| {
        loop {
            let request = Request::get(format!("/audit?{query}"))
                .header(header::AUTHORIZATION, &authorization)
                .body(Body::empty());
            let page = api.send(request.unwrap()).await.json();
            let records = page["items"].as_array().unwrap().clone();
            if records.len() == 2 {
                return records;
            }
        }
    };
    let id = made["id"].as_str().unwrap();
    for query in ["key=dispatch".to_owned(), format!("key={id}")] {
        let [second, first] = &records(&query).await[..] else {
            panic!("not two records");
        };
        assert_eq!(first["requestId"], "abc-1");
        assert_eq!(second["requestId"], given);
        for record in [first, second] {
            assert_eq!([&record["keyId"], &record["keyName"]], [id, "dispatch"]);
        }
    }
}

#[tokio::test]
async fn a_request_whose_client_is_gone_is_recorded_without_a_status() {
    let api = Api::new().await;
    let request = Request::post(format!("/service/{TRUCK}/turnOn"))
        .header(header::CONTENT_TYPE, "application/json")
        // A body that never comes.
        .body(Body::from_stream(futures_util::stream::pending::<
            Result<bytes::Bytes, std::io::Error>,
        >()));
    let request = api.send(request.unwrap());
    // Long enough to reach the handler, which waits for the body.
    let gone = tokio::time::timeout(std::time::Duration::from_millis(50), request);
    assert!(gone.await.is_err());
    let records = api.audit("", 1).await;
    assert_eq!(records[0]["status"], Value::Null);
    assert_eq!(records[0]["operation"], "turn_on_vehicle");
}

#[tokio::test]
async fn a_text_that_names_no_key_is_refused() {
    let api = Api::new().await;
    for key in ["%00".to_owned(), "a%0Ab".to_owned(), "x".repeat(65)] {
        let answer = api.get(&format!("/audit?key={key}")).await;
        assert_eq!(answer.problem(), (400, "invalid-parameter".into()), "{key}");
    }
    let unknown = api.get(&format!("/audit?key={}", "x".repeat(64))).await;
    assert_eq!(unknown.json()["items"], json!([]));
}
