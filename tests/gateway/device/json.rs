//! The JSON dialect.

use std::time::Duration;

use serde_json::json;

use crate::support::{Daemon, Device, json as envelope};

const BAD: &str = "SERVER COULD NOT PROCESS THE RECEIVED MESSAGE.";
const FINE: &str = "FINE. I'M HERE 45.021561650 8.156484, RESTING AND CHARGED AT 65%.";

/// A JSON device that is logged in.
fn log_in(daemon: &Daemon, device_id: &str) -> Device {
    let mut device = daemon.connect();
    device.say(&envelope(&format!("HELLO, I'M {device_id}!"), device_id));
    assert_eq!(device.object()["type"], "connected");
    device.expect_reply("HI, NICE TO MEET YOU!");
    device
}

#[test]
fn a_json_device_gets_the_connected_object_before_its_first_reply() {
    let daemon = Daemon::builder().set("device.greeting_delay=10s").start();
    let mut device = daemon.connect();
    device.say(&envelope("PING.", "truck"));
    let connected = device.line().unwrap();
    assert_eq!(
        connected,
        format!(
            r#"{{"type":"connected","message":"Connected to server","serverId":"{}"}}"#,
            daemon.id
        )
    );
    device.expect_reply("PONG.");
}

#[test]
fn a_greeted_device_may_speak_either_dialect() {
    let daemon = Daemon::builder().set("device.greeting_delay=50ms").start();
    let mut text = daemon.connect();
    assert_eq!(text.object()["serverId"], daemon.id.as_str());
    text.say("HELLO, I'M text!");
    text.expect("HI, NICE TO MEET YOU!");

    let mut json = daemon.connect();
    assert_eq!(json.object()["type"], "connected");
    json.say(&envelope("PING.", "json"));
    json.expect_reply("PONG.");
}

#[test]
fn a_client_id_without_hello_logs_in() {
    let daemon = Daemon::start();
    let mut device = daemon.connect();
    device.say(&envelope(
        "REPORT. I'M HERE 1 2, RUNNING AND CHARGED AT 3%.",
        "truck",
    ));
    device.object();
    device.expect_reply("OK, THANKS!");
    let vehicle = daemon.vehicle("truck");
    assert_eq!(
        (&vehicle["online"], &vehicle["battery"]),
        (&json!(true), &json!(3))
    );
}

#[test]
fn a_goodbye_with_a_client_id_does_not_log_in() {
    let daemon = Daemon::start();
    let mut device = daemon.connect();
    device.say(&envelope("GOTTA GO.", "truck"));
    device.object();
    device.expect_reply("SEE YA!");
    device.expect_closed();
    assert_eq!(daemon.get("/vehicles/truck").status(), 404);
}

#[test]
fn a_reply_before_the_login_does_not_log_in() {
    let daemon = Daemon::start();
    let mut device = daemon.connect();
    device.say(&json!({"type": "reply", "message": FINE, "clientId": "truck"}).to_string());
    device.object();
    device.expect_reply("I DON'T KNOW YOU!");
    device.say(&json!({"type": "message", "message": "PING."}).to_string());
    device.expect_reply("I DON'T KNOW YOU!");
    assert_eq!(daemon.get("/vehicles/truck").status(), 404);
}

#[test]
fn a_hello_that_contradicts_the_client_id_is_bad() {
    let daemon = Daemon::start();
    let mut device = daemon.connect();
    device.say(&envelope("HELLO, I'M somebody!", "else"));
    device.object();
    device.expect_reply(BAD);
    assert_eq!(daemon.json("/vehicles")["items"], json!([]));
}

