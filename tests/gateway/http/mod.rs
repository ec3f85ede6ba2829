//! The REST API as back-ends use it.

mod browsers;
mod clients;
mod contract;
mod keys;
mod paging;
mod readiness;
mod server_info;
mod stored_keys;
mod tls;
mod unread_responses;
mod vehicles;

use serde_json::{Value, json};

use crate::support::{Daemon, Device, THANKS, report};

/// The items of a list that fits on one page. `path` ends where another parameter may follow.
#[track_caller]
fn items(daemon: &Daemon, path: &str) -> Vec<Value> {
    let page = daemon.json(&format!("{path}limit=1000"));
    assert_eq!(page["nextCursor"], Value::Null);
    page["items"].as_array().unwrap().clone()
}

fn values(entries: &[Value], key: &str) -> Vec<Value> {
    entries.iter().map(|entry| entry[key].clone()).collect()
}

#[track_caller]
fn register(daemon: &Daemon, id: &str) {
    let answer = daemon.post("/vehicles", &json!({ "deviceId": id }));
    assert_eq!(answer.status(), 201, "{id}");
}

#[track_caller]
fn send_report(device: &mut Device, battery: usize) {
    device.say(&report(battery));
    device.expect(THANKS);
}

#[track_caller]
fn store_blob(device: &mut Device, content: &[u8]) {
    let mut said = format!("WTF! {}\n", content.len()).into_bytes();
    said.extend(content);
    device.send(&said);
    device.expect("DAAAMN! ISSUE REPORTED ON JIRA");
}
