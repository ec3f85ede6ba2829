//! What happens is told to the endpoints of the settings.

use std::collections::BTreeMap;

use serde_json::json;

use crate::support::{Daemon, Database, Received, Receiver, on_every_database, wait_until};

on_every_database! {
    what_becomes_of_a_vehicle_is_told_in_order_and_signed,
    a_message_that_fails_is_sent_again_under_its_id_and_before_the_next_of_its_vehicle,
    nothing_is_lost_or_invented_when_the_gateway_is_killed_over_deliveries,
}

fn report(battery: usize) -> String {
    format!("REPORT. I'M HERE 1 2, RUNNING AND CHARGED AT {battery}%.\n")
}

fn what_becomes_of_a_vehicle_is_told_in_order_and_signed(database: &Database) {
    let receiver = Receiver::start(|_| 200);
    let daemon = Daemon::on(database).set(&receiver.setting(&[])).start();
    let mut device = daemon.log_in("truck");
    device.say(&report(3));
    device.expect("OK, THANKS!");
    // Changes nothing, and tells nothing.
    device.say(&report(3));
    device.expect("OK, THANKS!");
    device.say("WTF! 3\nabc\n");
    device.expect("DAAAMN! ISSUE REPORTED ON JIRA");
    let asked = daemon.ask("truck/turnOff", &json!({}));
    device.expect("HEY YOU, REST!");
    device.say("DONE!\n");
    assert_eq!(asked.answer().told(), (200, "done"));
    device.say("GOTTA GO.\n");
    device.expect("SEE YA!");

    let messages = receiver.delivered(6);
    let told: Vec<_> = messages
        .iter()
        .map(|it| (it.sequence(), it.kind()))
        .collect();
    assert_eq!(
        told,
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
    assert_eq!(data(5)["vehicle"], daemon.offline("truck"));
}

fn a_message_that_fails_is_sent_again_under_its_id_and_before_the_next_of_its_vehicle(
    database: &Database,
) {
    // Every second attempt fails, in one way or another.
    let receiver = Receiver::start(|nth| [500, 200, 0, 200, 404, 200, 302, 200][nth % 8]);
    let schedule = r#"["0s", "20ms", "20ms", "20ms", "20ms", "20ms", "20ms", "20ms"]"#;
    let daemon = Daemon::on(database)
        .set(&receiver.setting(&["battery"]))
        .set(&format!("webhooks.retry_schedule={schedule}"))
        .start();
    let mut device = daemon.log_in("truck");
    for battery in 1..=8 {
        device.say(&report(battery));
        device.expect("OK, THANKS!");
    }
    let delivered = receiver.delivered(8);
    let batteries = delivered
        .iter()
        .map(|it| &it.body["data"]["vehicle"]["battery"]);
    assert!(batteries.eq(&[1, 2, 3, 4, 5, 6, 7, 8].map(serde_json::Value::from)));
    assert!(delivered.iter().map(Received::sequence).eq(1..=8));
    let messages = receiver.received();
    assert!(messages.iter().any(|message| message.status == 500));
    for failed in messages.iter().filter(|message| message.status != 200) {
        let again = messages.iter().filter(|message| message.id == failed.id);
        assert!(again.clone().count() > 1, "{failed:?}");
        assert!(again.clone().all(|message| message.body == failed.body));
    }
}

fn nothing_is_lost_or_invented_when_the_gateway_is_killed_over_deliveries(database: &Database) {
    const ROUNDS: usize = 3;
    let receiver = Receiver::start(|_| 200);
    let mut daemon = Daemon::on(database)
        .set(&receiver.setting(&["battery"]))
        .set("webhooks.timeout=500ms")
        .start();
    let mut reports = 0;
    for round in 1..=ROUNDS {
        let mut device = daemon.log_in("truck");
        for _ in 0..10 {
            reports += 1;
            device.say(&report(reports));
            device.expect("OK, THANKS!");
        }
        // Somewhere between the first and the last of what there is to send.
        receiver.delivered(10 * (round - 1) + round);
        daemon = daemon.kill_and_restart();
    }
    // What was on its way when the gateway died is claimed until its time is over.
    drop(daemon.log_in("truck"));
    let expected = reports;
    wait_for(&receiver, expected);
    let messages = receiver.received();
    let mut by_sequence: BTreeMap<i64, &Received> = BTreeMap::new();
    let mut newest = 0;
    for message in &messages {
        let known = by_sequence.entry(message.sequence()).or_insert_with(|| {
            // The first delivery of each is in order.
            assert_eq!(message.sequence(), newest + 1);
            newest += 1;
            message
        });
        assert_eq!((&known.id, &known.body), (&message.id, &message.body));
    }
    for (sequence, message) in by_sequence {
        assert_eq!(message.body["data"]["vehicle"]["battery"], sequence);
    }
}

/// Waits until every sequence has come. A claim of a gateway that died lasts some time.
fn wait_for(receiver: &Receiver, sequences: usize) {
    let has_all = || {
        let messages = receiver.received();
        let highest = messages.iter().map(Received::sequence).max();
        (highest >= Some(i64::try_from(sequences).unwrap())).then_some(())
    };
    wait_until("every change is told", has_all);
}
