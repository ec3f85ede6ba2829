//! Addresses that webhooks must not reach, in every notation.

use std::net::TcpListener;

use serde_json::{Value, json};

use super::{ALLOW_TEST_RECEIVERS, create_endpoint};
use crate::support::{Daemon, Receiver, report, wait_until};

/// Notations of loopback, private and other denied addresses.
const DENIED: &[&str] = &[
    "127.0.0.1",
    "127.1",
    "127.0.0.1.",
    "2130706433",
    "017700000001",
    "0177.0.0.1",
    "0x7f000001",
    "0x7f.0x0.0x0.0x1",
    "%31%32%37.0.0.1",
    "\u{ff11}\u{ff12}\u{ff17}\u{3002}\u{ff10}.0.1",
    "0",
    "0.0.0.0",
    "localhost",
    "LocalHost",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[2002:7f00:1::]",
    "[2001::1]",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "0xa9fea9fe",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[fc00::1]",
    "255.255.255.255",
];

/// A listener that must not get a connection, and its port.
fn trap_port() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[track_caller]
fn expect_no_connection(listener: &TcpListener) {
    let connection = listener.accept();
    assert_eq!(
        connection.unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
}

#[test]
fn an_endpoint_at_a_denied_address_is_rejected_and_not_contacted() {
    let (listener, port) = trap_port();
    let daemon = Daemon::builder().set(ALLOW_TEST_RECEIVERS[0]).start();
    let refused = |answer: reqwest::blocking::Response, url: &str| {
        assert_eq!(answer.status(), 422, "{url}");
        let problem: Value = answer.json().unwrap();
        assert_eq!(problem["errors"][0]["pointer"], "/url", "{url}");
        let detail = problem["errors"][0]["detail"].as_str().unwrap();
        assert!(
            detail.contains("webhooks must not reach"),
            "{url}: {detail}"
        );
        // Its kind, and no address that a name stands for.
        assert!(!detail.contains("127.0.0.1"), "{url}: {detail}");
    };
    let made = daemon.post("/webhooks", &json!({ "url": "https://fleet.example/" }));
    let path = made.headers()["location"].to_str().unwrap().to_owned();
    for host in DENIED {
        for url in [
            format!("http://{host}:{port}/"),
            format!("https://{host}:{port}/in"),
        ] {
            refused(daemon.post("/webhooks", &json!({ "url": url })), &url);
            refused(daemon.patch(&path, &json!({ "url": url })), &url);
        }
    }
    assert_eq!(daemon.json(&path)["url"], "https://fleet.example/");
    expect_no_connection(&listener);
}

#[test]
fn an_endpoint_whose_address_became_denied_is_not_contacted() {
    let receiver = Receiver::start(|_| 200);
    let daemon = Daemon::builder()
        .set(ALLOW_TEST_RECEIVERS[0])
        .set(ALLOW_TEST_RECEIVERS[1])
        .start();
    let path = create_endpoint(&daemon, &receiver, &json!({ "events": ["battery"] }));
    let mut device = daemon.log_in("truck");
    device.say(&report(1));
    receiver.wait_for_delivered(1);
    let strict = daemon.restart_builder().set("webhooks.allow_private=false");
    drop(daemon);
    let daemon = strict.start();
    let mut device = daemon.log_in("truck");
    device.say(&report(2));
    let failing = wait_until("an attempt fails", || {
        Some(daemon.json(&path)).filter(|it| it["failures"] != 0)
    });
    assert_eq!(
        failing["lastError"],
        "the host is a loopback address, which webhooks must not reach"
    );
    assert_eq!(receiver.count(), 1);
}

#[test]
fn a_redirect_to_a_denied_address_fails_and_is_not_followed() {
    let (listener, port) = trap_port();
    let receiver = Receiver::redirecting_to(&format!("http://127.0.0.1:{port}/"));
    let daemon = Daemon::builder()
        .set(&receiver.setting(&["battery"]))
        .start();
    let mut device = daemon.log_in("truck");
    device.say(&report(1));
    let path = daemon.json("/webhooks")["items"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let failing = wait_until("an attempt fails", || {
        Some(daemon.json(&format!("/webhooks/{path}"))).filter(|it| it["lastError"].is_string())
    });
    assert_eq!(
        failing["lastError"],
        "answered 302; redirects are not followed"
    );
    expect_no_connection(&listener);
}
