//! Commands: what an operator is told is what became of them.

use std::{
    io::Write,
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{Daemon, Database, Dialect, Lock, Vehicle, change, on_every_database};

const RUN: &str = "HEY YOU, RUN!";
const REST: &str = "HEY YOU, REST!";
const ASK: &str = "HOW'S IT GOING?";
const FINE: &str = "FINE. I'M HERE 43.5 11.25, RUNNING AND CHARGED AT 47%.";

fn timeout(seconds: u64) -> Value {
    json!({ "timeoutSeconds": seconds })
}

on_every_database! {
    a_done_command_returns_the_reply_and_updates_the_vehicle,
    a_refused_command_is_a_conflict_and_changes_nothing,
    a_command_for_an_unknown_or_offline_vehicle_is_not_recorded,
    a_command_beyond_the_queue_limit_is_rejected_and_not_recorded,
    a_late_reply_is_recorded_for_the_command_that_timed_out,
    a_new_login_ends_sent_commands_and_takes_over_waiting_ones,
    deleting_a_vehicle_ends_and_deletes_its_commands,
    a_repeated_key_returns_the_first_command_and_rejects_another_request,
    a_command_in_flight_at_a_kill_is_never_sent_again,
    fetch_info_asks_the_vehicle_and_stores_its_answer,
    a_command_that_expires_before_its_turn_is_never_sent,
    a_disconnect_before_the_reply_is_a_conflict,
    a_disconnect_says_goodbye_and_closes,
    a_disconnect_without_a_reply_closes_and_ends_other_commands,
    a_key_expires_after_a_day_and_with_the_deletion_of_its_vehicle,
    a_broadcast_asks_all_connected_vehicles_and_counts_outcomes,
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
            let asked = daemon.ask(path, &body);
            vehicle.hears(sentence);
            vehicle.answers("DONE!");
            let answer = asked.answer();
            assert_eq!(answer.told(), (200, "done"), "{path}");
            assert_eq!(answer.body["success"], true);
            assert_eq!(answer.body["reply"], "DONE!");
            assert_eq!(daemon.vehicle("truck")["running"], running);
            let command = daemon.command("truck", answer.command_id());
            assert_eq!(command["message"], sentence);
            assert_eq!(command["origin"], "api");
            assert!(command["createdAt"].as_str() <= command["sentAt"].as_str());
            assert!(command["sentAt"].as_str() <= command["finishedAt"].as_str());
        }
        // An answer is not answered.
        vehicle.hears_nothing();
    }
}

fn a_refused_command_is_a_conflict_and_changes_nothing(database: &Database) {
    for dialect in Dialect::BOTH {
        let daemon = Daemon::on(database).start();
        let mut vehicle = Vehicle::log_in(&daemon, "truck", dialect);
        let asked = daemon.ask("truck/turnOn", &json!({}));
        vehicle.hears(RUN);
        vehicle.answers("I CAN'T, SORRY.");
        let answer = asked.answer();
        assert_eq!(answer.told(), (409, "vehicle-refused"));
        assert_eq!(answer.body["reply"], "I CAN'T, SORRY.");
        assert_eq!(daemon.vehicle("truck")["running"], Value::Null);
        let command = daemon.command("truck", answer.command_id());
        assert_eq!(command["status"], "refused");
        assert_eq!(command["reply"], "I CAN'T, SORRY.");
    }
}

fn a_command_for_an_unknown_or_offline_vehicle_is_not_recorded(database: &Database) {
    for dialect in Dialect::BOTH {
        let daemon = Daemon::on(database).start();
        let unknown = daemon.operate("truck/turnOn", &json!({}));
        assert_eq!(unknown.told(), (404, "unknown-vehicle"));
        drop(Vehicle::log_in(&daemon, "truck", dialect));
        daemon.offline("truck");
        let offline = daemon.operate("truck/turnOn", &json!({}));
        assert_eq!(offline.told(), (409, "vehicle-offline"));
        assert_eq!(daemon.states("truck"), [""; 0]);
    }
}

