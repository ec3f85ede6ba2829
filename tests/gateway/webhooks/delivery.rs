//! Which events of a vehicle are delivered, and in which order, whatever the receiver does.

use serde_json::json;

use super::{ALLOW_TEST_RECEIVERS, create_endpoint};
use crate::support::{Daemon, Database, Reaction, Received, Receiver, on_every_database, report};

on_every_database! {
    the_events_of_a_vehicle_are_delivered_in_order_and_signed,
    a_failed_message_is_retried_unchanged_before_the_next_one,
    pending_changes_are_coalesced_on_request,
    a_deletion_does_not_overtake_a_message_in_flight,
}

fn the_events_of_a_vehicle_are_delivered_in_order_and_signed(database: &Database) {
    let receiver = Receiver::start(|_| 200);
    let daemon = Daemon::on(database).set(&receiver.setting(&[])).start();
    let mut device = daemon.log_in("truck");
    device.say(&report(3));
    device.expect("OK, THANKS!");
    // No change, so no message.
    device.say(&report(3));
    device.expect("OK, THANKS!");
    device.say("WTF! 3\nabc\n");
    device.expect("DAAAMN! ISSUE REPORTED ON JIRA");
    let pending = daemon.start_command("truck/turnOff", &json!({}));
    device.expect("HEY YOU, REST!");
    device.say("DONE!\n");
    assert_eq!(pending.response().outcome(), (200, "done"));
    device.say("GOTTA GO.\n");
    device.expect("SEE YA!");

    let messages = receiver.wait_for_delivered(6);
    let summaries: Vec<_> = messages
        .iter()
        .map(|it| (it.sequence(), it.kind()))
        .collect();
    assert_eq!(
        summaries,
        [
            (1, "vehicle.online"),
            (2, "vehicle.updated"),
            (3, "vehicle.debug_blob"),
            (4, "vehicle.updated"),
            (5, "vehicle.command"),
            (6, "vehicle.offline"),
        ]
    );
    let data = |index: usize| &messages[index].body["data"];
    let everything = json!(["position", "battery", "running"]);
    assert_eq!(data(1)["changed"], everything);
    assert_eq!(data(2)["blob"]["content"], "YWJj");
    assert_eq!(data(3)["changed"], json!(["running"]));
    assert_eq!(data(4)["command"]["status"], "done");
    assert_eq!(data(5)["reason"], "goodbye");
    assert_eq!(data(5)["vehicle"], daemon.wait_until_offline("truck"));
}

fn a_failed_message_is_retried_unchanged_before_the_next_one(database: &Database) {
    use Reaction::{Answer, AnswerSlowly, Reset, Silence};
    // Every second attempt fails, in one way or another.
    const FAILURES: [Reaction; 8] = [
        Answer(500),
        Reset,
        Answer(404),
        Answer(302),
        Silence,
        AnswerSlowly(503),
        Answer(429),
        AnswerSlowly(400),
    ];
    let receiver = Receiver::start(|nth| match nth % 4 {
        1 => Answer(200),
        3 => AnswerSlowly(200),
        _ => FAILURES[nth / 2 % FAILURES.len()],
    });
    let schedule = r#"["0s", "20ms", "20ms"]"#;
    let daemon = Daemon::on(database)
        .set(&receiver.setting(&["battery"]))
        .set("webhooks.timeout=500ms")
        .set(&format!("webhooks.retry_schedule={schedule}"))
        .start();
    let mut device = daemon.log_in("truck");
    for battery in 1..=8 {
        device.say(&report(battery));
        device.expect("OK, THANKS!");
    }
    let delivered = receiver.wait_for_delivered(8);
    let batteries = delivered
        .iter()
        .map(|it| &it.body["data"]["vehicle"]["battery"]);
    assert!(batteries.eq(&[1, 2, 3, 4, 5, 6, 7, 8].map(serde_json::Value::from)));
    assert!(delivered.iter().map(Received::sequence).eq(1..=8));
    // Each was sent twice, unchanged.
    let attempts = receiver.received();
    assert_eq!(attempts.len(), 16);
    for pair in attempts.chunks(2) {
        assert!(!pair[0].is_delivered() && pair[1].is_delivered());
        assert_eq!((&pair[0].id, &pair[0].raw), (&pair[1].id, &pair[1].raw));
    }
}

fn pending_changes_are_coalesced_on_request(database: &Database) {
    let receiver = Receiver::start(|nth| [Reaction::Silence, Reaction::Answer(200)][nth.min(1)]);
    let daemon = Daemon::on(database)
        .set(ALLOW_TEST_RECEIVERS[0])
        .set(ALLOW_TEST_RECEIVERS[1])
        .set("webhooks.timeout=1s")
        .set(r#"webhooks.retry_schedule=["0s", "20ms"]"#)
        .start();
    let events = json!(["online", "position", "battery"]);
    create_endpoint(
        &daemon,
        &receiver,
        &json!({ "events": events, "coalesce": true }),
    );
    let mut device = daemon.log_in("truck");
    receiver.wait_for("the login is in flight", |received| received.len() == 1);
    for battery in 1..=5 {
        device.say(&report(battery));
        device.expect("OK, THANKS!");
    }
    let delivered = receiver.wait_for_delivered(2);
    let summaries: Vec<_> = delivered
        .iter()
        .map(|it| (it.sequence(), it.kind()))
        .collect();
    assert_eq!(summaries, [(1, "vehicle.online"), (2, "vehicle.updated")]);
    let data = &delivered[1].body["data"];
    // All fields that changed meanwhile.
    assert_eq!(data["changed"], json!(["position", "battery"]));
    assert_eq!(data["vehicle"]["battery"], 5);
    device.say(&report(6));
    device.expect("OK, THANKS!");
    let last = receiver.wait_for_delivered(3).pop().unwrap();
    assert_eq!(last.sequence(), 3);
    assert_eq!(last.body["data"]["changed"], json!(["battery"]));
}

fn a_deletion_does_not_overtake_a_message_in_flight(database: &Database) {
    let receiver = Receiver::start(|nth| [Reaction::Silence, Reaction::Answer(200)][nth.min(1)]);
    let daemon = Daemon::on(database)
        .set(&receiver.setting(&["online", "offline"]))
        .set("webhooks.timeout=2s")
        .set(r#"webhooks.retry_schedule=["0s", "20ms"]"#)
        .start();
    let _deleted = daemon.log_in("truck");
    receiver.wait_for("the login is in flight", |received| received.len() == 1);
    assert_eq!(daemon.delete("/vehicles/truck").status(), 204);
    // Events after the deletion are delivered.
    let _other = daemon.log_in("other");
    let of_other = &receiver.wait_for_delivered(1)[0];
    assert_eq!(of_other.device_id(), "other");
    assert_eq!(receiver.count(), 2);
    // Then the deletion is delivered, and the pending messages of the vehicle are not.
    let last = receiver.wait_for_delivered(2).pop().unwrap();
    assert_eq!((last.sequence(), last.kind()), (2, "vehicle.offline"));
    assert_eq!(last.body["data"]["reason"], "deleted");
    // Dropped messages do not block the vehicle.
    let mut back = daemon.log_in("truck");
    back.say("GOTTA GO.");
    let delivered = receiver.wait_for_delivered(4);
    let sequences = delivered.iter().filter(|it| it.device_id() == "truck");
    assert!(sequences.map(Received::sequence).eq(2..=4));
}
