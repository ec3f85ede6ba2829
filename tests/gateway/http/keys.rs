//! Keys of the API, as an operator makes them and a back-end uses them.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Command, Output},
    time::Duration,
};

use reqwest::{
    blocking::{Client, Response},
    header,
};
use serde_json::{Value, json};

use crate::support::{Daemon, Device};

fn keys_new(name: &str, scopes: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vehicle-gateway"))
        .args(["keys", "new", "--name", name, "--scopes", scopes])
        .output()
        .unwrap()
}

/// A new key, and its table of the settings.
pub(super) fn new_key(name: &str, scopes: &str) -> (String, Value) {
    read_key(&keys_new(name, scopes))
}

/// A new key that these arguments describe further, and its table of the settings.
fn new_key_with(arguments: &[&str]) -> (String, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_vehicle-gateway"))
        .args(["keys", "new", "--name", "dispatch", "--scopes", "read"])
        .args(arguments)
        .output();
    read_key(&output.unwrap())
}

fn read_key(output: &Output) -> (String, Value) {
    assert!(output.status.success());
    let printed = String::from_utf8(output.stdout.clone()).unwrap();
    let (key, _) = printed.split_once('\n').unwrap();
    let (_, table) = printed.split_once("[[http.keys]]\n").unwrap();
    let fields = table.lines().map(|line| {
        let (field, value) = line.split_once(" = ").unwrap();
        (field.to_owned(), serde_json::from_str(value).unwrap())
    });
    (key.to_owned(), Value::Object(fields.collect()))
}

/// A daemon on all addresses that asks for one of these keys.
pub(super) fn start_with(keys: &[Value]) -> Daemon {
    Daemon::builder()
        .set("http.listen=0.0.0.0:0")
        .set("http.auth=required")
        .set(&format!("http.keys={}", json!(keys)))
        .start()
}

/// `GET` with a key.
pub(super) fn get_with(daemon: &Daemon, path: &str, key: &str) -> Response {
    let request = Client::new().get(daemon.url(path)).bearer_auth(key);
    request.send().unwrap()
}

#[test]
fn a_new_key_opens_the_api_to_a_network_for_its_scopes() {
    let (key, table) = new_key("dispatch \"1\"", "read,command");
    let daemon = start_with(&[table]);
    let mut device: Device = daemon.log_in("truck");
    let status = |method: &str, path: &str, key: Option<&str>| {
        let mut request = Client::new().request(method.parse().unwrap(), daemon.url(path));
        if let Some(key) = key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        request.send().unwrap().status().as_u16()
    };
    for path in ["/health", "/ready", "/ready/balancer"] {
        assert_eq!(status("GET", path, None), 200, "{path}");
    }
    for path in [
        "/",
        "/docs",
        "/openapi.json",
        "/metrics",
        "/vehicles",
        "/unknown",
    ] {
        assert_eq!(status("GET", path, None), 401, "{path}");
    }
    assert_eq!(status("GET", "/vehicles/truck", Some(&key)), 200);
    assert_eq!(status("GET", "/metrics", Some(&key)), 403);
    assert_eq!(status("DELETE", "/vehicles/truck", Some(&key)), 403);
    std::thread::scope(|scope| {
        let turned = scope.spawn(|| status("POST", "/service/truck/turnOn", Some(&key)));
        device.expect("HEY YOU, RUN!");
        device.say("DONE!");
        assert_eq!(turned.join().unwrap(), 200);
    });
    // Neither the key nor its hash is in the log.
    assert!(
        daemon
            .log()
            .iter()
            .all(|line| !line.to_string().contains(&key))
    );
}

#[test]
fn a_request_without_a_key_is_refused_before_its_body() {
    let (_, table) = new_key("dispatch", "manage");
    let daemon = start_with(&[table]);
    let mut stream = TcpStream::connect(daemon.http).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let head = "POST /vehicles HTTP/1.1\r\nHost: fleet\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 401");
}

#[test]
fn a_gateway_that_requires_keys_and_has_none_serves_vehicles_and_says_so() {
    let daemon = Daemon::builder().set("http.auth=required").start();
    daemon.logged_containing("nobody can use the API");
    daemon.log_in("truck");
    assert_eq!(daemon.get("/vehicles").status(), 401);
}

#[test]
fn a_key_of_the_settings_can_expire() {
    let (key, table) = new_key_with(&["--expires", "1h"]);
    let daemon = start_with(std::slice::from_ref(&table));
    let own = get_with(&daemon, "/keys/self", &key);
    assert_eq!(own.status(), 200);
    assert_eq!(
        own.json::<Value>().unwrap()["expiresAt"],
        table_time(&table)
    );
    let mut expired = table;
    expired["expires"] = json!("2020-01-01T00:00:00Z");
    let daemon = start_with(&[expired]);
    daemon.logged_containing("nobody can use the API");
    let refused = get_with(&daemon, "/keys/self", &key);
    assert_eq!(refused.status(), 401);
    assert!(refused.text().unwrap().contains("has expired"));
}

/// The time at which the key of a table expires, as the API shows it.
fn table_time(table: &Value) -> String {
    table["expires"].as_str().unwrap().replace('Z', ".000Z")
}

#[test]
fn unknown_scopes_and_empty_names_are_refused_with_what_would_be_right() {
    let refusal = |name, scopes| String::from_utf8(keys_new(name, scopes).stderr).unwrap();
    let told = refusal("dispatch", "read,comand");
    assert!(
        told.contains("comand") && told.contains("read, metrics, ingest, command, manage, keys"),
        "{told}"
    );
    assert!(refusal("", "read").contains("1 to 64 printable characters"));
}