fn a_command_beyond_the_queue_limit_is_rejected_and_not_recorded(database: &Database) {
    for dialect in Dialect::BOTH {
        let daemon = Daemon::on(database).set("commands.queue=1").start();
        let mut vehicle = Vehicle::log_in(&daemon, "truck", dialect);
        let first = daemon.ask("truck/turnOn", &json!({}));
        vehicle.hears(RUN);
        let second = daemon.ask("truck/turnOff", &json!({}));
        daemon.reaches("truck", &["sent", "created"]);
        let third = daemon.operate("truck/turnOn", &json!({}));
        assert_eq!(third.told(), (429, "too-many-commands"));
        assert_eq!(daemon.states("truck"), ["sent", "created"]);
        vehicle.answers("DONE!");
        vehicle.hears(REST);
        vehicle.answers("DONE!");
        assert_eq!(first.answer().status, 200);
        assert_eq!(second.answer().status, 200);
    }
}

fn a_late_reply_is_recorded_for_the_command_that_timed_out(database: &Database) {
    for dialect in Dialect::BOTH {
        let daemon = Daemon::on(database).start();
        let mut vehicle = Vehicle::log_in(&daemon, "truck", dialect);
        let silent = daemon.ask("truck/turnOn", &timeout(1));
        vehicle.hears(RUN);
        let silent = silent.answer();
        assert_eq!(silent.told(), (504, "vehicle-no-answer"));
        // Of its kind nothing is written before the late answer came; of others it is.
        let next = daemon.ask("truck/turnOff", &json!({}));
        daemon.reaches("truck", &["no-answer", "created"]);
        let other = daemon.ask("truck/command", &json!({ "message": ASK }));
        vehicle.hears(ASK);
        vehicle.answers(FINE);
        assert_eq!(other.answer().status, 200);
        vehicle.answers("DONE!");
        vehicle.hears(REST);
        assert_eq!(daemon.vehicle("truck")["running"], true);
        vehicle.answers("I CAN'T, SORRY.");
        assert_eq!(next.answer().told(), (409, "vehicle-refused"));
        let late = daemon.command("truck", silent.command_id());
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
        let first = daemon.ask("truck/turnOn", &json!({}));
        vehicle.hears(RUN);
        let expired = daemon.operate("truck/turnOff", &timeout(1));
        assert_eq!(expired.told(), (504, "command-expired"));
        vehicle.answers("DONE!");
        assert_eq!(first.answer().status, 200);
        vehicle.hears_nothing();
        assert_eq!(daemon.states("truck"), ["done", "expired"]);
        assert_eq!(
            daemon.command("truck", expired.command_id())["sentAt"],
            Value::Null
        );
    }
}

fn a_disconnect_before_the_reply_is_a_conflict(database: &Database) {
    for dialect in Dialect::BOTH {
        let daemon = Daemon::on(database).start();
        let mut vehicle = Vehicle::log_in(&daemon, "truck", dialect);
        let asked = daemon.ask("truck/turnOn", &json!({}));
        let waiting = daemon.ask("truck/turnOff", &json!({}));
        vehicle.device.line();
        daemon.reaches("truck", &["sent", "created"]);
        drop(vehicle);
        let mut told = [asked.answer(), waiting.answer()].map(|answer| answer.told().1.to_owned());
        told.sort();
        assert_eq!(told, ["vehicle-disconnected", "vehicle-offline"]);
        assert_eq!(daemon.states("truck"), ["disconnected", "cancelled"]);
    }
}

#[test]
fn a_reply_before_its_command_does_not_count() {
    let daemon = Daemon::start();
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    vehicle.answers("DONE!");
    vehicle.hears_nothing();
    let asked = daemon.ask("truck/turnOn", &timeout(1));
    vehicle.hears(RUN);
    // Of another kind.
    vehicle.answers("SURE, I WILL!");
    vehicle.answers("SEE YA!");
    assert_eq!(asked.answer().told(), (504, "vehicle-no-answer"));
}