#[test]
fn another_client_id_after_the_login_is_bad_and_none_is_fine() {
    let daemon = Daemon::start();
    let mut device = log_in(&daemon, "truck");
    device.say(&envelope(
        "REPORT. I'M HERE 1 2, RUNNING AND CHARGED AT 3%.",
        "thief",
    ));
    device.expect_reply(BAD);
    device.say(r#"{"message":"PING."}"#);
    device.expect_reply("PONG.");
    assert_eq!(daemon.vehicle("truck")["battery"], json!(null));
    assert_eq!(daemon.get("/vehicles/thief").status(), 404);
}

#[test]
fn a_uuid_is_the_same_vehicle_in_either_case() {
    let daemon = Daemon::start();
    let id = "9180AF05-0219-4C88-8A95-3DA86B130D43";
    let mut device = log_in(&daemon, id);
    device.say(&envelope("PING.", &id.to_lowercase()));
    device.expect_reply("PONG.");
    assert_eq!(daemon.vehicle(id)["deviceId"], id.to_lowercase());
}

#[test]
fn fine_is_stored_silently_as_a_reply_and_acknowledged_as_a_message() {
    let daemon = Daemon::start();
    let mut device = log_in(&daemon, "truck");
    device.say(&json!({"type": "reply", "message": FINE, "clientId": "truck"}).to_string());
    device.say(&envelope("PING.", "truck"));
    device.expect_reply("PONG.");
    assert_eq!(daemon.vehicle("truck")["latitude"], 45.021_561_65);
    device.say(&envelope(FINE, "truck"));
    device.expect_reply("OK, THANKS!");
    assert_eq!(
        daemon.json("/vehicles/truck/reports")["items"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn a_debug_blob_is_decimal_values_and_a_wrong_count_is_bad() {
    let daemon = Daemon::start();
    let mut device = log_in(&daemon, "truck");
    device.say(&envelope("WTF! 3\n0,128,255", "truck"));
    device.expect_reply("DAAAMN! ISSUE REPORTED ON JIRA");
    device.say(&envelope("WTF! 4\n0,128,255", "truck"));
    device.expect_reply(BAD);
    device.say(&envelope("WTF! 0", "truck"));
    device.expect_reply("DAAAMN! ISSUE REPORTED ON JIRA");
    let blobs = daemon.json("/vehicles/truck/debug-blobs");
    let id = &blobs["items"][1]["blobId"];
    let content = daemon.get(&format!("/vehicles/truck/debug-blobs/{id}"));
    assert_eq!(content.bytes().unwrap().as_ref(), [0, 128, 255]);
}

#[test]
fn a_blob_as_large_as_the_cap_fits_in_json() {
    let daemon = Daemon::builder().set("device.max_blob=64 KiB").start();
    let mut device = log_in(&daemon, "truck");
    let numbers = vec!["255"; 64 << 10].join(",");
    device.say(&envelope(&format!("WTF! {}\n{numbers}", 64 << 10), "truck"));
    device.expect_reply("DAAAMN! ISSUE REPORTED ON JIRA");
}

#[test]
fn the_server_id_of_another_instance_is_ignored() {
    let daemon = Daemon::start();
    let mut device = log_in(&daemon, "truck");
    device.say(r#"{"serverId":"old","extra":[{}],"message":"PING.","type":"message"}"#);
    device.expect_reply("PONG.");
}

#[test]
fn anything_but_an_object_with_a_message_is_one_bad_sentence() {
    let daemon = Daemon::start();
    let mut device = log_in(&daemon, "truck");
    for bad in [
        r"{not json}",
        r#"{"type":"message"}"#,
        r#"{"message":7}"#,
        r#"{"message":"PING. PING."}"#,
        "between }] objects ",
        "more\n",
    ] {
        device.say(bad);
        device.say(&envelope(" PING. ", "truck"));
        device.expect_reply(BAD);
        device.expect_reply("PONG.");
    }
}

#[test]
fn objects_may_share_a_segment_and_be_split() {
    let daemon = Daemon::start();
    let mut device = log_in(&daemon, "truck");
    device.say(&envelope("PING.", "truck").repeat(3));
    for byte in envelope("PING.", "truck").bytes() {
        device.send(&[byte]);
    }
    for _ in 0..4 {
        device.expect_reply("PONG.");
    }
}

#[test]
fn an_object_above_the_cap_is_bad_and_the_connection_closed() {
    let daemon = Daemon::builder().set("device.max_blob=1 KiB").start();
    let mut device = log_in(&daemon, "truck");
    device.say(&envelope(&"x".repeat(20_000), "truck"));
    device.expect_reply(BAD);
    device.expect_closed();
    assert_eq!(daemon.logged_disconnect("truck")["reason"], "too-large");
}

#[test]
fn replies_are_sent_one_by_one_without_delay() {
    let daemon = Daemon::start();
    let mut device = log_in(&daemon, "truck");
    // Sequential requests: no reply is held back to be sent with the next one.
    for _ in 0..50 {
        device.say(&envelope("PING.", "truck"));
        device.expect_reply("PONG.");
    }
    device.expect_silence(Duration::from_millis(50));
}

#[test]
fn the_connected_object_is_sent_at_the_first_brace() {
    let daemon = Daemon::builder().set("device.greeting_delay=10s").start();
    let mut device = daemon.connect();
    device.say("  {");
    assert_eq!(device.object()["type"], "connected");
}
