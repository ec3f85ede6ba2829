//! Failing endpoints, for some vehicles or for all, and their pending messages.

use std::sync::Barrier;

use serde_json::{Value, json};

use super::{create_endpoint, position_report, start_daemon, wait_for_messages};
use crate::support::{Database, Reaction, Receiver, change, on_every_database, report, wait_until};

on_every_database! {
    the_success_of_other_vehicles_costs_no_retry,
    pending_messages_go_to_a_new_url_at_once,
    a_manual_retry_does_not_wait_for_the_next_message,
    a_message_purged_in_flight_blocks_nothing,
}

fn is_about(body: &Value, device_id: &str) -> bool {
    body["data"]["deviceId"] == device_id
}

fn the_success_of_other_vehicles_costs_no_retry(database: &Database) {
    let receiver =
        Receiver::start_with_body(|_, body| if is_about(body, "bad") { 500 } else { 200 });
    let daemon = start_daemon(database, &[r#"webhooks.retry_schedule=["0s", "4s", "4s"]"#]);
    let path = create_endpoint(&daemon, &receiver, &json!({ "events": ["position"] }));
    let mut bad = daemon.log_in("bad");
    bad.say(&position_report(1));
    bad.expect("OK, THANKS!");
    let mut good = daemon.log_in("good");
    let mut nth = 0;
    let failed = wait_until("the message has failed", || {
        // Messages of another vehicle succeed all the time.
        nth += 1;
        let before = receiver.count();
        good.say(&position_report(nth));
        good.expect("OK, THANKS!");
        receiver.wait_for("the next message", |received| received.len() > before);
        let list = daemon.json(&format!("{path}/messages?status=failed"));
        list["items"].as_array().unwrap().first().cloned()
    });
    assert_eq!(failed["attempts"], 3);
    let at = |key: &str| -> jiff::Timestamp { failed[key].as_str().unwrap().parse().unwrap() };
    let lasted = at("finishedAt").duration_since(at("createdAt"));
    // Two waits of 4 s, each up to a tenth shorter.
    assert!(lasted.as_millis() >= 7_200, "{lasted:?}");
}

fn pending_messages_go_to_a_new_url_at_once(database: &Database) {
    let (old, new) = (Receiver::start(|_| 500), Receiver::start(|_| 200));
    let daemon = start_daemon(database, &[r#"webhooks.retry_schedule=["0s", "1h"]"#]);
    let path = create_endpoint(&daemon, &old, &json!({ "events": ["battery"] }));
    let mut device = daemon.log_in("truck");
    device.say(&report(1));
    device.expect("OK, THANKS!");
    wait_until("the failure is recorded", || {
        Some(daemon.json(&path)).filter(|it| it["failures"] == 1)
    });
    let changed = daemon.patch(&path, &json!({ "url": new.url() }));
    assert_eq!(changed.status(), 200);
    let delivered = new.wait_for_delivered(1).pop().unwrap();
    assert_eq!(delivered.id, old.received()[0].id);
    assert_eq!(old.count(), 1);
}

fn a_manual_retry_does_not_wait_for_the_next_message(database: &Database) {
    let receiver = Receiver::start(|nth| [200, 404, 200][nth]);
    let daemon = start_daemon(database, &[r#"webhooks.retry_schedule=["0s", "1h"]"#]);
    let path = create_endpoint(&daemon, &receiver, &json!({ "events": ["battery"] }));
    let mut device = daemon.log_in("truck");
    for battery in 1..=2 {
        device.say(&report(battery));
        device.expect("OK, THANKS!");
    }
    let delivered = wait_for_messages(&daemon, &path, "delivered", 1)
        .pop()
        .unwrap();
    wait_until("the next message waits for its retry", || {
        let next = wait_for_messages(&daemon, &path, "pending", 1)
            .pop()
            .unwrap();
        (next["attempts"] == 1).then_some(())
    });
    let id = delivered["id"].as_str().unwrap();
    let retry = daemon.post(&format!("{path}/messages/{id}/retry"), &json!({}));
    assert_eq!(retry.status(), 202);
    assert_eq!(receiver.wait_for_delivered(2)[1].id, id);
}

fn a_message_purged_in_flight_blocks_nothing(database: &Database) {
    let receiver = Receiver::start(|nth| [Reaction::Silence, Reaction::Answer(200)][nth.min(1)]);
    let daemon = start_daemon(
        database,
        &["webhooks.timeout=10s", "retention.interval=100ms"],
    );
    let path = create_endpoint(&daemon, &receiver, &json!({ "events": ["battery"] }));
    let mut device = daemon.log_in("truck");
    for battery in 1..=2 {
        device.say(&report(battery));
        device.expect("OK, THANKS!");
    }
    receiver.wait_for("the first is in flight", |received| received.len() == 1);
    change(
        &daemon.database_url(),
        "UPDATE webhook_messages SET created_at = 1",
    );
    wait_until("both are purged", || {
        (daemon.json(&path)["pending"] == 0).then_some(())
    });
    // The result of the attempt is never recorded.
    let daemon = daemon.kill_and_restart();
    let mut device = daemon.log_in("truck");
    device.say(&report(3));
    device.expect("OK, THANKS!");
    let next = receiver.wait_for_delivered(1).pop().unwrap();
    assert_eq!(
        (next.sequence(), &next.body["data"]["vehicle"]["battery"]),
        (3, &json!(3))
    );
}

#[test]
fn a_success_resets_the_failures_of_an_endpoint() {
    let receiver = Receiver::start(|nth| [404, 200][nth.min(1)]);
    let daemon = start_daemon(&Database::File, &[r#"webhooks.retry_schedule=["0s"]"#]);
    let path = create_endpoint(&daemon, &receiver, &json!({ "events": ["battery"] }));
    let mut device = daemon.log_in("truck");
    device.say(&report(1));
    wait_until("the failure is recorded", || {
        Some(daemon.json(&path)).filter(|it| it["failingSince"].is_string())
    });
    device.say(&report(2));
    wait_for_messages(&daemon, &path, "delivered", 1);
    let well = daemon.json(&path);
    assert_eq!(
        [&well["failingSince"], &well["failures"]],
        [&Value::Null, &json!(0)]
    );
}

#[test]
fn retry_after_survives_a_concurrent_success() {
    // Both messages arrive before either is answered.
    let both = Barrier::new(2);
    let receiver = Receiver::start_with_body(move |nth, body| {
        if nth < 2 {
            both.wait();
        }
        if is_about(body, "busy") {
            Reaction::Busy(3600)
        } else {
            Reaction::Answer(200)
        }
    });
    let daemon = start_daemon(&Database::File, &[]);
    let path = create_endpoint(&daemon, &receiver, &json!({ "events": ["battery"] }));
    let mut devices = ["busy", "other"].map(|id| daemon.log_in(id));
    for device in &mut devices {
        device.say(&report(1));
    }
    wait_for_messages(&daemon, &path, "delivered", 1);
    wait_until("the pause is recorded", || {
        Some(daemon.json(&path)).filter(|it| it["failures"] == 1)
    });
    for device in &mut devices {
        device.expect("OK, THANKS!");
        device.say(&report(2));
        device.expect("OK, THANKS!");
    }
    let paused = daemon.json(&path);
    assert!(paused["pausedUntil"].is_string(), "{paused}");
    assert_eq!(paused["pending"], 3);
    assert_eq!(receiver.count(), 2);
}
