//! Endpoints over REST: creation, messages, retries, disabling, pauses.

use serde_json::{Value, json};

use super::{ALLOW_TEST_RECEIVERS, create_endpoint, start_daemon, wait_for_messages};
use crate::support::{
    Cluster, Daemon, Database, Reaction, Receiver, change, on_every_database, on_every_server,
    report, wait_until,
};

on_every_database! {
    an_endpoint_gets_its_events_from_creation_to_deletion,
    failed_messages_are_sent_again_on_request,
    an_endpoint_that_answers_410_is_disabled_until_enabled_again,
}

on_every_server! {
    an_endpoint_created_on_one_instance_gets_events_of_all,
}

#[track_caller]
fn send_reports(daemon: &Daemon, device_id: &str, batteries: std::ops::RangeInclusive<usize>) {
    let mut device = daemon.log_in(device_id);
    for battery in batteries {
        device.say(&report(battery));
        device.expect("OK, THANKS!");
    }
}

fn an_endpoint_gets_its_events_from_creation_to_deletion(database: &Database) {
    let (receiver, other) = (Receiver::start(|_| 200), Receiver::start(|_| 200));
    let daemon = start_daemon(database, &[]);
    send_reports(&daemon, "truck-1", 1..=1);
    let wanted = json!({ "events": ["battery"], "deviceIds": ["truck-1"] });
    let path = create_endpoint(&daemon, &receiver, &wanted);
    create_endpoint(&daemon, &other, &json!({ "events": ["battery"] }));
    send_reports(&daemon, "truck-1", 2..=3);
    send_reports(&daemon, "truck-2", 4..=4);
    let summaries: Vec<_> = receiver
        .wait_for_delivered(2)
        .iter()
        .map(|it| (it.sequence(), it.body["data"]["vehicle"]["battery"].clone()))
        .collect();
    assert_eq!(summaries, [(1, json!(2)), (2, json!(3))]);
    let newest = &wait_for_messages(&daemon, &path, "delivered", 2)[0];
    assert_eq!(
        [
            &newest["sequence"],
            &newest["attempts"],
            &newest["responseStatus"],
            &newest["error"]
        ],
        [&json!(2), &json!(1), &json!(200), &Value::Null]
    );
    assert!(newest["durationMs"].is_u64());
    assert_eq!(daemon.json(&path)["pending"], 0);

    // It never gets events of the time in which it is disabled.
    assert_eq!(
        daemon.patch(&path, &json!({ "enabled": false })).status(),
        200
    );
    send_reports(&daemon, "truck-1", 5..=5);
    assert_eq!(
        daemon.patch(&path, &json!({ "enabled": true })).status(),
        200
    );
    send_reports(&daemon, "truck-1", 6..=6);
    let last = receiver.wait_for_delivered(3).pop().unwrap();
    assert_eq!(last.body["data"]["vehicle"]["battery"], 6);
    assert_eq!(last.sequence(), 3);

    assert_eq!(daemon.delete(&path).status(), 204);
    send_reports(&daemon, "truck-1", 7..=7);
    other.wait_for_delivered(6);
    assert_eq!(receiver.count(), 3);
}