fn fetch_info_asks_the_vehicle_and_stores_its_answer(database: &Database) {
    for dialect in Dialect::BOTH {
        let daemon = Daemon::on(database).start();
        let mut vehicle = Vehicle::log_in(&daemon, "truck", dialect);
        let answer = std::thread::scope(|scope| {
            let asked = scope.spawn(|| daemon.json("/service/truck/fetch-info"));
            vehicle.hears(ASK);
            vehicle.answers(FINE);
            asked.join().unwrap()
        });
        vehicle.hears_nothing();
        assert_eq!(answer["status"], "CONNECTED");
        assert_eq!(
            [&answer["latitude"], &answer["battery"]],
            [&json!(43.5), &json!(47)]
        );
        let reports = daemon.json("/vehicles/truck/reports");
        assert_eq!(reports["items"].as_array().unwrap().len(), 1);
        drop(vehicle);
        daemon.offline("truck");
        let known = daemon.json("/service/truck/fetch-info");
        assert_eq!(
            [&known["status"], &known["battery"]],
            [&json!("DISCONNECTED"), &json!(47)]
        );
        assert_eq!(daemon.get("/service/nobody/fetch-info").status(), 404);
    }
}

#[test]
fn fetch_info_without_an_answer_times_out() {
    let daemon = Daemon::start();
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let answer = daemon.get("/service/truck/fetch-info?timeoutSeconds=1");
    assert_eq!(answer.status(), 504);
    vehicle.hears(ASK);
}

fn a_disconnect_says_goodbye_and_closes(database: &Database) {
    for dialect in Dialect::BOTH {
        let daemon = Daemon::on(database).start();
        let mut vehicle = Vehicle::log_in(&daemon, "truck", dialect);
        let asked = daemon.ask("truck/disconnect", &json!({}));
        vehicle.hears("GOTTA GO.");
        vehicle.answers("SEE YA!");
        vehicle.device.expect_closed();
        let answer = asked.answer();
        assert_eq!(
            (answer.status, &answer.body["reply"]),
            (200, &json!("SEE YA!"))
        );
        assert_eq!(daemon.offline("truck")["disconnectReason"], "operator");
    }
}

fn a_disconnect_without_a_reply_closes_and_ends_other_commands(database: &Database) {
    let daemon = Daemon::on(database).start();
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let turned_on = daemon.ask("truck/turnOn", &json!({}));
    vehicle.hears(RUN);
    let asked = daemon.ask("truck/disconnect", &json!({}));
    vehicle.hears("GOTTA GO.");
    let behind = daemon.ask("truck/command", &json!({ "message": ASK }));
    vehicle.device.expect_closed();
    assert_eq!(asked.answer().told(), (504, "vehicle-no-answer"));
    assert_eq!(daemon.offline("truck")["disconnectReason"], "operator");
    assert_eq!(turned_on.answer().told(), (409, "vehicle-disconnected"));
    // Refused at once, and not kept for the end of the goodbye.
    assert_eq!(behind.answer().told(), (409, "vehicle-offline"));
    assert_eq!(daemon.states("truck"), ["disconnected", "no-answer"]);
}

#[test]
fn two_commands_are_sent_some_time_apart() {
    let daemon = Daemon::start();
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Json);
    let asked = [
        daemon.ask("truck/command", &json!({ "message": ASK })),
        daemon.ask("truck/turnOn", &json!({})),
    ];
    vehicle.device.line();
    let first = Instant::now();
    vehicle.device.line();
    // Written 20 ms apart; reading may have begun late.
    assert!(first.elapsed() > Duration::from_millis(10));
    vehicle.answers(FINE);
    vehicle.answers("DONE!");
    for asked in asked {
        assert_eq!(asked.answer().status, 200);
    }
}

