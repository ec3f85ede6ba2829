//! The order of commands that wait: for their turn in a session, and for a login.

use serde_json::{Value, json};

use crate::support::{Daemon, Database, Dialect, REST, RUN, Vehicle, change, on_every_database};

on_every_database! {
    of_commands_that_outlast_a_session_the_newest_of_a_kind_is_sent,
    waiting_commands_keep_their_order_over_a_reconnect,
}

fn queued() -> Value {
    json!({ "queue": true, "ttlSeconds": 60 })
}

fn of_commands_that_outlast_a_session_the_newest_of_a_kind_is_sent(database: &Database) {
    let daemon = Daemon::on(database).start();
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let unanswered = daemon.ask("truck/turnOn", &json!({}));
    vehicle.hears(RUN);
    let older = daemon.ask("truck/turnOn", &queued());
    daemon.reaches("truck", &["sent", "created"]);
    let newer = daemon.ask("truck/turnOff", &queued());
    daemon.reaches("truck", &["sent", "created", "created"]);
    drop(vehicle);
    assert_eq!(unanswered.answer().status, 409);
    assert_eq!(newer.answer().told(), (202, "queued"));
    // Superseded at once, or right after it was queued.
    let older = older.answer();
    assert!(matches!(older.status, 202 | 409), "{older:?}");
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    vehicle.hears(REST);
    vehicle.answers("DONE!");
    daemon.reaches("truck", &["disconnected", "superseded", "done"]);
}

fn waiting_commands_keep_their_order_over_a_reconnect(database: &Database) {
    let daemon = Daemon::on(database).start();
    let mut old = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let unanswered = daemon.ask("truck/turnOn", &json!({}));
    old.hears(RUN);
    let expected = [RUN, REST, REST, RUN, RUN, RUN, REST, RUN, REST, REST];
    let mut waiting = Vec::new();
    let mut states = vec!["sent"];
    for sentence in expected {
        waiting.push(daemon.ask("truck/command", &json!({ "message": sentence })));
        states.push("created");
        daemon.reaches("truck", &states);
    }
    let mut new = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    for sentence in expected {
        new.hears(sentence);
        new.answers("DONE!");
    }
    assert_eq!(unanswered.answer().status, 409);
    for asked in waiting {
        assert_eq!(asked.answer().status, 200);
    }
}

#[test]
fn a_queued_command_is_retried_until_the_database_can_claim_it() {
    let daemon = Daemon::builder().set("store.commit_timeout=300ms").start();
    drop(Vehicle::log_in(&daemon, "truck", Dialect::Text));
    daemon.offline("truck");
    assert_eq!(daemon.operate("truck/turnOn", &queued()).status, 202);
    // Nothing can be claimed: an overflow is no fault of the data, so it is tried again until the time-out.
    let fault = "CREATE TRIGGER fault BEFORE UPDATE ON commands WHEN NEW.state = 'sent' \
                 BEGIN SELECT abs(-9223372036854775807 - 1); END";
    change(&daemon.database_url(), fault);
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    daemon.logged("a queued command could not be sent");
    change(&daemon.database_url(), "DROP TRIGGER fault");
    vehicle.hears(RUN);
    vehicle.answers("DONE!");
    daemon.reaches("truck", &["done"]);
}