fn failed_messages_are_sent_again_on_request(database: &Database) {
    // The endpoint works; it rejects these messages.
    let receiver = Receiver::start(|nth| [422, 200][usize::from(nth >= 4)]);
    let daemon = start_daemon(database, &[r#"webhooks.retry_schedule=["0s"]"#]);
    let path = create_endpoint(&daemon, &receiver, &json!({ "events": ["battery"] }));
    send_reports(&daemon, "truck", 1..=4);
    let failed = wait_for_messages(&daemon, &path, "failed", 4);
    for message in &failed {
        assert_eq!(
            [
                &message["attempts"],
                &message["responseStatus"],
                &message["error"]
            ],
            [&json!(1), &json!(422), &json!("answered 422")]
        );
    }
    // Retries the second message only.
    let id = failed[2]["id"].as_str().unwrap();
    let retry = daemon.post(&format!("{path}/messages/{id}/retry"), &json!({}));
    assert_eq!(retry.status(), 202);
    let delivered = receiver.wait_for_delivered(1).pop().unwrap();
    assert_eq!((&*delivered.id, delivered.sequence()), (id, 2));
    // A delivered message can be sent again, too.
    wait_for_messages(&daemon, &path, "delivered", 1);
    let retry = daemon.post(&format!("{path}/messages/{id}/retry"), &json!({}));
    assert_eq!(retry.status(), 202);
    let again = receiver.wait_for_delivered(2).pop().unwrap();
    assert_eq!((&again.id, &again.raw), (&delivered.id, &delivered.raw));

    let since = failed[3]["finishedAt"].as_str().unwrap();
    let retry = daemon.post(&format!("{path}/retry-failed?since={since}"), &json!({}));
    let retried: Value = retry.json().unwrap();
    assert_eq!(retried, json!({ "retried": 3 }));
    let order: Vec<_> = receiver.wait_for_delivered(5)[2..]
        .iter()
        .map(crate::support::Received::sequence)
        .collect();
    assert_eq!(order, [1, 3, 4]);
    wait_for_messages(&daemon, &path, "failed", 0);
}

fn an_endpoint_that_answers_410_is_disabled_until_enabled_again(database: &Database) {
    let receiver = Receiver::start(|nth| [410, 200][nth.min(1)]);
    let daemon = start_daemon(database, &[]);
    let path = create_endpoint(&daemon, &receiver, &json!({ "events": ["battery"] }));
    send_reports(&daemon, "truck", 1..=1);
    let disabled = wait_until("the endpoint is disabled", || {
        Some(daemon.json(&path)).filter(|it| it["enabled"] == false)
    });
    assert_eq!(disabled["disabledReason"], "gone");
    assert_eq!(disabled["pending"], 1);
    daemon.logged_with("reason", "gone");
    send_reports(&daemon, "truck", 2..=2);
    assert_eq!(
        daemon.patch(&path, &json!({ "enabled": true })).status(),
        200
    );
    send_reports(&daemon, "truck", 3..=3);
    let batteries: Vec<_> = receiver
        .wait_for_delivered(2)
        .iter()
        .map(|it| it.body["data"]["vehicle"]["battery"].clone())
        .collect();
    assert_eq!(batteries, [1, 3]);
}

#[test]
fn an_endpoint_that_failed_for_five_days_is_disabled() {
    let receiver = Receiver::start(|nth| [500, 503, 200][nth.min(2)]);
    let daemon = start_daemon(
        &Database::File,
        &[r#"webhooks.retry_schedule=["0s", "20ms", "20ms"]"#],
    );
    let path = create_endpoint(&daemon, &receiver, &json!({ "events": ["battery"] }));
    // Failing for an hour less than five days.
    let almost = "UPDATE webhook_endpoints SET failing_since = \
        CAST(strftime('%s', 'now') AS INTEGER) * 1000 - 119 * 3600 * 1000";
    change(&daemon.database_url(), almost);
    send_reports(&daemon, "truck", 1..=1);
    receiver.wait_for("an attempt fails", |received| received.len() == 1);
    let failing = wait_until("the failure is recorded", || {
        Some(daemon.json(&path)).filter(|it| it["failures"] == 1)
    });
    assert_eq!(failing["enabled"], true);
    assert_eq!(failing["lastError"], "answered 500");
    // Failing for five days.
    let over = "UPDATE webhook_endpoints SET failing_since = failing_since - 3600000";
    change(&daemon.database_url(), over);
    let disabled = wait_until("the endpoint is disabled", || {
        Some(daemon.json(&path)).filter(|it| it["enabled"] == false)
    });
    assert_eq!(disabled["disabledReason"], "failing");
    assert_eq!(disabled["lastError"], "answered 503");
    daemon.logged_with("reason", "failing");
    assert_eq!(receiver.count(), 2);
}

#[test]
fn retry_after_pauses_an_endpoint() {
    let receiver = Receiver::start(|_| Reaction::Busy(3600));
    let daemon = start_daemon(
        &Database::File,
        &[r#"webhooks.retry_schedule=["0s", "20ms"]"#],
    );
    let path = create_endpoint(&daemon, &receiver, &json!({ "events": ["battery"] }));
    send_reports(&daemon, "truck", 1..=1);
    let paused = wait_until("the endpoint is paused", || {
        Some(daemon.json(&path)).filter(|it| it["pausedUntil"].is_string())
    });
    let at = |time: &Value| -> jiff::Timestamp { time.as_str().unwrap().parse().unwrap() };
    let lasts = at(&paused["pausedUntil"]).duration_since(at(&paused["failingSince"]));
    assert_eq!(lasts.as_secs(), 3600);
    // Messages of other vehicles are held back, too.
    send_reports(&daemon, "other", 1..=1);
    assert_eq!(daemon.json(&path)["pending"], 2);
    assert_eq!(receiver.count(), 1);
}

fn an_endpoint_created_on_one_instance_gets_events_of_all(database: &Database) {
    let receiver = Receiver::start(|_| 200);
    let cluster = Cluster::start_with(database, 2, &ALLOW_TEST_RECEIVERS);
    // Both instances have cached that there is no endpoint.
    for instance in 0..2 {
        cluster.log_in_at(instance, "before");
    }
    let path = create_endpoint(
        cluster.instance(0),
        &receiver,
        &json!({ "events": ["online"] }),
    );
    for instance in 0..2 {
        let id = format!("truck-{instance}");
        let _device = cluster.log_in_at(instance, &id);
        let delivered = receiver.wait_for_delivered(instance + 1);
        assert!(delivered.iter().any(|message| message.device_id() == id));
    }
    assert_eq!(cluster.instance(1).delete(&path).status(), 204);
    for instance in 0..2 {
        cluster.log_in_at(instance, &format!("late-{instance}"));
    }
    let kept = cluster.query("SELECT id FROM webhook_messages WHERE device_id LIKE 'late%'");
    assert_eq!(kept, Vec::<String>::new());
}
