//! What a caller learns of one command, and what is recorded of it.

use std::{
    io::Write,
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{ASK, Daemon, Database, Dialect, FINE, REST, RUN, Vehicle, on_every_database};

on_every_database! {
    a_done_command_returns_the_reply_and_updates_the_vehicle,
    a_refused_command_is_a_conflict_and_changes_nothing,
    a_command_for_an_unknown_or_offline_vehicle_is_not_recorded,
    a_command_beyond_the_queue_limit_is_rejected_and_not_recorded,
    a_late_reply_is_recorded_for_the_command_that_timed_out,
    a_command_that_expires_before_its_turn_is_never_sent,
    a_disconnect_before_the_reply_is_a_conflict,
}

fn timeout(seconds: u64) -> Value {
    json!({ "timeoutSeconds": seconds })
}

fn a_done_command_returns_the_reply_and_updates_the_vehicle(database: &Database) {
    for dialect in Dialect::BOTH {
        let daemon = Daemon::on(database).start();
        let mut vehicle = Vehicle::log_in(&daemon, "truck", dialect);
        for (path, body, sentence, running) in [
            ("truck/turnOn", json!({}), RUN, true),
            ("truck/turnOff", json!({}), REST, false),
            ("truck/turnOnOrOff", json!({"running": true}), RUN, true),
            ("truck/command", json!({"message": REST}), REST, false),
        ] {
            let pending = daemon.start_command(path, &body);
            vehicle.expect_command(sentence);
            vehicle.reply("DONE!");
            let answer = pending.response();
            assert_eq!(answer.outcome(), (200, "done"), "{path}");
            assert_eq!(answer.body["success"], true);
            assert_eq!(answer.body["reply"], "DONE!");
            assert_eq!(daemon.vehicle("truck")["running"], running);
            let command = daemon.command_record("truck", answer.command_id());
            assert_eq!(command["message"], sentence);
            assert_eq!(command["origin"], "api");
            assert!(command["createdAt"].as_str() <= command["sentAt"].as_str());
            assert!(command["sentAt"].as_str() <= command["finishedAt"].as_str());
        }
        // A reply gets no reply.
        vehicle.expect_nothing_more();
    }
}

fn a_refused_command_is_a_conflict_and_changes_nothing(database: &Database) {
    for dialect in Dialect::BOTH {
        let daemon = Daemon::on(database).start();
        let mut vehicle = Vehicle::log_in(&daemon, "truck", dialect);
        let pending = daemon.start_command("truck/turnOn", &json!({}));
        vehicle.expect_command(RUN);
        vehicle.reply("I CAN'T, SORRY.");
        let answer = pending.response();
        assert_eq!(answer.outcome(), (409, "vehicle-refused"));
        assert_eq!(answer.body["reply"], "I CAN'T, SORRY.");
        assert_eq!(daemon.vehicle("truck")["running"], Value::Null);
        let command = daemon.command_record("truck", answer.command_id());
        assert_eq!(command["status"], "refused");
        assert_eq!(command["reply"], "I CAN'T, SORRY.");
    }
}

fn a_command_for_an_unknown_or_offline_vehicle_is_not_recorded(database: &Database) {
    for dialect in Dialect::BOTH {
        let daemon = Daemon::on(database).start();
        let unknown = daemon.send_command("truck/turnOn", &json!({}));
        assert_eq!(unknown.outcome(), (404, "unknown-vehicle"));
        drop(Vehicle::log_in(&daemon, "truck", dialect));
        daemon.wait_until_offline("truck");
        let offline = daemon.send_command("truck/turnOn", &json!({}));
        assert_eq!(offline.outcome(), (409, "vehicle-offline"));
        assert_eq!(daemon.command_states("truck"), [""; 0]);
    }
}

fn a_command_beyond_the_queue_limit_is_rejected_and_not_recorded(database: &Database) {
    for dialect in Dialect::BOTH {
        let daemon = Daemon::on(database).set("commands.queue=1").start();
        let mut vehicle = Vehicle::log_in(&daemon, "truck", dialect);
        let first = daemon.start_command("truck/turnOn", &json!({}));
        vehicle.expect_command(RUN);
        let second = daemon.start_command("truck/turnOff", &json!({}));
        daemon.wait_for_command_states("truck", &["sent", "created"]);
        let third = daemon.send_command("truck/turnOn", &json!({}));
        assert_eq!(third.outcome(), (429, "too-many-commands"));
        assert_eq!(daemon.command_states("truck"), ["sent", "created"]);
        vehicle.reply("DONE!");
        vehicle.expect_command(REST);
        vehicle.reply("DONE!");
        assert_eq!(first.response().status, 200);
        assert_eq!(second.response().status, 200);
    }
}

fn a_late_reply_is_recorded_for_the_command_that_timed_out(database: &Database) {
    for dialect in Dialect::BOTH {
        let daemon = Daemon::on(database).start();
        let mut vehicle = Vehicle::log_in(&daemon, "truck", dialect);
        let silent = daemon.start_command("truck/turnOn", &timeout(1));
        vehicle.expect_command(RUN);
        let silent = silent.response();
        assert_eq!(silent.outcome(), (504, "vehicle-no-answer"));
        // A command for the same reply slot waits for the late reply; others do not.
        let next = daemon.start_command("truck/turnOff", &json!({}));
        daemon.wait_for_command_states("truck", &["no-answer", "created"]);
        let other = daemon.start_command("truck/command", &json!({ "message": ASK }));
        vehicle.expect_command(ASK);
        vehicle.reply(FINE);
        assert_eq!(other.response().status, 200);
        vehicle.reply("DONE!");
        vehicle.expect_command(REST);
        assert_eq!(daemon.vehicle("truck")["running"], true);
        vehicle.reply("I CAN'T, SORRY.");
        assert_eq!(next.response().outcome(), (409, "vehicle-refused"));
        let late = daemon.command_record("truck", silent.command_id());
        assert_eq!(
            [&late["status"], &late["reply"], &late["lateReply"]],
            [&json!("no-answer"), &Value::Null, &json!("DONE!")]
        );
    }
}

fn a_command_that_expires_before_its_turn_is_never_sent(database: &Database) {
    for dialect in Dialect::BOTH {
        let daemon = Daemon::on(database).start();
        let mut vehicle = Vehicle::log_in(&daemon, "truck", dialect);
        let first = daemon.start_command("truck/turnOn", &json!({}));
        vehicle.expect_command(RUN);
        let expired = daemon.send_command("truck/turnOff", &timeout(1));
        assert_eq!(expired.outcome(), (504, "command-expired"));
        vehicle.reply("DONE!");
        assert_eq!(first.response().status, 200);
        vehicle.expect_nothing_more();
        assert_eq!(daemon.command_states("truck"), ["done", "expired"]);
        assert_eq!(
            daemon.command_record("truck", expired.command_id())["sentAt"],
            Value::Null
        );
    }
}

fn a_disconnect_before_the_reply_is_a_conflict(database: &Database) {
    for dialect in Dialect::BOTH {
        let daemon = Daemon::on(database).start();
        let mut vehicle = Vehicle::log_in(&daemon, "truck", dialect);
        let pending = daemon.start_command("truck/turnOn", &json!({}));
        let waiting = daemon.start_command("truck/turnOff", &json!({}));
        vehicle.device.line();
        daemon.wait_for_command_states("truck", &["sent", "created"]);
        drop(vehicle);
        let mut outcomes =
            [pending.response(), waiting.response()].map(|answer| answer.outcome().1.to_owned());
        outcomes.sort();
        assert_eq!(outcomes, ["vehicle-disconnected", "vehicle-offline"]);
        assert_eq!(
            daemon.command_states("truck"),
            ["disconnected", "cancelled"]
        );
    }
}

#[test]
fn a_reply_before_its_command_does_not_count() {
    let daemon = Daemon::start();
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    vehicle.reply("DONE!");
    vehicle.expect_nothing_more();
    let pending = daemon.start_command("truck/turnOn", &timeout(1));
    vehicle.expect_command(RUN);
    // Replies of other kinds.
    vehicle.reply("SURE, I WILL!");
    vehicle.reply("SEE YA!");
    assert_eq!(pending.response().outcome(), (504, "vehicle-no-answer"));
}

#[test]
fn two_commands_are_sent_some_time_apart() {
    let daemon = Daemon::start();
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Json);
    let pending = [
        daemon.start_command("truck/command", &json!({ "message": ASK })),
        daemon.start_command("truck/turnOn", &json!({})),
    ];
    vehicle.device.line();
    let first = Instant::now();
    vehicle.device.line();
    // Written 20 ms apart; reading may have begun late.
    assert!(first.elapsed() > Duration::from_millis(10));
    vehicle.reply(FINE);
    vehicle.reply("DONE!");
    for pending in pending {
        assert_eq!(pending.response().status, 200);
    }
}

#[test]
fn a_caller_that_hangs_up_does_not_cancel_the_command() {
    let daemon = Daemon::start();
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let mut caller = TcpStream::connect(daemon.http).unwrap();
    caller
        .write_all(b"POST /service/truck/turnOn HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    vehicle.expect_command(RUN);
    drop(caller);
    vehicle.reply("DONE!");
    daemon.wait_for_command_states("truck", &["done"]);
}

#[test]
fn a_command_timeout_may_exceed_the_request_timeout() {
    let daemon = Daemon::builder().set("http.request_timeout=500ms").start();
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let pending = daemon.start_command("truck/turnOn", &timeout(2));
    vehicle.expect_command(RUN);
    assert_eq!(pending.response().outcome(), (504, "vehicle-no-answer"));
}