fn a_new_login_ends_sent_commands_and_takes_over_waiting_ones(database: &Database) {
    let daemon = Daemon::on(database).start();
    let mut old = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let asked = daemon.ask("truck/turnOn", &json!({}));
    old.hears(RUN);
    let waiting = daemon.ask("truck/turnOff", &json!({}));
    daemon.reaches("truck", &["sent", "created"]);
    let mut new = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    new.hears(REST);
    new.answers("DONE!");
    assert_eq!(asked.answer().told(), (409, "vehicle-disconnected"));
    assert_eq!(waiting.answer().told(), (200, "done"));
    assert_eq!(daemon.states("truck"), ["disconnected", "done"]);
}

fn deleting_a_vehicle_ends_and_deletes_its_commands(database: &Database) {
    let daemon = Daemon::on(database).start();
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let asked = daemon.ask("truck/turnOn", &json!({}));
    vehicle.hears(RUN);
    let waiting = daemon.ask("truck/turnOff", &json!({}));
    daemon.reaches("truck", &["sent", "created"]);
    assert_eq!(daemon.delete("/vehicles/truck").status(), 204);
    assert_eq!(asked.answer().told(), (409, "vehicle-disconnected"));
    assert_eq!(waiting.answer().status, 409);
    Vehicle::log_in(&daemon, "truck", Dialect::Text);
    assert_eq!(daemon.states("truck"), [""; 0]);
}

#[test]
fn a_caller_that_hangs_up_does_not_cancel_the_command() {
    let daemon = Daemon::start();
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let mut caller = TcpStream::connect(daemon.http).unwrap();
    caller
        .write_all(b"POST /service/truck/turnOn HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    vehicle.hears(RUN);
    drop(caller);
    vehicle.answers("DONE!");
    daemon.reaches("truck", &["done"]);
}

fn a_repeated_key_returns_the_first_command_and_rejects_another_request(database: &Database) {
    let daemon = Daemon::on(database).start();
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let on = |key| daemon.ask_as("truck/turnOn", &json!({}), Some(key));
    let first = on("k1");
    vehicle.hears(RUN);
    // While it is under way a repeat waits for it.
    let meanwhile = on("k1");
    let other = daemon.ask_as("truck/turnOff", &json!({}), Some("k1"));
    assert_eq!(other.answer().told(), (422, "idempotency-key-reused"));
    vehicle.answers("DONE!");
    let first = first.answer();
    assert_eq!(first.status, 200);
    for repeat in [meanwhile, on("k1")] {
        let repeat = repeat.answer();
        assert_eq!(
            (repeat.status, repeat.command_id()),
            (200, first.command_id())
        );
    }
    vehicle.hears_nothing();
    let another = on("k2");
    vehicle.hears(RUN);
    vehicle.answers("DONE!");
    assert_ne!(another.answer().command_id(), first.command_id());
    assert_eq!(daemon.states("truck"), ["done", "done"]);
}

fn a_key_expires_after_a_day_and_with_the_deletion_of_its_vehicle(database: &Database) {
    let daemon = Daemon::on(database).start();
    let on = || daemon.ask_as("truck/turnOn", &json!({}), Some("k1"));
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    for _ in 0..2 {
        let asked = on();
        vehicle.hears(RUN);
        vehicle.answers("DONE!");
        assert_eq!(asked.answer().status, 200);
        change(
            &daemon.database_url(),
            "UPDATE idempotency_keys SET created_at = created_at - 86400000",
        );
    }
    assert_eq!(daemon.delete("/vehicles/truck").status(), 204);
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let asked = on();
    vehicle.hears(RUN);
    vehicle.answers("DONE!");
    assert_eq!(asked.answer().status, 200);
}

fn a_broadcast_asks_all_connected_vehicles_and_counts_outcomes(database: &Database) {
    let daemon = Daemon::on(database).start();
    drop(Vehicle::log_in(&daemon, "gone", Dialect::Text));
    daemon.offline("gone");
    let mut vehicles: Vec<Vehicle> = ["done", "refused", "silent", "leaving"]
        .into_iter()
        .zip(Dialect::BOTH.into_iter().cycle())
        .map(|(id, dialect)| Vehicle::log_in(&daemon, id, dialect))
        .collect();
    let body = json!({ "message": RUN, "timeoutSeconds": 2 });
    let asked = daemon.ask("broadcast", &body);
    for vehicle in &mut vehicles {
        vehicle.hears(RUN);
    }
    let meanwhile = daemon.operate("broadcast", &body);
    assert_eq!(meanwhile.told(), (429, "broadcast-under-way"));
    vehicles[0].answers("DONE!");
    vehicles[1].answers("I CAN'T, SORRY.");
    vehicles.pop();
    let answer = asked.answer();
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.body,
        json!({
            "addressed": 4, "done": 1, "refused": 1, "silent": 1, "disconnected": 1, "unsent": 0,
            "unreachableInstances": 0,
        })
    );
    let log = daemon.json("/vehicles/done/commands");
    assert_eq!(log["items"][0]["origin"], "broadcast");
}

fn a_command_in_flight_at_a_kill_is_never_sent_again(database: &Database) {
    let builder = Daemon::on(database).set("commands.timeout=2s");
    let daemon = builder.start();
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let ask = |path: &str| {
        let mut caller = TcpStream::connect(daemon.http).unwrap();
        write!(caller, "POST /service/{path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        caller
    };
    let _first = ask("truck/turnOn");
    vehicle.hears(RUN);
    let _second = ask("truck/turnOff");
    daemon.reaches("truck", &["sent", "created"]);
    let daemon = daemon.kill_and_restart();
    // On a server another instance may be about what is not sent, until its time is over.
    let ends = match database {
        Database::File => ["disconnected", "cancelled"],
        Database::Server(_) => ["disconnected", "expired"],
    };
    daemon.reaches("truck", &ends);
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    vehicle.answers("DONE!");
    vehicle.hears_nothing();
    assert_eq!(daemon.states("truck"), ends);
}

#[test]
fn a_shutdown_ends_open_commands_and_answers_their_callers() {
    let mut daemon = Daemon::builder().set("shutdown.grace=4s").start();
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let asked = daemon.ask("truck/turnOn", &json!({}));
    vehicle.hears(RUN);
    daemon.signal("TERM");
    vehicle.hears("GOTTA GO.");
    vehicle.answers("SEE YA!");
    vehicle.device.expect_closed();
    assert_eq!(asked.answer().told(), (409, "vehicle-disconnected"));
    assert!(daemon.wait().success());
    assert_eq!(daemon.query("SELECT state FROM commands"), ["disconnected"]);
}

#[test]
fn a_shutdown_waits_for_replies_before_the_goodbye() {
    let mut daemon = Daemon::builder().set("shutdown.grace=1m").start();
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let asked = daemon.ask("truck/turnOn", &json!({}));
    vehicle.hears(RUN);
    daemon.signal("TERM");
    daemon.logged("stopping: no new connections, finishing what is in flight");
    vehicle.answers("DONE!");
    vehicle.hears("GOTTA GO.");
    vehicle.answers("SEE YA!");
    assert_eq!(asked.answer().told(), (200, "done"));
    assert!(daemon.wait().success());
}

#[test]
fn a_command_that_was_not_stored_is_not_sent_later() {
    let daemon = Daemon::builder().set("store.commit_timeout=1s").start();
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let lock = Lock::take(&daemon.database());
    let refused = daemon.operate("truck/turnOn", &json!({}));
    assert_eq!(refused.told(), (503, "store-unavailable"));
    drop(lock);
    daemon.logged("the database commits again");
    vehicle.hears_nothing();
    assert!(!daemon.states("truck").contains(&"sent".to_owned()));
    let asked = daemon.ask("truck/turnOff", &json!({}));
    vehicle.hears(REST);
    vehicle.answers("DONE!");
    assert_eq!(asked.answer().status, 200);
}

#[test]
fn a_command_timeout_may_exceed_the_request_timeout() {
    let daemon = Daemon::builder().set("http.request_timeout=500ms").start();
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let asked = daemon.ask("truck/turnOn", &timeout(2));
    vehicle.hears(RUN);
    assert_eq!(asked.answer().told(), (504, "vehicle-no-answer"));
}
